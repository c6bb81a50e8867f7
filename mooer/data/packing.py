"""Data directories to data lists and shards: the same input makes the same bytes, whatever the number of workers.

Every recording is decoded once on the way, so that what a list names can be read and its length is the real one. Utterances
that fail are reported, never dropped in silence. The list is written last: where it stands, everything it names stands too.
"""

import dataclasses
import functools
import io
import re
import wave
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mooer.audio.decoding import decoded_length
from mooer.common.errors import AudioError, ConfigError, DataError
from mooer.common.files import atomic_write
from mooer.common.lengths import SAMPLE_RATE
from mooer.common.log import get_logger
from mooer.data.lists import write_data_list
from mooer.data.parallel import chunks, map_in_order
from mooer.data.shards import AUDIO_EXTENSIONS, ShardEntry, check_id, write_shard
from mooer.data.utterance import AudioRef, Problem, Utterance, to_json

if TYPE_CHECKING:
    from torch import Tensor

LIST_NAME, AUDIO_FOLDER = "data.list", "wav"
RAW_CHUNK = 200

_SHARD_NAME = re.compile(r"^shards_(\d{9})\.tar(\.index)?$")

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class PackOptions:
    """How recordings are stored."""

    audio_format: str = "wav"
    """wav or flac: 16 kHz mono 16 bit; keep: the bytes of the original file."""
    num_utts_per_shard: int = 1000
    """Utterances of a shard."""
    num_workers: int = 1
    """Processes."""

    def __post_init__(self) -> None:
        if self.audio_format not in ("wav", "flac", "keep"):
            raise ConfigError(f"audio_format {self.audio_format!r} is unknown; allowed: wav, flac, keep")
        if self.num_utts_per_shard < 1:
            raise ConfigError(f"num_utts_per_shard must be at least 1, found {self.num_utts_per_shard}")


@dataclass(frozen=True)
class PackReport:
    """What was written and what was not."""

    num_utterances: int
    problems: list[Problem]


Progress = Callable[[Iterable, int], Iterable]


def make_shards(
    utterances: Sequence[Utterance], output_dir: str | Path, options: PackOptions, progress: Progress = lambda items, _: items
) -> PackReport:
    """Write shards `shards_000000000.tar`, ... and their `data.list`.

    Shards of an earlier run into the same folder that this one does not write are removed.

    Args:
        progress: wraps the iteration over shards, as tqdm does; gets their number too.

    Raises:
        DataError: an id or label that cannot name a member; a segment or an unknown ending with audio_format keep.
    """
    import torch  # noqa: F401 (once, before the processes are forked)

    output_dir = Path(output_dir)
    _check_names(utterances, options)
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / LIST_NAME).unlink(missing_ok=True)
    tasks = [
        (output_dir / f"shards_{number:09d}.tar", chunk)
        for number, chunk in enumerate(chunks(utterances, options.num_utts_per_shard))
    ]
    names, problems = [], []
    pack = functools.partial(pack_shard, audio_format=options.audio_format)
    results = progress(map_in_order(pack, tasks, options.num_workers), len(tasks))
    for (path, chunk), failed in zip(tasks, results, strict=True):
        problems += failed
        if len(failed) < len(chunk):
            names.append(path.name)
    _remove_leftovers(output_dir, set(names))
    write_data_list(output_dir / LIST_NAME, names)
    return PackReport(len(utterances) - len(problems), problems)


def pack_shard(task: tuple[Path, Sequence[Utterance]], audio_format: str) -> list[Problem]:
    """Write one shard of (path, utterances); returns those that failed. A shard in which all fail is not written."""
    path, utterances = task
    problems: list[Problem] = []
    entries = _entries(utterances, audio_format, problems)
    first = next(entries, None)
    if first is not None:
        write_shard(path, _with_first(first, entries))
    return problems


def _with_first(first: ShardEntry, rest: Iterator[ShardEntry]) -> Iterator[ShardEntry]:
    yield first
    yield from rest


def _entries(utterances: Sequence[Utterance], audio_format: str, problems: list[Problem]) -> Iterator[ShardEntry]:
    from mooer.audio.io import load_audio

    for utterance in utterances:
        reference = utterance.audio
        try:
            waveform = load_audio(reference.path, start=reference.start, end=reference.end)
            if audio_format == "keep":
                audio, extension = Path(reference.path).read_bytes(), _extension(reference)
            else:
                audio, extension = encode_audio(waveform, audio_format), audio_format
        except AudioError as error:
            problems.append(Problem(utterance.id, error.reason, str(error)))
        else:
            yield ShardEntry(utterance.id, utterance.labels, audio, extension)


