"""Rooms, lines and noises that a training recording was not made in. Shapes: S samples at 16 kHz.

Everything is synthetic, so that no corpus of noises or of rooms is needed. What is drawn at random comes from the caller's
generator, so a draw can be repeated. Source of the rooms: noise that dies away exponentially, after Polack's statistical model.
"""

import math

import torch
from torch import Tensor

from mooer.common.lengths import SAMPLE_RATE

# What energy falls by until a room counts as silent: 60 dB.
_DECAY = math.log(10.0**3)
# Frequencies below this part of half the rate are as loud as those at it: the power law has no end at 0.
_LOWEST_SHARE = 0.01
# Share of half the rate over which a line's edge falls.
_EDGE_WIDTH = 0.015


def reverberate(waveform: Tensor, seconds: float, wet_db: float, generator: torch.Generator) -> Tensor:
    """The waveform [S] in a room, as long as it was.

    Args:
        seconds: until an echo has died away by 60 dB.
        wet_db: energy of all echoes together, relative to the direct sound.
    """
    length = max(2, round(seconds * SAMPLE_RATE))
    response = torch.randn(length, generator=generator) * torch.exp(-_DECAY * torch.arange(length) / length)
    response *= 10.0 ** (wet_db / 20.0) / float(response.square().sum().sqrt())
    response[0] = 1.0
    size = _fast_size(waveform.numel() + length)
    return torch.fft.irfft(torch.fft.rfft(waveform, size) * torch.fft.rfft(response, size), size)[: waveform.numel()]


def limit_band(waveform: Tensor, low_hertz: float, high_hertz: float) -> Tensor:
    """The waveform [S] through a line that passes frequencies between two edges, as long as it was."""
    size = _fast_size(waveform.numel() + SAMPLE_RATE // 10)
    spectrum = torch.fft.rfft(waveform, size)
    share = torch.linspace(0.0, 1.0, spectrum.numel())
    low, high = (2.0 * hertz / SAMPLE_RATE for hertz in (low_hertz, high_hertz))
    passed = torch.sigmoid((share - low) / _EDGE_WIDTH) * torch.sigmoid((high - share) / _EDGE_WIDTH)
    return torch.fft.irfft(spectrum * passed, size)[: waveform.numel()]


def coloured_noise(num_samples: int, slope: float, generator: torch.Generator) -> Tensor:
    """Noise [num_samples] whose amplitude falls with frequency to the power of -`slope`: 0 white, 0.5 pink, 1 brown."""
    size = _fast_size(num_samples)
    spectrum = torch.fft.rfft(torch.randn(size, generator=generator))
    share = torch.linspace(0.0, 1.0, spectrum.numel()).clamp_(min=_LOWEST_SHARE)
    return torch.fft.irfft(spectrum * share**-slope, size)[:num_samples]


def _fast_size(length: int) -> int:
    """A size of at least `length` that the Fourier transform is quick at: 2^n or 3 * 2^n."""
    power = 1 << max(2, (length - 1).bit_length())
    return power * 3 // 4 if power * 3 // 4 >= length else power
