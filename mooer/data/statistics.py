"""Features of whole data sets: global CMVN, and archives of fbank features.

Work goes to processes in stretches of fixed size and is merged in their order, so that results are the same to the last bit
with any number of workers.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mooer.common.errors import AudioError, DataError, PathError
from mooer.data.archives import read_matrix, write_archive
from mooer.data.directory import read_data_dir
from mooer.data.lists import iterate_data_list, write_data_list, write_table
from mooer.data.packing import LIST_NAME, PackReport, Progress
from mooer.data.parallel import chunks, map_in_order
from mooer.data.reader import AudioReader
from mooer.data.utterance import Problem, Utterance, samples_for_frames, to_json
from mooer.features.cmvn import Cmvn, CmvnAccumulator
from mooer.features.fbank import Window, fbank

CHUNK = 200
UTTERANCES_PER_ARCHIVE = 2000


def find_utterances(data_dir: str | None, data_list: str | None) -> tuple[list[Utterance], list[Problem]]:
    """The utterances of a data directory (with whatever labels there are) or of a data list, and those that cannot be used.

    Raises:
        PathError: not exactly one of the two is given; and as `read_data_dir` and `iterate_data_list`.
    """
    if (data_dir is None) == (data_list is None):
        raise PathError("give either --data_dir or --data_list")
    if data_list is None:
        data = read_data_dir(data_dir)
        return data.utterances, data.problems
    entries = list(iterate_data_list(data_list))
    utterances = [entry for entry in entries if isinstance(entry, Utterance)]
    return utterances, [entry for entry in entries if isinstance(entry, Problem)]


def read_fbank(utterance: Utterance, reader: AudioReader, num_mel_bins: int, window: Window = "hamming") -> Tensor:
    """Fbank frames [T, num_mel_bins] of an utterance, computed or from its archive. Raises AudioError."""
    if utterance.feats is None:
        return fbank(reader.read(utterance.audio), num_mel_bins, window)
    frames = read_matrix(utterance.feats)
    if not len(frames) or frames.shape[1] != num_mel_bins:
        raise AudioError(
            f"{utterance.feats}: needs frames of {num_mel_bins} mel bins, found {list(frames.shape)}", "unsupported"
        )
    return frames


def _read_all(
    utterances: Sequence[Utterance], num_mel_bins: int, window: Window, problems: list[Problem]
) -> Iterator[tuple[Utterance, Tensor]]:
    reader = AudioReader()
    for utterance in utterances:
        try:
            yield utterance, read_fbank(utterance, reader, num_mel_bins, window)
        except AudioError as error:
            problems.append(Problem(utterance.id, error.reason, f"{utterance.id}: {error}"))
    reader.close()


@dataclass(frozen=True)
class CmvnReport:
    """Global CMVN and what it was computed from."""

    cmvn: Cmvn
    sums: CmvnAccumulator
    num_utterances: int
    problems: list[Problem]


def compute_cmvn(
    utterances: Sequence[Utterance],
    num_mel_bins: int = 80,
    lfr_m: int = 7,
    num_workers: int = 1,
    progress: Progress = lambda items, _: items,
    window: Window = "hamming",
) -> CmvnReport:
    """Mean and variance over all fbank frames, repeated for the frames that LFR stacks.

    Args:
        progress: wraps the iteration over stretches of utterances, as tqdm does; gets their number too.

    Raises:
        DataError: not a single frame.
    """
    tasks = chunks(utterances, CHUNK)
    total, problems = CmvnAccumulator(num_mel_bins), []
    work = functools.partial(accumulate, num_mel_bins=num_mel_bins, window=window)
    for part, failed in progress(map_in_order(work, tasks, num_workers), len(tasks)):
        total.merge(part)
        problems += failed
    if not total.num_frames:
        example = f"; for example: {problems[0].message}" if problems else ""
        raise DataError(f"no utterance can be used for CMVN{example}")
    return CmvnReport(total.finish(lfr_m), total, len(utterances) - len(problems), problems)


def accumulate(
    utterances: Sequence[Utterance], num_mel_bins: int, window: Window = "hamming"
) -> tuple[CmvnAccumulator, list[Problem]]:
    """Sums of a stretch of utterances."""
    part, problems = CmvnAccumulator(num_mel_bins), []
    for _, frames in _read_all(utterances, num_mel_bins, window, problems):
        part.accumulate(frames)
    return part, problems


def dump_feats(
    utterances: Sequence[Utterance],
    output_dir: str | Path,
    num_mel_bins: int = 80,
    num_workers: int = 1,
    progress: Progress = lambda items, _: items,
    window: Window = "hamming",
) -> PackReport:
    """Write fbank features before CMVN: `feats_000000.ark`, ..., `feats.scp`, `utt2num_frames` and a `data.list` with labels.

    Archives of an earlier run into the same folder that this one does not write are removed.

    Args:
        progress: wraps the iteration over archives, as tqdm does; gets their number too.
    """
    output_dir = Path(output_dir).absolute()
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / LIST_NAME).unlink(missing_ok=True)
    parts = chunks(utterances, UTTERANCES_PER_ARCHIVE)
    tasks = [(output_dir / f"feats_{number:06d}.ark", part) for number, part in enumerate(parts)]
    work = functools.partial(dump_archive, num_mel_bins=num_mel_bins, window=window)
    dumped, problems = [], []
    for written, failed in progress(map_in_order(work, tasks, num_workers), len(tasks)):
        dumped += written
        problems += failed
    for path in output_dir.glob("feats_*.ark"):
        if path not in {path for path, _ in tasks}:
            path.unlink()
    write_table(output_dir / "feats.scp", {utterance.id: utterance.feats for utterance in dumped})
    write_table(output_dir / "utt2num_frames", {utterance.id: str(utterance.num_frames) for utterance in dumped})
    write_data_list(output_dir / LIST_NAME, [to_json(utterance, output_dir) for utterance in dumped])
    return PackReport(len(dumped), problems)


def dump_archive(
    task: tuple[Path, Sequence[Utterance]], num_mel_bins: int, window: Window = "hamming"
) -> tuple[list[Utterance], list[Problem]]:
    """Write the archive of (path, utterances); returns the utterances that refer to it, and those that failed."""
    path, utterances = task
    problems: list[Problem] = []
    lengths: dict[str, int] = {}

    def matrices():
        for utterance, frames in _read_all(utterances, num_mel_bins, window, problems):
            lengths[utterance.id] = len(frames)
            yield utterance.id, frames.numpy()

    offsets = write_archive(path, matrices())
    dumped = [
        Utterance(
            id=utterance.id,
            feats=f"{path}:{offsets[utterance.id]}",
            labels=utterance.labels,
            num_samples=samples_for_frames(lengths[utterance.id]),
        )
        for utterance in utterances
        if utterance.id in offsets
    ]
    return dumped, problems