def encode_audio(waveform: "Tensor", audio_format: str, sample_rate: int = SAMPLE_RATE) -> bytes:
    """Samples [S] of full scale 1 as a wav or flac file of 16 bit; what was 16 bit before keeps its values."""
    import torch

    samples = (waveform * 32768.0).round_().clamp_(-32768, 32767).to(torch.int16).numpy()
    stream = io.BytesIO()
    if audio_format == "flac":
        import soundfile

        soundfile.write(stream, samples, sample_rate, "PCM_16", format="FLAC")
    else:
        with wave.open(stream, "wb") as file:
            file.setparams((1, 2, sample_rate, len(samples), "NONE", "not compressed"))
            file.writeframes(samples.astype(np.dtype("<i2"), copy=False).tobytes())
    return stream.getvalue()


def _extension(reference: AudioRef) -> str:
    return Path(reference.path).suffix.removeprefix(".").lower()


def _check_names(utterances: Sequence[Utterance], options: PackOptions) -> None:
    for utterance in utterances:
        check_id(utterance.id)
        reference = utterance.audio
        if reference is None:
            raise DataError(f"{utterance.id}: shards hold recordings, but only features are given")
        if options.audio_format != "keep":
            continue
        if reference.start is not None or reference.end is not None:
            raise DataError(f"{utterance.id} is a segment of {reference.path}; original bytes can be kept of whole files only")
        if _extension(reference) not in AUDIO_EXTENSIONS:
            raise DataError(f"{utterance.id}: {reference.path} does not end in one of {', '.join(AUDIO_EXTENSIONS)}")


def _remove_leftovers(output_dir: Path, names: set[str]) -> None:
    for path in sorted(output_dir.iterdir()):
        if _SHARD_NAME.match(path.name) and path.name.removesuffix(".index") not in names:
            log.info("removing %s of an earlier run", path)
            path.unlink()


def make_raw_list(
    utterances: Sequence[Utterance],
    output_dir: str | Path,
    resample: bool = False,
    num_workers: int = 1,
    progress: Progress = lambda items, _: items,
) -> PackReport:
    """Write a `data.list` with one JSON object an utterance.

    Args:
        resample: whether to write 16 kHz mono copies (`wav/ID.wav`, segments cut out) and list those.
        progress: wraps the iteration over stretches of utterances, as tqdm does; gets their number too.

    Raises:
        DataError: with resample, an id that cannot name a file.
    """
    output_dir = Path(output_dir)
    if resample:
        for utterance in utterances:
            check_id(utterance.id)
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / LIST_NAME).unlink(missing_ok=True)
    tasks = chunks(utterances, RAW_CHUNK)
    measure = functools.partial(measure_utterances, copies=output_dir / AUDIO_FOLDER if resample else None)
    lines, problems = [], []
    for entries in progress(map_in_order(measure, tasks, num_workers), len(tasks)):
        lines += [to_json(entry, output_dir) for entry in entries if isinstance(entry, Utterance)]
        problems += [entry for entry in entries if isinstance(entry, Problem)]
    write_data_list(output_dir / LIST_NAME, lines)
    return PackReport(len(lines), problems)


def measure_utterances(utterances: Sequence[Utterance], copies: Path | None) -> list[Utterance | Problem]:
    """The utterances with their real lengths; with a folder for copies, referring to 16 kHz copies there."""
    measured: list[Utterance | Problem] = []
    for utterance in utterances:
        reference = utterance.audio
        try:
            if reference is None:
                from mooer.data.survey import with_length

                measured.append(with_length(utterance))
                continue
            if copies is None:
                num_samples = decoded_length(reference.path, start=reference.start, end=reference.end)
            else:
                reference, num_samples = _copied(reference, copies / f"{utterance.id}.wav")
            measured.append(dataclasses.replace(utterance, audio=reference, num_samples=num_samples))
        except AudioError as error:
            measured.append(Problem(utterance.id, error.reason, str(error)))
    return measured


def _copied(reference: AudioRef, path: Path) -> tuple[AudioRef, int]:
    """Write a copy at 16 kHz; returns where it is and its number of samples."""
    from mooer.audio.io import load_audio

    waveform = load_audio(reference.path, start=reference.start, end=reference.end)
    with atomic_write(path, "wb") as stream:
        stream.write(encode_audio(waveform, "wav"))
    return AudioRef(path=str(path)), len(waveform)
