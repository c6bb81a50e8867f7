"""What a data list holds and what of it can be used: the index to plan epochs with, and everybody who was left out."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mooer.audio.info import audio_info
from mooer.common.errors import AudioError, DataError
from mooer.common.lengths import SAMPLE_RATE, SHIFT_SAMPLES
from mooer.data.archives import read_matrix
from mooer.data.config import DataConfig
from mooer.data.index import UtteranceIndex
from mooer.data.lists import iterate_data_list
from mooer.data.tasks import possible_tasks
from mooer.data.utterance import AudioRef, Problem, Utterance, samples_for_frames


@dataclass(frozen=True)
class Survey:
    """The usable utterances of some data lists."""

    index: UtteranceIndex
    """List after list."""
    sizes: list[int]
    """How many utterances of the index each list has."""
    problems: list[Problem]
    """Everybody who was left out."""


def survey(paths: Sequence[str | Path], config: DataConfig, limit_lengths: bool) -> Survey:
    """Index the usable utterances of data lists.

    Args:
        limit_lengths: whether `min_frames` and `max_frames` hold (in training, not in validation).

    Raises:
        PathError, DataError: as `iterate_data_list`; DataError too if nothing of a list can be used.
    """
    problems: list[Problem] = []
    sizes = []

    def usable() -> Iterator[Utterance]:
        for path in paths:
            sizes.append(0)
            before = len(problems)
            for entry in iterate_data_list(path):
                checked = _check(entry, config, limit_lengths)
                if isinstance(checked, Utterance):
                    sizes[-1] += 1
                    yield checked
                else:
                    problems.append(checked)
            require_some(path, sizes[-1], problems[before:], "utterance")

    return Survey(UtteranceIndex(usable()), sizes, problems)


def require_some(path: str | Path, size: int, problems: list[Problem], what: str) -> None:
    """Raises DataError if nothing of a list can be used, with the reasons; `what` names an entry of it."""
    if not size:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(Counter(item.reason for item in problems).items()))
        example = f"; for example: {problems[0].message}" if problems else ""
        raise DataError(f"{path}: no {what} can be used ({reasons or 'the list is empty'}){example}")


def _check(entry: Utterance | Problem, config: DataConfig, limit_lengths: bool) -> Utterance | Problem:
    """The utterance with its length known, or why it is left out."""
    if isinstance(entry, Problem):
        return entry
    tasks = possible_tasks(config.tasks, entry.labels)
    if isinstance(tasks, str):
        wanted = " or ".join(sorted({" and ".join(task.label_names) for task in config.tasks}))
        return Problem(entry.id, tasks, f"{entry.id}: needs label {wanted}, has {', '.join(entry.labels) or 'none'}")
    if entry.feats is not None and config.frontend.kind != "kaldi_fbank":
        message = f"{entry.id}: a front end of kind {config.frontend.kind} needs a recording, the list names fbank features"
        return Problem(entry.id, "unsupported", message)
    try:
        entry = with_length(entry)
        config.frontend.check_length(entry.num_samples)
    except AudioError as error:
        return Problem(entry.id, error.reason, f"{entry.id}: {error}")
    units = entry.num_samples / SHIFT_SAMPLES
    if limit_lengths and not config.min_frames <= units <= config.max_frames:
        reason = "too_short" if units < config.min_frames else "too_long"
        seconds = entry.num_samples / SAMPLE_RATE
        return Problem(entry.id, reason, f"{entry.id}: {seconds:.2f} s; min_frames and max_frames set what is used")
    return entry


def with_length(utterance: Utterance) -> Utterance:
    """The utterance with `num_samples`, read from its file's header where the list does not say it. Raises AudioError."""
    if utterance.num_samples is not None:
        return utterance
    if utterance.feats is not None:
        num_samples = samples_for_frames(len(read_matrix(utterance.feats)))
    else:
        num_samples = _stretch_samples(utterance.audio)
    return dataclasses.replace(utterance, num_samples=num_samples)


def _stretch_samples(reference: AudioRef) -> int:
    """Samples of a recording or of a stretch of it, by its header. Raises AudioError."""
    num_samples = audio_info(reference.path).num_samples
    start = round((reference.start or 0.0) * SAMPLE_RATE)
    end = num_samples if reference.end is None else min(num_samples, round(reference.end * SAMPLE_RATE))
    return max(0, end - start)
