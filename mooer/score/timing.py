"""How far the times of recognised words are from the right ones.

Words are compared where the texts agree: a start where the first unit of both words is aligned, an end where the last is. A
unit is a CJK character or another word, without case; a reference may have several in one entry, with unknown borders inside.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any, NamedTuple

import mooer
from mooer.common.errors import DataError
from mooer.common.files import require_file
from mooer.score.align import Step, align
from mooer.text.cjk import split_cjk

_PERCENTILES = (50, 90)


class TimedText(NamedTuple):
    """What is said from one time to another, in milliseconds."""

    text: str
    start: float
    end: float


Times = Mapping[str, Sequence[TimedText]]
"""What is said in each utterance, in order."""


@dataclass(frozen=True, kw_only=True)
class TimingReport:
    """Differences of a set of utterances in milliseconds, recognised minus right."""

    starts: tuple[float, ...]
    ends: tuple[float, ...]
    num_words: int
    """Entries of the references."""
    missing: tuple[str, ...]
    """References without a hypothesis."""
    extra: tuple[str, ...]
    """Hypotheses without a reference: not compared."""

    @property
    def signature(self) -> str:
        """All that a figure depends on besides the times, in one line."""
        return f"metric:times|of:equal-words|unit:character-or-word|case:lower|in:ms|version:mooer-{mooer.__version__}"


def times_values(report: TimingReport) -> dict[str, Any]:
    """The report as plain values, ready for JSON; differences in milliseconds."""
    found: dict[str, Any] = {"metric": "times", "words": report.num_words}
    for name, differences in (("start", report.starts), ("end", report.ends)):
        sizes = [abs(value) for value in differences]
        found |= {f"{name}s": len(differences), f"{name}_bias": _rounded(percentile(differences, 50))}
        found |= {f"{name}_p{percent}": _rounded(percentile(sizes, percent)) for percent in _PERCENTILES}
    return found | {"missing": list(report.missing), "extra": list(report.extra), "signature": report.signature}


def times_lines(report: TimingReport) -> list[str]:
    """How many words were compared, and how far off their starts and ends are."""
    values = times_values(report)
    lines = [f"times of words, {report.num_words} in the references; differences in ms"]
    for name in ("start", "end"):
        median, most, bias = (values[f"{name}_{key}"] for key in ("p50", "p90", "bias"))
        lines.append(f"{name}s -> {values[f'{name}s']} compared: median {median}, 90 % within {most}, bias {bias}")
    return lines


def score_times(references: Times, hypotheses: Times) -> TimingReport:
    """Compare the times of the words that both sides have. Raises DataError for no references at all."""
    if not references:
        raise DataError("there are no references to compare times with")
    starts: list[float] = []
    ends: list[float] = []
    for name, reference in references.items():
        for right, found in _aligned(_units(reference), _units(hypotheses.get(name, ()))):
            if right.start is not None and found.start is not None:
                starts.append(found.start - right.start)
            if right.end is not None and found.end is not None:
                ends.append(found.end - right.end)
    return TimingReport(
        starts=tuple(starts),
        ends=tuple(ends),
        num_words=sum(map(len, references.values())),
        missing=tuple(name for name in references if name not in hypotheses),
        extra=tuple(name for name in hypotheses if name not in references),
    )


class _Unit(NamedTuple):
    text: str
    start: float | None
    """Where its entry begins, if it is the first unit of it."""
    end: float | None


def _units(entries: Sequence[TimedText]) -> list[_Unit]:
    units = []
    for entry in entries:
        texts = split_cjk(entry.text.casefold())
        for index, text in enumerate(texts):
            start = entry.start if index == 0 else None
            units.append(_Unit(text, start, entry.end if index == len(texts) - 1 else None))
    return units


def _aligned(references: list[_Unit], hypotheses: list[_Unit]) -> Iterator[tuple[_Unit, _Unit]]:
    """The pairs of equal units in the alignment of both."""
    row = column = 0
    for step in align([unit.text for unit in references], [unit.text for unit in hypotheses]):
        if _is_equal(step):
            yield references[row], hypotheses[column]
        row += step.reference is not None
        column += step.hypothesis is not None


def _is_equal(step: Step) -> bool:
    return step.reference is not None and step.reference == step.hypothesis


def percentile(values: Sequence[float], percent: int) -> float | None:
    """The value that so many percent are not above, between neighbours in proportion; None of no values."""
    if len(values) < 2:
        return values[0] if values else None
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def read_times(path: str | Path) -> dict[str, list[TimedText]]:
    """The words of a ctm file (`ID CHANNEL START DURATION WORD`, in seconds) or of a results.jsonl of ours.

    Raises:
        PathError: no such file.
        DataError: a line that breaks the format (file and line are named), results without words.
    """
    path = require_file(path, "file of word times")
    read = _from_result if path.suffix == ".jsonl" else _from_ctm
    times: dict[str, list[TimedText]] = {}
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
            if line.strip():
                name, entries = read(line, f"{path}:{number}")
                times.setdefault(name, []).extend(entries)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not valid UTF-8 (byte {error.start}); convert the file first") from error
    return times


def _from_ctm(line: str, where: str) -> tuple[str, list[TimedText]]:
    fields = line.split(maxsplit=4)
    try:
        start, duration = (1000 * float(value) for value in fields[2:4])
    except ValueError as error:
        raise DataError(f"{where}: needed is `ID CHANNEL START DURATION WORD`, the times in seconds") from error
    if len(fields) < 5 or not (math.isfinite(start) and math.isfinite(duration) and duration >= 0):
        raise DataError(f"{where}: needed is `ID CHANNEL START DURATION WORD`, the times in seconds")
    return fields[0], [TimedText(re.sub(r"\s+", " ", fields[4].strip()), start, start + duration)]


def _from_result(line: str, where: str) -> tuple[str, list[TimedText]]:
    try:
        result = json.loads(line)
        words = result["words"]
        return result["id"], [TimedText(word["text"], float(word["start"]), float(word["end"])) for word in words]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where} is no result with the times of words: {error!r}") from error
