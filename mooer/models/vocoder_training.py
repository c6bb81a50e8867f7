"""A vocoder with what it is trained by: one loss for itself and for the discriminators, which move their own weights alone.

Both learn in the same step from the same waveforms, so that one optimizer is enough: the vocoder's part of the loss has no
gradient for the discriminators' weights, theirs none for the vocoder.

Shapes: B batch, T latents, D width of a latent, V width of a voice, S samples.
"""

import operator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from mooer.common.errors import ConfigError
from mooer.models.losses import LossOutput
from mooer.models.vocoder import Vocoder, VocoderConfig, load_vocoder
from mooer.models.vocoder_discriminators import DiscriminatorConfig, Discriminators, judge_without_learning
from mooer.models.vocoder_losses import LogMel, deception_loss, detection_loss, feature_loss

_FIRST_STD = 0.01


@dataclass(frozen=True, kw_only=True)
class VocoderModelConfig:
    """The section `model` of a file that trains a vocoder."""

    family: Literal["vocoder"] = "vocoder"
    """HiFi-GAN."""
    network: VocoderConfig = field(default_factory=VocoderConfig)
    """Sizes of the generator."""
    discriminators: DiscriminatorConfig | None = field(default_factory=DiscriminatorConfig)
    """Sizes of the discriminators; none trains by the mel spectrogram alone."""
    mel_weight: float = 45.0
    """Of the distance of log mel spectrograms."""
    feature_weight: float = 2.0
    """Of the distance of discriminators' features."""
    path: str | None = None
    """A generator, of the sizes of `network`, that training goes on from."""

    def __post_init__(self) -> None:
        for name in ("mel_weight", "feature_weight"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must not be negative, found {getattr(self, name)}")


class VocoderTraining(nn.Module):
    """Generator and discriminators. The generator's weights are held as direction and length (weight norm)."""

    def __init__(self, config: VocoderModelConfig, generator: Vocoder) -> None:
        super().__init__()
        self._mel_weight, self._feature_weight = config.mel_weight, config.feature_weight
        self.generator = generator
        for convolution in _normed(generator):
            weight_norm(convolution)
        self.discriminators = None if config.discriminators is None else Discriminators(config.discriminators)
        self.log_mel = LogMel(config.network.sampling_rate)

    def forward(self, latents: Tensor, waveforms: Tensor, voices: Tensor) -> LossOutput:
        """The loss of a batch of stretches: all of it in training mode, in eval mode the distance of log mel spectrograms.

        Args:
            latents: [B, T, D].
            waveforms: [B, T x samples_of_a_latent], what is to come of them.
            voices: [B, V].
        """
        batch, num_latents = latents.shape[:2]
        made, _ = self.generator(latents, torch.full((batch,), num_latents), voices)
        distance = (self.log_mel(made) - self.log_mel(waveforms)).abs().mean()
        loss = self._whole(distance, made, waveforms) if self.training else distance
        count = torch.tensor(batch, device=latents.device)
        return LossOutput(loss * batch, count, torch.zeros_like(count), torch.zeros_like(count))

    def _whole(self, distance: Tensor, made: Tensor, waveforms: Tensor) -> Tensor:
        loss = self._mel_weight * distance
        if self.discriminators is None:
            return loss
        real = self.discriminators(waveforms)
        seen = judge_without_learning(self.discriminators, made)
        loss = loss + deception_loss(seen) + self._feature_weight * feature_loss(real, seen)
        return loss + detection_loss(real, self.discriminators(made.detach()))

    def trained_generator(self) -> Vocoder:
        """A copy of the generator with plain weights, on the CPU, in eval mode."""
        plain = Vocoder(self.generator.config)
        state = {name: operator.attrgetter(name)(self.generator).detach().cpu() for name in plain.state_dict()}
        plain.load_state_dict(state)
        return plain.eval().requires_grad_(False)


def _normed(generator: Vocoder) -> list[nn.Module]:
    """The convolutions that the published checkpoints hold with weight norm: all but those of the voice."""
    ours = [generator.conv_pre, *generator.ups, generator.conv_post]
    for block in generator.resblocks:
        ours += [*block.convs1, *block.convs2]
    return ours


def build_vocoder_training(config: VocoderModelConfig) -> VocoderTraining:
    """Generator and discriminators in training mode. Raises PathError or WeightsError for `path`."""
    if config.path is not None:
        generator = load_vocoder(config.path, config.network).requires_grad_(True)
    else:
        generator = Vocoder(config.network)
        for convolution in [*generator.ups, *(item for block in generator.resblocks for item in block.modules())]:
            if isinstance(convolution, nn.Conv1d | nn.ConvTranspose1d):
                nn.init.normal_(convolution.weight, std=_FIRST_STD)
    return VocoderTraining(config, generator).train()
