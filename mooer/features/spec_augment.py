"""Masks in time and frequency on normalised frames (Park et al., SpecAugment, Interspeech 2019)."""

import dataclasses

import torch
from torch import Tensor

from mooer.common.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpecAugmentConfig:
    """How much of an utterance may be masked; widths are drawn evenly from 0 to the largest."""

    num_time_masks: int = 2
    """Masks over stretches of frames."""
    max_time_width: int = 8
    """Longest time mask, in stacked frames of 60 ms."""
    max_time_share: float = 0.2
    """Longest time mask, as a share of the utterance's frames, which spares short utterances."""
    num_frequency_masks: int = 2
    """Masks over bands of mel bins."""
    max_frequency_width: int = 10
    """Widest frequency mask, in mel bins."""

    def __post_init__(self) -> None:
        for name in ("num_time_masks", "max_time_width", "num_frequency_masks", "max_frequency_width"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must not be negative")
        if not 0.0 <= self.max_time_share <= 1.0:
            raise ConfigError(f"max_time_share is {self.max_time_share}; allowed: 0 to 1")


def spec_augment(
    frames: Tensor, generator: torch.Generator, config: SpecAugmentConfig | None = None, num_mel_bins: int = 80
) -> Tensor:
    """Mask stretches of time and bands of frequency with 0, the mean of normalised features.

    Args:
        frames: [T, m * num_mel_bins] after LFR and CMVN; a band is masked in all m stacked frames.
        generator: draws widths and positions; the same state gives the same masks.

    Returns:
        A new tensor [T, m * num_mel_bins].
    """
    config = config or SpecAugmentConfig()
    num_frames, width = frames.shape
    masked = frames.clone()
    stacked = masked.view(num_frames, width // num_mel_bins, num_mel_bins)
    widest = min(config.max_time_width, int(config.max_time_share * num_frames))
    draws = torch.rand(config.num_time_masks + config.num_frequency_masks, 2, generator=generator).tolist()
    for draw in draws[: config.num_time_masks]:
        first, stop = _stretch(draw, widest, num_frames)
        masked[first:stop] = 0.0
    for draw in draws[config.num_time_masks :]:
        first, stop = _stretch(draw, min(config.max_frequency_width, num_mel_bins), num_mel_bins)
        stacked[:, :, first:stop] = 0.0
    return masked


def _stretch(draw: list[float], widest: int, length: int) -> tuple[int, int]:
    """A stretch of 0 to `widest` places within `length`, from two even draws in [0, 1): width and position."""
    width = int(draw[0] * (widest + 1))
    first = int(draw[1] * (length - width + 1))
    return first, first + width
