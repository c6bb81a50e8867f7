"""Log mel filterbanks as Kaldi computes them, for many recordings in one pass.

The rule (Kaldi compute-fbank-feats; the settings of Paraformer and MooER): samples times 32768, frames of 25 ms every 10 ms
wholly inside the recording, each frame's mean removed, pre-emphasis 0.97 inside the frame (its first sample is its own
predecessor), symmetric Hamming window, 512-point FFT, power, triangular mel filters from 20 Hz to half the rate, floor, log.
WeNet and 3M-ASR differ in one thing: their window is Kaldi's default, povey.

What is arranged for speed: few and large operations; pre-emphasis runs once over the samples instead of over overlapping
frames, after which a frame's mean is one number to subtract; the window is long enough to fill up the FFT with zeros; what
follows the FFT is in `mooer.features.mel`.

Rows never depend on each other, and their number is padded to a multiple of 16, so that every element goes through the
same vector instructions wherever it lies: a recording has bit-identical features alone and in any batch.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from mooer.common.lengths import SAMPLE_RATE, SHIFT_SAMPLES, WINDOW_SAMPLES, fbank_frames
from mooer.features.mel import MelGroups, mel_energies, mel_groups
from mooer.features.waveform import check_finite, check_waveform

FFT_SIZE = 512
LOW_FREQUENCY = 20.0
PREEMPHASIS = torch.tensor(0.97).item()
MEL_FLOOR = torch.finfo(torch.float32).eps
WAVEFORM_SCALE = 32768.0
# A frame's samples reach this many rows beyond its own: the next recording must start after them.
OVERLAP_ROWS = -(-WINDOW_SAMPLES // SHIFT_SAMPLES) - 1
ROW_MULTIPLE = 16
# Rows computed at once, so that the intermediate results stay near the processor.
CHUNK_ROWS = 512

Window = Literal["hamming", "povey"]
WINDOWS: tuple[Window, ...] = get_args(Window)


@dataclasses.dataclass(frozen=True)
class FbankRows:
    """Filterbanks of several recordings in one tensor."""

    rows: Tensor
    """[R, num_mel_bins]; rows outside of the recordings mean nothing and may be overwritten."""
    starts: list[int]
    """Row of each recording's first frame."""
    counts: list[int]
    """Frames of each recording."""


def fbank(waveform: Tensor, num_mel_bins: int = 80, window: Window = "hamming") -> Tensor:
    """Log mel filterbanks of one recording.

    Args:
        waveform: [S] float32 at 16 kHz, full scale 1.

    Returns:
        [T, num_mel_bins] with T = 1 + (S - 400) // 160; silence gives log(1.19e-7) = -15.9424.

    Raises:
        AudioError: too_short (under 400 samples), empty, not_finite.
    """
    return fbank_batch([waveform], num_mel_bins, window)[0]


def fbank_batch(waveforms: Sequence[Tensor], num_mel_bins: int = 80, window: Window = "hamming") -> list[Tensor]:
    """Log mel filterbanks of several recordings, each equal to the last bit to what `fbank` gives for it alone.

    The results are views of one tensor.
    """
    result = fbank_rows(waveforms, num_mel_bins, window=window)
    return [result.rows[start : start + count] for start, count in zip(result.starts, result.counts, strict=True)]


