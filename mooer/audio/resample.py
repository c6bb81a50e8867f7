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
_BANK_BLOCK_SAMPLES = 1 << 15


def resample(waveform: Tensor, source_rate: int, target_rate: int) -> Tensor:
    """Resample [..., S] float32 to ceil(S * target_rate / source_rate) samples; equal rates return it unchanged.

    Equal to torchaudio.transforms.Resample(source_rate, target_rate) within float32 rounding.
    """
    if source_rate == target_rate or waveform.size(-1) == 0:
        return waveform
    stream = ResampleStream(source_rate, target_rate)
    rows = waveform.reshape(-1, waveform.size(-1))
    resampled = torch.cat((stream.accept(rows), stream.finish()), dim=1)
    return resampled.view(*waveform.shape[:-1], resampled.size(1))


class ResampleStream:
    """A recording that arrives in pieces, at another rate: the same, to the last bit, as `resample` makes of the whole.

    Samples come out in blocks of a fixed size, whatever the pieces were; what is kept is less than a block's input.
    """

    def __init__(self, source_rate: int, target_rate: int) -> None:
        common = math.gcd(source_rate, target_rate)
        self._source, self._target = source_rate // common, target_rate // common
        self._is_same = self._source == self._target
        is_large = self._source * self._target > _LARGEST_KERNEL
        self._filter = (_Interpolation if is_large else _FilterBank)(self._source, self._target)
        self._rows: Tensor | None = None  # inputs from number `_first` on; those before the recording are zeros
        self._first = -self._filter.width
        self._received = self._done = 0  # input and output samples

    def accept(self, samples: Tensor) -> Tensor:
        """The output [C, S'] that these samples [C, S] float32 complete."""
        if self._is_same:
            return samples
        before = samples.new_zeros(len(samples), self._filter.width) if self._rows is None else self._rows
        self._rows = torch.cat((before, samples), dim=1)
        self._received += samples.size(1)
        blocks = [samples[:, :0]]
        while self._filter.needed(self._done + self._filter.block) <= self._received:
            blocks.append(self._next(self._done + self._filter.block))
        return torch.cat(blocks, dim=1)

    def finish(self) -> Tensor:
        """The rest of the output: silence follows the recording."""
        if self._is_same or self._rows is None:
            return torch.empty(1 if self._rows is None else len(self._rows), 0)
        length = -(-self._received * self._target // self._source)
        missing = self._filter.needed(max(length, 1)) - self._received
        self._rows = torch.nn.functional.pad(self._rows, (0, max(0, missing)))
        blocks = [self._rows[:, :0]]
        while self._done < length:
            blocks.append(self._next(min(self._done + self._filter.block, length)))
        return torch.cat(blocks, dim=1)

    def _next(self, stop: int) -> Tensor:
        """The output up to number `stop`; input that no later output needs is forgotten."""
        output = torch.stack([self._filter.output(row, self._first, self._done, stop) for row in self._rows])
        self._done = stop
        unneeded = self._filter.first(stop) - self._first
        self._rows, self._first = self._rows[:, unneeded:], self._first + unneeded
        return output


class _FilterBank:
    """`source` input samples make `target` output samples, always by the same filters: one matrix product over windows."""

    def __init__(self, source: int, target: int) -> None:
        self._filters, self.width, self._step = _filters(source, target)
        self._taps, self._outputs = self._filters.shape
        self.block = max(1, _BANK_BLOCK_SAMPLES // self._outputs) * self._outputs

    def first(self, start: int) -> int:
        """Number of the first input sample that output from `start` on, where a group begins, depends on."""
        return start // self._outputs * self._step - self.width

    def needed(self, stop: int) -> int:
        """Input samples that the output before number `stop` depends on."""
        return (-(-stop // self._outputs) - 1) * self._step + self._taps - self.width

    def output(self, row: Tensor, offset: int, start: int, stop: int) -> Tensor:
        """Output from `start` to `stop` of inputs [S], of which the first one has the number `offset`."""
        groups = -(-(stop - start) // self._outputs)
        inputs = row[self.first(start) - offset :].contiguous()
        windows = inputs.as_strided((groups, self._taps), (self._step, 1), inputs.storage_offset())
        return (windows @ self._filters).view(-1)[: stop - start]


@functools.lru_cache(maxsize=16)
def _filters(source: int, target: int) -> tuple[Tensor, int, int]:
    """The filters of a group [taps, outputs], the taps before its first sample, and the input samples from group to group.

    Several periods are joined into one group, so that neighbouring groups share few taps and the matrix product is not too
    narrow.
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


class _Interpolation:
    """The filter of every output sample computed where it is needed."""

    block = _BLOCK_SAMPLES

    def __init__(self, source: int, target: int) -> None:
        self._source, self._target = source, target
        self.width = _width(source, target)

    def first(self, start: int) -> int:
        """Number of the first input sample that output from `start` on depends on."""
        return start * self._source // self._target - self.width

    def needed(self, stop: int) -> int:
        """Input samples that the output before number `stop` depends on."""
        return (stop - 1) * self._source // self._target + self.width + 1

    def output(self, row: Tensor, offset: int, start: int, stop: int) -> Tensor:
        """Output from `start` to `stop` of inputs [S], of which the first one has the number `offset`."""
        around = torch.arange(-self.width, self.width + 1)
        numbers = torch.arange(start, stop) * self._source
        nearest = numbers.div(self._target, rounding_mode="floor")
        phases = (numbers - nearest * self._target).double() / self._target
        distance = around.double() - phases[:, None]
        weights = _sinc(distance / self._source, self._source, self._target).float()
        return (row[nearest[:, None] + around - offset] * weights).sum(1)


def _width(source: int, target: int) -> int:
    """Input samples on either side that an output sample depends on."""
    return math.ceil(_ZERO_CROSSINGS * source / (min(source, target) * _ROLLOFF))


def _sinc(time: Tensor, source: int, target: int) -> Tensor:
    """The windowed sinc at `time`, in units of `source` input samples, float64."""
    cutoff = min(source, target) * _ROLLOFF
    crossings = (time * cutoff).clamp_(-_ZERO_CROSSINGS, _ZERO_CROSSINGS)
    window = torch.cos(crossings * (math.pi / _ZERO_CROSSINGS / 2)).square_()
    return torch.sinc(crossings) * window * (cutoff / source)
