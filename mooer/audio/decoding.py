"""Recordings decoded to samples as they hold them, at their own rate and with all channels. Needs no torch."""

import dataclasses
import math
from pathlib import Path

import numpy as np

from mooer.audio.containers import decode_container, open_container
from mooer.audio.ffmpeg import container_name, decode_with_ffmpeg
from mooer.audio.limits import AudioLimits
from mooer.audio.pcm import decode_pcm, is_float
from mooer.audio.segment import frame_range
from mooer.audio.source import AudioStream, open_source
from mooer.audio.wav import WavHeader, read_wav_header
from mooer.common.errors import AudioError
from mooer.common.lengths import SAMPLE_RATE

# Float samples have full scale 1. Peaks this far above it are integers stored as floats, which would pass as very loud speech.
MAX_PEAK = 100.0
INTEGER_SUBTYPES = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "ULAW", "ALAW"}


@dataclasses.dataclass(frozen=True)
class Samples:
    """Decoded samples, before resampling."""

    values: np.ndarray
    """[S, channels] float32."""
    sample_rate: int
    from_integers: bool
    """Whether they came from integers, so that they cannot be out of range."""


def decoded_length(path: str | Path, *, start: float | None = None, end: float | None = None) -> int:
    """How many samples `load_audio` makes of a recording or of its part from `start` to `end` seconds, all of which is decoded.

    Raises:
        AudioError: as `load_audio`.
    """
    with open_source(path) as audio:
        samples = decode(audio, start, end, AudioLimits())
        if not samples.from_integers:
            check_range(samples.values, audio.name)
    return -(-len(samples.values) * SAMPLE_RATE // samples.sample_rate)


def check_range(values: np.ndarray, name: str) -> None:
    """Raise AudioError for float samples that are not finite (not_finite) or far beyond full scale (unsupported)."""
    peak = max(float(values.max()), -float(values.min()))
    if not math.isfinite(peak):
        raise AudioError(f"{name}: it holds values that are not finite (NaN or infinity)", "not_finite")
    if peak > MAX_PEAK:
        message = f"{name}: float samples reach {peak:g} but full scale is 1; divide them by the full scale of their integers"
        raise AudioError(message, "unsupported")


def decode(audio: AudioStream, start: float | None, end: float | None, limits: AudioLimits) -> Samples:
    """The samples of a recording, or of the part from `start` to `end` seconds. Raises AudioError."""
    header = read_wav_header(audio)
    if header is not None and header.encoding is not None:
        return _from_wav(audio, header, start, end, limits)
    if container_name(audio):
        values, sample_rate = decode_with_ffmpeg(audio, start, end, limits)
        return Samples(values, sample_rate, False)
    with open_container(audio) as sound:
        values = decode_container(audio, sound, start, end, limits)
        return Samples(values, sound.samplerate, sound.subtype in INTEGER_SUBTYPES)


def _from_wav(audio: AudioStream, header: WavHeader, start: float | None, end: float | None, limits: AudioLimits) -> Samples:
    first, stop = frame_range(audio.name, header.num_frames, header.sample_rate, start, end)
    limits.check(audio.name, stop - first, header.sample_rate, header.channels)
    audio.stream.seek(header.data_start + first * header.frame_bytes)
    wanted = (stop - first) * header.frame_bytes
    data = audio.stream.read(wanted)
    if len(data) < wanted:
        raise AudioError(f"{audio.name}: the file became shorter while it was read", "truncated")
    return Samples(decode_pcm(data, header.channels, header.encoding), header.sample_rate, not is_float(header.encoding))
