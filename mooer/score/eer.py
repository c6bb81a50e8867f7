"""Equal error rate: of two voices said to be one, and of one voice said to be two, where both errors are as frequent."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mooer
from mooer.common.errors import DataError
from mooer.common.files import require_file

Trial = tuple[str, str]
"""The two recordings that are compared, in the order of the files."""

_KINDS = {"target": True, "nontarget": False}


@dataclass(frozen=True, kw_only=True)
class EerReport:
    """The rate, and what it is of."""

    percent: float
    """0 to 100."""
    threshold: float
    """Score from which on two recordings are of one speaker."""
    targets: int
    """Trials of one speaker."""
    nontargets: int
    """Trials of two speakers."""
    missing: tuple[str, ...]
    """Trials without a score: counted as wrong at every threshold."""
    extra: tuple[str, ...]
    """Scores without a trial: not counted."""

    @property
    def signature(self) -> str:
        """All that a figure depends on besides trials and scores, in one line."""
        return f"metric:eer|crossing:linear|missing:wrong|version:mooer-{mooer.__version__}"


def read_trials(path: str | Path) -> dict[Trial, bool]:
    """Whether two recordings are of one speaker, from lines `ID1 ID2 target|nontarget`.

    Raises:
        PathError: no such file.
        DataError: a line that breaks the format, or a pair that occurs twice (file and line are named).
    """
    return {trial: _kind(value, where) for trial, (value, where) in _read_pairs(path, "trials file").items()}


def read_scores(path: str | Path) -> dict[Trial, float]:
    """How alike two recordings are, from lines `ID1 ID2 SCORE`. Raises as `read_trials`."""
    return {trial: _score(value, where) for trial, (value, where) in _read_pairs(path, "scores file").items()}


def _read_pairs(path: str | Path, what: str) -> dict[Trial, tuple[str, str]]:
    """The third word of each line, with its place, by the first two; blank lines are passed over."""
    path = require_file(path, what)
    found: dict[Trial, tuple[str, str]] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        where = f"{path}:{number}"
        try:
            words = line.decode("utf-8").split()
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: not valid UTF-8 (byte {error.start} of the line)") from error
        if not words:
            continue
        if len(words) != 3:
            raise DataError(f"{where}: a line has two ids and a value, found {len(words)} words")
        if (words[0], words[1]) in found:
            raise DataError(f"{where}: the pair {words[0]} {words[1]} occurs a second time")
        found[words[0], words[1]] = (words[2], where)
    return found


def _kind(value: str, where: str) -> bool:
    if value not in _KINDS:
        raise DataError(f"{where}: {value!r} must be {' or '.join(_KINDS)}")
    return _KINDS[value]


def _score(value: str, where: str) -> float:
    try:
        score = float(value)
    except ValueError:
        raise DataError(f"{where}: score {value!r} is no number") from None
    if not abs(score) < float("inf"):
        raise DataError(f"{where}: score {value!r} is not finite")
    return score


def score_trials(trials: Mapping[Trial, bool], scores: Mapping[Trial, float]) -> EerReport:
    """The equal error rate of scores.

    Args:
        trials: whether both are of one speaker; those without a score count as wrong.
        scores: higher for voices more alike; those without a trial are named in the report and not counted.

    Raises:
        DataError: not one trial of each kind, or no score of any trial.
    """
    missing = [trial for trial in trials if trial not in scores]
    targets = sorted(scores.get(trial, -float("inf")) for trial, same in trials.items() if same)
    nontargets = sorted(scores.get(trial, float("inf")) for trial, same in trials.items() if not same)
    if not targets or not nontargets:
        raise DataError(
            f"there are {len(targets)} target and {len(nontargets)} nontarget trials; at least one of each is needed"
        )
    if len(missing) == len(trials):
        raise DataError("there is no score of any trial")
    percent, threshold = equal_error_rate(targets, nontargets)
    return EerReport(
        percent=percent,
        threshold=threshold,
        targets=len(targets),
        nontargets=len(nontargets),
        missing=tuple(map(" ".join, missing)),
        extra=tuple(" ".join(trial) for trial in scores if trial not in trials),
    )


def equal_error_rate(targets: list[float], nontargets: list[float]) -> tuple[float, float]:
    """Rate in percent and threshold of sorted scores.

    A trial is accepted from the threshold on. Between two neighbouring thresholds both errors are taken to change evenly, so
    that they cross in one point.
    """
    before = (0.0, 1.0, -float("inf"))
    for threshold in [*sorted({*targets, *nontargets}), float("inf")]:
        misses = bisect_left(targets, threshold) / len(targets)
        alarms = 1.0 - bisect_left(nontargets, threshold) / len(nontargets)
        if misses >= alarms:
            break
        before = (misses, alarms, threshold)
    gap = before[1] - before[0]
    share = gap / (gap + misses - alarms)
    return 100.0 * (before[0] + share * (misses - before[0])), threshold if share > 0.5 else before[2]
