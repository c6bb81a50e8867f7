"""Recordings of any length as mono samples at 16 kHz, piece by piece: together they are what `load_audio` gives at once.

What is in memory is one piece, at the recording's own rate and with all of its channels.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from mooer.audio.containers import container_blocks, open_container
from mooer.audio.decoding import INTEGER_SUBTYPES, check_range
from mooer.audio.ffmpeg import container_name, ffmpeg_blocks
from mooer.audio.io import RawPcm, Source, channels_last, check_raw, full_scale
from mooer.audio.limits import AudioLimits, check_format
from mooer.audio.pcm import decode_pcm, is_float, sample_bytes
from mooer.audio.resample import ResampleStream
from mooer.audio.segment import frame_range
from mooer.audio.source import AudioStream, open_source
from mooer.audio.wav import WavHeader, read_wav_header
from mooer.common.errors import AudioError
from mooer.common.lengths import SAMPLE_RATE

# Nobody records longer; a small file that unpacks to more is an attack.
LIMITS = AudioLimits(max_seconds=100 * 3600.0, max_bytes=1 << 40)
_BLOCK_SAMPLES = 1 << 18


@dataclasses.dataclass(frozen=True)
class _Blocks:
    """A recording that is open."""

    values: Iterator[np.ndarray]
    """[S, channels] float32, one after another."""
    sample_rate: int
    from_integers: bool
    """Whether they came from integers, so that they cannot be out of range."""
    name: str
    """What messages call it."""


def stream_audio(
    source: Source,
    *,
    sample_rate: int | None = None,
    start: float | None = None,
    end: float | None = None,
    limits: AudioLimits | None = None,
) -> Iterator[Tensor]:
    """The samples of a recording, or of the part of it from `start` to `end` seconds, in pieces [S] float32 at 16 kHz.

    Args:
        source, sample_rate, start, end: as for `load_audio`.
        limits: bounds on the whole; 100 hours without.

    Raises:
        AudioError: as `load_audio`, some of it only after the first pieces.
    """
    with _opened(source, sample_rate, start, end, limits or LIMITS) as blocks:
        if sample_rate is not None and sample_rate != blocks.sample_rate:
            message = f"{blocks.name}: sample_rate={sample_rate} was given but it has {blocks.sample_rate}"
            raise AudioError(message, "unsupported")
        resampler = ResampleStream(blocks.sample_rate, SAMPLE_RATE)
        for values in blocks.values:
            if not len(values):
                continue
            if not blocks.from_integers:
                check_range(values, blocks.name)
            yield _mono(resampler.accept(torch.from_numpy(values.T)))
        yield _mono(resampler.finish())


def _mono(channels: Tensor) -> Tensor:
    return channels[0] if len(channels) == 1 else channels.mean(0)


@contextlib.contextmanager
def _opened(
    source: Source, sample_rate: int | None, start: float | None, end: float | None, limits: AudioLimits
) -> Iterator[_Blocks]:
    if isinstance(source, (np.ndarray, Tensor)):
        yield _array_blocks(source, sample_rate, start, end, limits)
    elif isinstance(source, RawPcm):
        check_raw(source)
        with open_source(source.data) as audio:
            yield _raw_blocks(audio, source, start, end, limits)
    else:
        with open_source(source) as audio, _encoded(audio, start, end, limits) as blocks:
            yield blocks


@contextlib.contextmanager
def _encoded(audio: AudioStream, start: float | None, end: float | None, limits: AudioLimits) -> Iterator[_Blocks]:
    header = read_wav_header(audio)
    if header is not None and header.encoding is not None:
        yield _wav_blocks(audio, header, start, end, limits)
    elif container_name(audio):
        found = ffmpeg_blocks(audio, start, end, limits, patient=True)
        with contextlib.closing(found):
            first = next(found)
            rest = (block.samples for block in found)
            yield _Blocks(_chained(first.samples, rest), first.sample_rate, False, audio.name)
    else:
        with open_container(audio) as sound:
            values = container_blocks(audio, sound, start, end, limits)
            yield _Blocks(values, sound.samplerate, sound.subtype in INTEGER_SUBTYPES, audio.name)


def _chained(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest


def _wav_blocks(audio: AudioStream, header: WavHeader, start: float | None, end: float | None, limits: AudioLimits) -> _Blocks:
    first, stop = frame_range(audio.name, header.num_frames, header.sample_rate, start, end)
    limits.check(audio.name, stop - first, header.sample_rate, header.channels)
    audio.stream.seek(header.data_start + first * header.frame_bytes)
    values = _pcm(audio, stop - first, header.channels, header.encoding)
    return _Blocks(values, header.sample_rate, not is_float(header.encoding), audio.name)


def _raw_blocks(audio: AudioStream, raw: RawPcm, start: float | None, end: float | None, limits: AudioLimits) -> _Blocks:
    frame_bytes = raw.channels * sample_bytes(raw.encoding)
    num_frames, rest = divmod(audio.size, frame_bytes)
    if rest:
        raise AudioError(f"raw samples: {audio.size} bytes end within a sample of {frame_bytes} bytes", "truncated")
    first, stop = frame_range("raw samples", num_frames, raw.sample_rate, start, end)
    limits.check("raw samples", stop - first, raw.sample_rate, raw.channels)
    audio.stream.seek(first * frame_bytes)
    values = _pcm(audio, stop - first, raw.channels, raw.encoding)
    return _Blocks(values, raw.sample_rate, not is_float(raw.encoding), "raw samples")


def _pcm(audio: AudioStream, num_frames: int, channels: int, encoding: str) -> Iterator[np.ndarray]:
    """The next `num_frames` samples of all channels, from where the stream stands."""
    frame_bytes, block = channels * sample_bytes(encoding), max(1, _BLOCK_SAMPLES // channels)
    for done in range(0, num_frames, block):
        yield decode_pcm(_read(audio.stream, min(block, num_frames - done) * frame_bytes, audio.name), channels, encoding)


def _read(stream: BinaryIO, size: int, name: str) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise AudioError(f"{name}: the file became shorter while it was read", "truncated")
    return data


def _array_blocks(
    array: np.ndarray | Tensor, sample_rate: int | None, start: float | None, end: float | None, limits: AudioLimits
) -> _Blocks:
    if sample_rate is None:
        raise AudioError("an array needs sample_rate=", "unsupported")
    values = channels_last(array)
    check_format("array", sample_rate, values.shape[1])
    first, stop = frame_range("array", len(values), sample_rate, start, end)
    limits.check("array", stop - first, sample_rate, values.shape[1])
    block = max(1, _BLOCK_SAMPLES // values.shape[1])
    blocks = (full_scale(values[begin : min(begin + block, stop)]) for begin in range(first, stop, block))
    return _Blocks(blocks, sample_rate, values.dtype.kind != "f", "array")