@torch.no_grad()
def fbank_rows(
    waveforms: Sequence[Tensor],
    num_mel_bins: int = 80,
    before: int = 0,
    after: int = 0,
    window: Window = "hamming",
    dtype: torch.dtype = torch.float32,
    scale: float = WAVEFORM_SCALE,
) -> FbankRows:
    """Log mel filterbanks of several recordings in one tensor, with at least `before` and `after` free rows around each.

    Args:
        dtype: what is computed with, and the type of the result.
        scale: what the samples are multiplied by; it decides how quiet a sound may be before the floor hides it.
    """
    for index, waveform in enumerate(waveforms):
        check_waveform(waveform, index)
    counts = [fbank_frames(waveform.numel()) for waveform in waveforms]
    around = before + max(after, OVERLAP_ROWS)
    ends = list(itertools.accumulate(count + around for count in counts))
    starts = [end - count - around + before for end, count in zip(ends, counts, strict=True)]
    num_rows = -(-ends[-1] // ROW_MULTIPLE) * ROW_MULTIPLE
    samples = _lay_out(waveforms, starts, counts, torch.empty(1 + num_rows * SHIFT_SAMPLES + FFT_SIZE, dtype=dtype))
    rows = torch.empty(num_rows, num_mel_bins, dtype=dtype)
    for top in range(0, num_rows, CHUNK_ROWS):
        _compute(samples, top, rows[top : top + CHUNK_ROWS], _window(window, dtype, scale))
    check_finite(rows, waveforms)
    return FbankRows(rows, starts, counts)


def _lay_out(waveforms: Sequence[Tensor], starts: list[int], counts: list[int], samples: Tensor) -> Tensor:
    """Fill `samples` [1 + S]: a zero, then row r begins at sample r * 160, zeros where no recording is."""
    done = 0
    for waveform, start, count in zip(waveforms, starts, counts, strict=True):
        first = 1 + start * SHIFT_SAMPLES
        length = (count - 1) * SHIFT_SAMPLES + WINDOW_SAMPLES
        samples[done:first] = 0.0
        done = first + length
        samples[first:done] = waveform[:length]
    samples[done:] = 0.0
    return samples


def _compute(samples: Tensor, top: int, energies: Tensor, window: Tensor) -> None:
    """Fill `energies` [R, num_mel_bins] with the log mel energies of the rows from `top` on."""
    num_rows, num_mel_bins = energies.shape
    samples = samples.narrow(0, top * SHIFT_SAMPLES, 1 + (num_rows - 1) * SHIFT_SAMPLES + FFT_SIZE)
    first = samples.storage_offset() + 1
    means = samples.as_strided((num_rows, WINDOW_SAMPLES), (SHIFT_SAMPLES, 1), first).mean(1, keepdim=True)
    # One fused multiply-subtract: for a constant c it gives the rounded (1 - 0.97) c, as the line after it does for the mean.
    emphasised = torch.sub(samples[1:], samples[:-1], alpha=PREEMPHASIS)
    frames = emphasised.as_strided((num_rows, FFT_SIZE), (SHIFT_SAMPLES, 1)) - means * (1.0 - PREEMPHASIS)
    # A frame's first sample is its own predecessor: (1 - 0.97) x, the factor being in the window.
    torch.sub(samples.as_strided((num_rows, 1), (SHIFT_SAMPLES, 1), first), means, out=frames[:, :1])
    frames *= window
    mel_energies(frames, _mel_groups(num_mel_bins, energies.dtype), energies)
    energies.clamp_(min=MEL_FLOOR).log_()


@functools.lru_cache(maxsize=4)
def _window(name: Window, dtype: torch.dtype, scale: float) -> Tensor:
    """Symmetric window [512] with zeros after its 400 values, the scale of the samples and the first one's factor.

    Kaldi's povey window is a Hann window to the power of 0.85.
    """
    if name == "hamming":
        values = torch.hamming_window(WINDOW_SAMPLES, periodic=False, dtype=dtype)
    else:
        values = torch.hann_window(WINDOW_SAMPLES, periodic=False, dtype=dtype).pow(0.85)
    window = torch.zeros(FFT_SIZE, dtype=dtype)
    window[:WINDOW_SAMPLES] = values * scale
    window[0] *= 1.0 - PREEMPHASIS
    return window


def mel_filters(num_mel_bins: int) -> Tensor:
    """Triangular filters [257, num_mel_bins] in float64, evenly spaced on Kaldi's mel scale 1127 ln(1 + f / 700)."""
    frequencies = torch.arange(FFT_SIZE // 2 + 1, dtype=torch.float64) * (SAMPLE_RATE / FFT_SIZE)
    mels = 1127.0 * torch.log1p(frequencies / 700.0)
    low, high = (1127.0 * math.log1p(f / 700.0) for f in (LOW_FREQUENCY, SAMPLE_RATE / 2))
    step = (high - low) / (num_mel_bins + 1)
    position = (mels[:, None] - low) / step - torch.arange(num_mel_bins, dtype=torch.float64)
    filters = torch.minimum(position, 2.0 - position).clamp_(min=0.0)
    # Kaldi leaves out the bin at half the rate.
    filters[-1] = 0.0
    return filters


@functools.lru_cache(maxsize=4)
def _mel_groups(num_mel_bins: int, dtype: torch.dtype) -> MelGroups:
    return mel_groups(mel_filters(num_mel_bins).to(dtype))
