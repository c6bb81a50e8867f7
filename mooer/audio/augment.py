"""Changes to training waveforms. What is drawn at random comes from the caller's generator, so a draw can be repeated.

Source of the speed factors: Ko et al., Audio Augmentation for Speech Recognition, Interspeech 2015 (0.9, 1.0, 1.1).
"""

import math

import torch
from torch import Tensor

from mooer.audio.resample import resample
from mooer.common.errors import ConfigError

LOWEST_SPEED, HIGHEST_SPEED = 0.25, 4.0
_SPEED_STEPS = 1000


def change_speed(waveform: Tensor, factor: float) -> Tensor:
    """Play a waveform [S] `factor` times as fast, tempo and pitch together, by resampling.

    Args:
        factor: 0.25 to 4, rounded to thousandths; 1 returns the waveform unchanged.

    Returns:
        [ceil(S / factor)].

    Raises:
        ConfigError: another factor.
    """
    if not LOWEST_SPEED <= factor <= HIGHEST_SPEED:
        raise ConfigError(f"speed factor is {factor}; allowed: {LOWEST_SPEED} to {HIGHEST_SPEED}")
    return resample(waveform, round(factor * _SPEED_STEPS), _SPEED_STEPS)


def change_gain(waveform: Tensor, gain_db: float) -> Tensor:
    """The waveform [S] louder by `gain_db` decibels (softer if negative)."""
    return waveform * 10.0 ** (gain_db / 20.0)


def add_noise(waveform: Tensor, noise: Tensor, snr_db: float, start: int = 0) -> Tensor:
    """Add a noise recording so that the energy of the speech is `snr_db` decibels above the noise's.

    Args:
        waveform: [S].
        noise: [S'] with S' > start; repeated from its beginning where it ends before the waveform.
        start: the noise's sample that meets the first one of the waveform.

    Returns:
        [S]; the waveform unchanged where it or the noise is silent, because no ratio exists then.
    """
    stop = start + waveform.numel()
    if stop > noise.numel():
        noise = noise.repeat(-(-stop // noise.numel()))
    return _mixed(waveform, noise[start:stop], snr_db)


def add_white_noise(waveform: Tensor, snr_db: float, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise `snr_db` decibels below the energy of the waveform [S]; a silent one stays unchanged."""
    return _mixed(waveform, torch.randn(waveform.numel(), generator=generator), snr_db)


def _mixed(waveform: Tensor, noise: Tensor, snr_db: float) -> Tensor:
    speech_energy, noise_energy = (float(signal.dot(signal)) for signal in (waveform, noise))
    if speech_energy == 0.0 or noise_energy == 0.0:
        return waveform
    return waveform + noise * math.sqrt(speech_energy / noise_energy / 10.0 ** (snr_db / 10.0))
