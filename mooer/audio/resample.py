"""Any sample rate to any other by a windowed sinc, with the kernel and defaults of torchaudio.transforms.Resample.

The filter is a sinc cut off at 0.99 of the lower Nyquist frequency under a Hann window of 6 zero crossings a side. torchaudio
convolves; here the same products are one matrix product over overlapping windows, several times as fast for speech, and
rates whose ratio needs a huge kernel (44,101 to 16,000 Hz) are interpolated piece by piece instead of filling the memory.
"""

import functools
import math

import torch
from torch import Tensor

_ZERO_CROSSINGS = 6
_ROLLOFF = 0.99
_LARGEST_KERNEL = 1 << 20
_GROUP_OUTPUTS = 32
_BLOCK_SAMPLES = 1 << 12


def resample(waveform: Tensor, source_rate: int, target_rate: int) -> Tensor:
    """Resample [..., S] float32 to ceil(S * target_rate / source_rate) samples; equal rates return it unchanged.

    Equal to torchaudio.transforms.Resample(source_rate, target_rate) within float32 rounding.
    """
    if source_rate == target_rate or waveform.size(-1) == 0:
        return waveform
    common = math.gcd(source_rate, target_rate)
    source, target = source_rate // common, target_rate // common
    length = -(-waveform.size(-1) * target // source)
    rows = waveform.reshape(-1, waveform.size(-1))
    if source * target > _LARGEST_KERNEL:
        resampled = torch.stack([_interpolated(row, source, target, length) for row in rows])
    else:
        resampled = torch.stack([_filtered(row, source, target, length) for row in rows])
    return resampled.view(*waveform.shape[:-1], length)


def _filtered(row: Tensor, source: int, target: int, length: int) -> Tensor:
    """[S] -> [length]: the input samples around each group make a group of output samples by one matrix product."""
    filters, width, step = _filters(source, target)
    taps, outputs = filters.shape
    groups = -(-length // outputs)
    padded = torch.zeros((groups - 1) * step + taps)
    inside = min(row.numel(), padded.numel() - width)
    padded[width : width + inside] = row[:inside]
    return (padded.as_strided((groups, taps), (step, 1)) @ filters).view(-1)[:length]


@functools.lru_cache(maxsize=16)
def _filters(source: int, target: int) -> tuple[Tensor, int, int]:
    """The filters of a group [taps, outputs], the taps before its first sample, and the input samples from group to group.

    `source` input samples make `target` output samples, always by the same filters; several such periods are joined into
    one group, so that neighbouring groups share few taps and the matrix product is not too narrow.
    """
    width = _width(source, target)
    taps = torch.arange(-width, width + source, dtype=torch.float64) / source
    # float32 as in torchaudio, whose results are to be met.
    phases = (torch.arange(target, dtype=torch.float32) / target).double()
    period = _sinc(taps[:, None] - phases, source, target).float()
    periods = -(-_GROUP_OUTPUTS // target)
    filters = torch.zeros(2 * width + periods * source, periods * target)
    for index in range(periods):
        top, left = index * source, index * target
        filters[top : top + len(taps), left : left + target] = period
    return filters, width, periods * source


def _interpolated(row: Tensor, source: int, target: int, length: int) -> Tensor:
    """[S] -> [length] with the filter of every output sample computed where it is needed."""
    width = _width(source, target)
    padded = torch.nn.functional.pad(row, (width, width + 1))
    offsets = torch.arange(2 * width + 1)
    blocks = []
    for start in range(0, length, _BLOCK_SAMPLES):
        numbers = torch.arange(start, min(start + _BLOCK_SAMPLES, length)) * source
        nearest = numbers.div(target, rounding_mode="floor")
        phases = (numbers - nearest * target).double() / target
        distance = (offsets - width).double() - phases[:, None]
        weights = _sinc(distance / source, source, target).float()
        blocks.append((padded[nearest[:, None] + offsets] * weights).sum(1))
    return torch.cat(blocks)


def _width(source: int, target: int) -> int:
    """Input samples on either side that an output sample depends on."""
    return math.ceil(_ZERO_CROSSINGS * source / (min(source, target) * _ROLLOFF))


def _sinc(time: Tensor, source: int, target: int) -> Tensor:
    """The windowed sinc at `time`, in units of `source` input samples, float64."""
    cutoff = min(source, target) * _ROLLOFF
    crossings = (time * cutoff).clamp_(-_ZERO_CROSSINGS, _ZERO_CROSSINGS)
    window = torch.cos(crossings * (math.pi / _ZERO_CROSSINGS / 2)).square_()
    return torch.sinc(crossings) * window * (cutoff / source)
