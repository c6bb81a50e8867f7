"""Masks in time and frequency on normalised frames (Park et al., SpecAugment, Interspeech 2019)."""

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from mooer.common.errors import ConfigError

Placing = Literal["inside", "anywhere"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpecAugmentConfig:
    """How much of an utterance may be masked; widths and places are drawn evenly."""

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
    placing: Placing = "inside"
    """inside: widths from 0 to the largest, wholly inside of the utterance. anywhere: widths from 1, beginning at any frame or
    bin; what passes the end or max_time_share is cut off (WeNet and 3M-ASR, with max_time_share 1)."""

    def __post_init__(self) -> None:
        for name in ("num_time_masks", "max_time_width", "num_frequency_masks", "max_frequency_width"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must not be negative")
        if not 0.0 <= self.max_time_share <= 1.0:
            raise ConfigError(f"max_time_share is {self.max_time_share}; allowed: 0 to 1")
        if self.placing not in get_args(Placing):
            raise ConfigError(f"placing {self.placing!r} is unknown; allowed: {', '.join(get_args(Placing))}")


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
    draws = torch.rand(config.num_time_masks + config.num_frequency_masks, 2, generator=generator)
    return apply_masks(frames, draws.tolist(), config, num_mel_bins)


def apply_masks(frames: Tensor, draws: Sequence[Sequence[float]], config: SpecAugmentConfig, num_mel_bins: int = 80) -> Tensor:
    """`spec_augment` with what was drawn: width and position of each mask in [0, 1), those of time masks first."""
    num_frames, width = frames.shape
    masked = frames.clone()
    stacked = masked.view(num_frames, width // num_mel_bins, num_mel_bins)
    longest = int(config.max_time_share * num_frames)
    for draw in draws[: config.num_time_masks]:
        first, stop = _stretch(draw, config.max_time_width, longest, num_frames, config.placing)
        masked[first:stop] = 0.0
    for draw in draws[config.num_time_masks :]:
        first, stop = _stretch(draw, config.max_frequency_width, num_mel_bins, num_mel_bins, config.placing)
        stacked[:, :, first:stop] = 0.0
    return masked


def _stretch(draw: Sequence[float], widest: int, longest: int, length: int, placing: Placing) -> tuple[int, int]:
    """A stretch of at most `widest` and at most `longest` places within `length`, from the draws of its width and position."""
    if placing == "inside":
        width = int(draw[0] * (min(widest, longest) + 1))
        first = int(draw[1] * (length - width + 1))
        return first, first + width
    width = min(1 + int(draw[0] * widest), longest) if widest else 0
    first = int(draw[1] * length)
    return first, min(first + width, length)
