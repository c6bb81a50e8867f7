"""Any form of recording to mono float samples at 16 kHz.

Files (wav, flac, ogg, opus, mp3 and whatever else libsndfile opens; mp4, webm, aac and the like where ffmpeg is installed), the
same as bytes, raw PCM, numpy arrays and torch tensors; any rate from 1 to 768 kHz and up to 64 channels. Each channel is
resampled first, then the channels are averaged, as the released inference does.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mooer.audio.decoding import Samples, check_range, decode
from mooer.audio.limits import AudioLimits, check_format
from mooer.audio.pcm import ENCODINGS, decode_pcm, is_float, sample_bytes
from mooer.audio.resample import resample
from mooer.audio.segment import frame_range
from mooer.audio.source import open_source
from mooer.common.errors import AudioError
from mooer.common.lengths import SAMPLE_RATE

_DEFAULT_LIMITS = AudioLimits()
# numpy kind and bytes of signed integers -> scale to full scale 1
_INTEGER_SCALES = {("i", 1): 2.0**-7, ("i", 2): 2.0**-15, ("i", 4): 2.0**-31}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawPcm:
    """Samples without a header."""

    data: bytes | Path
    """Interleaved samples, or the file that holds them."""
    sample_rate: int = SAMPLE_RATE
    """Samples a second."""
    channels: int = 1
    """Interleaved channels."""
    encoding: str = "s16le"
    """u8, s8, s16le, s16be, s24le, s32le, f32le, f32be or f64le."""


Source = str | Path | bytes | bytearray | memoryview | RawPcm | np.ndarray | Tensor


def load_audio(
    source: Source,
    *,
    sample_rate: int | None = None,
    start: float | None = None,
    end: float | None = None,
    limits: AudioLimits | None = None,
    target_rate: int = SAMPLE_RATE,
) -> Tensor:
    """Read a recording, or the part of it from `start` to `end` seconds, as mono samples at 16 kHz, or another rate.

    Args:
        source: path; bytes of an audio file; `RawPcm`; ndarray or Tensor: [S], or two axes of which the shorter one is the
            channels, as float with full scale 1 or as int8, uint8, int16 or int32.
        sample_rate: rate of an array, needed for arrays only; for files it must be the file's own if given.
        start, end: seconds; only this part is read where the format can be sought in.
        limits: bounds that hold while decoding, whatever a header says.
        target_rate: of the result, in Hz.

    Returns:
        [S] float32, full scale 1 (16-bit value / 32768), S >= 1.

    Raises:
        AudioError: reason missing, unreadable, truncated, empty, too_long, not_finite or unsupported.
    """
    limits = limits or _DEFAULT_LIMITS
    if isinstance(source, (np.ndarray, Tensor)):
        samples = _from_array(source, sample_rate, start, end, limits)
        name = "array"
    elif isinstance(source, RawPcm):
        samples, name = _from_raw(source, start, end, limits), "raw samples"
    elif isinstance(source, (str, Path, bytes, bytearray, memoryview)):
        with open_source(source) as audio:
            samples, name = decode(audio, start, end, limits), audio.name
    else:
        raise AudioError(f"a recording cannot be a {type(source).__name__}; give a path, bytes or an array", "unsupported")
    if sample_rate is not None and sample_rate != samples.sample_rate:
        raise AudioError(f"{name}: sample_rate={sample_rate} was given but it has {samples.sample_rate}", "unsupported")
    if not samples.from_integers:
        check_range(samples.values, name)
    return _to_mono(samples, target_rate)


def _to_mono(samples: Samples, rate: int) -> Tensor:
    if samples.values.shape[1] == 1:
        return resample(torch.from_numpy(samples.values[:, 0]), samples.sample_rate, rate)
    return resample(torch.from_numpy(samples.values.T), samples.sample_rate, rate).mean(0)


def _from_raw(raw: RawPcm, start: float | None, end: float | None, limits: AudioLimits) -> Samples:
    name = "raw samples"
    check_raw(raw)
    with open_source(raw.data) as audio:
        contents = audio.stream.read()
    frame_bytes = raw.channels * sample_bytes(raw.encoding)
    num_frames, rest = divmod(len(contents), frame_bytes)
    if rest:
        raise AudioError(f"{name}: {len(contents)} bytes end within a sample of {frame_bytes} bytes", "truncated")
    first, stop = frame_range(name, num_frames, raw.sample_rate, start, end)
    limits.check(name, stop - first, raw.sample_rate, raw.channels)
    data = memoryview(contents)[first * frame_bytes : stop * frame_bytes]
    return Samples(decode_pcm(data, raw.channels, raw.encoding), raw.sample_rate, not is_float(raw.encoding))


def check_raw(raw: RawPcm) -> None:
    """Raise AudioError unsupported for a rate, a number of channels or an encoding that raw samples cannot have."""
    name = "raw samples"
    check_format(name, raw.sample_rate, raw.channels)
    if raw.encoding not in ENCODINGS:
        raise AudioError(f"{name}: encoding {raw.encoding!r}; allowed: {', '.join(ENCODINGS)}", "unsupported")


def _from_array(
    array: np.ndarray | Tensor, sample_rate: int | None, start: float | None, end: float | None, limits: AudioLimits
) -> Samples:
    if sample_rate is None:
        raise AudioError("an array needs sample_rate=", "unsupported")
    values = channels_last(array)
    check_format("array", sample_rate, values.shape[1])
    first, stop = frame_range("array", len(values), sample_rate, start, end)
    limits.check("array", stop - first, sample_rate, values.shape[1])
    return Samples(full_scale(values[first:stop]), sample_rate, values.dtype.kind != "f")


def full_scale(values: np.ndarray) -> np.ndarray:
    """Samples of an array as float32 with full scale 1. Raises AudioError unsupported for a type without a known full scale."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    if values.dtype == np.uint8:
        return (values.astype(np.float32) - 128.0) * np.float32(2.0**-7)
    scale = _INTEGER_SCALES.get((values.dtype.kind, values.dtype.itemsize))
    if scale is None:
        raise AudioError(f"samples of type {values.dtype} have no known full scale; use float or int16", "unsupported")
    return values.astype(np.float32) * np.float32(scale)


def channels_last(array: np.ndarray | Tensor) -> np.ndarray:
    """[S], [channels, S] or [S, channels] -> [S, channels]; of two axes the shorter one is the channels."""
    if isinstance(array, Tensor):
        array = array.detach().cpu()
        array = (array.float() if array.dtype == torch.bfloat16 else array).numpy()
    if array.ndim == 1:
        return array[:, None]
    if array.ndim != 2 or (array.shape[0] == array.shape[1] != 1):
        message = (
            f"an array of shape {list(array.shape)}: needs [S], or two axes of different length (the shorter is the channels)"
        )
        raise AudioError(message, "unsupported")
    return array.T if array.shape[0] < array.shape[1] else array
