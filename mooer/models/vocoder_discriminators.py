"""The discriminators that a vocoder is trained against (Kong et al. 2020): of periods, and of scales.

A discriminator gives a score for each stretch of a waveform, high for real ones, and all it computed on the way (its features).

Shapes: B batch, S samples, P period, C channels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from mooer.common.errors import ConfigError

SLOPE = 0.1
_PERIOD_CHANNELS = (32, 128, 512, 1024, 1024)
# Output channels, kernel, stride and groups.
_SCALE_LAYERS = (
    *((128, 15, 1, 1), (128, 41, 2, 4), (256, 41, 2, 16), (512, 41, 4, 16)),
    *((1024, 41, 4, 16), (1024, 41, 1, 16), (1024, 5, 1, 1)),
)

Judgement = tuple[Tensor, list[Tensor]]


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Sizes of the discriminators; the defaults are those of the paper."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    """Of the discriminators that see every P-th sample side by side."""
    num_scales: int = 3
    """Discriminators of the waveform itself, of half its rate, and so on."""
    shrinking: int = 1
    """By how much all channels are divided, for small trainings: 1, 2, 4 or 8."""

    def __post_init__(self) -> None:
        if any(period < 2 for period in self.periods) or len(set(self.periods)) < len(self.periods):
            raise ConfigError(f"periods must be different numbers of at least 2, found {self.periods}")
        if self.num_scales < 0 or not (self.periods or self.num_scales):
            raise ConfigError(f"there must be a discriminator: found no periods, and num_scales {self.num_scales}")
        if self.shrinking not in (1, 2, 4, 8):
            raise ConfigError(f"shrinking must be 1, 2, 4 or 8, found {self.shrinking}")


class PeriodDiscriminator(nn.Module):
    """Sees the samples that lie a period apart."""

    def __init__(self, period: int, shrinking: int) -> None:
        super().__init__()
        self.period = period
        self.convs, channels = nn.ModuleList(), 1
        for index, full in enumerate(_PERIOD_CHANNELS):
            stride = 3 if index < len(_PERIOD_CHANNELS) - 1 else 1
            convolution = nn.Conv2d(channels, full // shrinking, (5, 1), (stride, 1), padding=(2, 0))
            self.convs.append(weight_norm(convolution))
            channels = full // shrinking
        self.conv_post = weight_norm(nn.Conv2d(channels, 1, (3, 1), padding=(1, 0)))

    def forward(self, waveforms: Tensor) -> Judgement:
        """[B, S] -> scores [B, ...] and features."""
        missing = -waveforms.shape[1] % self.period
        hidden = F.pad(waveforms[:, None], (0, missing), "reflect").unflatten(2, (-1, self.period))  # [B, 1, S / P, P]
        return _judge(self, hidden)


class ScaleDiscriminator(nn.Module):
    """Sees neighbouring samples. The first one is held by its spectral norm, the others by weight norm."""

    def __init__(self, shrinking: int, is_first: bool) -> None:
        super().__init__()
        norm = spectral_norm if is_first else weight_norm
        self.convs, channels = nn.ModuleList(), 1
        for full, kernel, stride, groups in _SCALE_LAYERS:
            convolution = nn.Conv1d(channels, full // shrinking, kernel, stride, padding=kernel // 2, groups=groups)
            self.convs.append(norm(convolution))
            channels = full // shrinking
        self.conv_post = norm(nn.Conv1d(channels, 1, 3, padding=1))

    def forward(self, waveforms: Tensor) -> Judgement:
        """[B, S] -> scores [B, ...] and features."""
        return _judge(self, waveforms[:, None])


def _judge(discriminator: PeriodDiscriminator | ScaleDiscriminator, hidden: Tensor) -> Judgement:
    features = []
    for convolution in discriminator.convs:
        hidden = F.leaky_relu(convolution(hidden), SLOPE)
        features.append(hidden)
    scores = discriminator.conv_post(hidden)
    return scores.flatten(1), [*features, scores]


class Discriminators(nn.Module):
    """All of them."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.periods = nn.ModuleList([PeriodDiscriminator(period, config.shrinking) for period in config.periods])
        self.scales = nn.ModuleList([ScaleDiscriminator(config.shrinking, index == 0) for index in range(config.num_scales)])

    def forward(self, waveforms: Tensor) -> list[Judgement]:
        """[B, S] -> what each says."""
        judgements = [discriminator(waveforms) for discriminator in self.periods]
        for index, discriminator in enumerate(self.scales):
            if index:
                waveforms = F.avg_pool1d(waveforms[:, None], 4, 2, padding=2)[:, 0]
            judgements.append(discriminator(waveforms))
        return judgements


def judge_without_learning(discriminators: Discriminators, waveforms: Tensor) -> list[Judgement]:
    """What the discriminators say, with a gradient for the waveforms [B, S] and none for themselves."""
    fixed = {name: parameter.detach() for name, parameter in discriminators.named_parameters()}
    return torch.func.functional_call(discriminators, fixed, (waveforms,))
