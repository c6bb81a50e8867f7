"""Discriminators and losses of vocoders: sizes, whose weights a loss moves, what the mel spectrogram is."""

import numpy as np
import pytest
import torch

from mooer.common.errors import ConfigError
from mooer.models.vocoder import Vocoder, VocoderConfig
from mooer.models.vocoder_discriminators import DiscriminatorConfig, Discriminators, judge_without_learning
from mooer.models.vocoder_losses import LogMel, deception_loss, detection_loss, feature_loss
from mooer.models.vocoder_training import VocoderModelConfig, build_vocoder_training

SMALL = VocoderConfig(
    upsample_rates=(8, 8),
    upsample_kernel_sizes=(16, 16),
    upsample_initial_channel=8,
    resblock_kernel_sizes=(3,),
    resblock_dilation_sizes=((1, 3),),
    input_num_mels=6,
    cond_channels=3,
)
DISCRIMINATORS = DiscriminatorConfig(periods=(2, 3), num_scales=2, shrinking=8)


def model_of(**changes):
    torch.manual_seed(0)
    return build_vocoder_training(VocoderModelConfig(network=SMALL, discriminators=DISCRIMINATORS, **changes))


def batch_of(size=2):
    draw = torch.Generator().manual_seed(1)
    waves = 0.1 * torch.randn(size, 8 * 256, generator=draw)
    return torch.randn(size, 8, 6, generator=draw), waves, torch.randn(size, 3, generator=draw)


def test_full_size():
    with torch.device("meta"):
        found = Discriminators(DiscriminatorConfig())
    counts = [sum(item.numel() for item in part.parameters()) for part in (found.periods, found.scales)]
    # The published ones have 41.1 and 29.6 million with weight norm's lengths.
    assert [round(count / 1e6, 1) for count in counts] == [41.1, 29.6]


def test_every_discriminator_judges_every_sample():
    found = Discriminators(DISCRIMINATORS)
    waves = torch.randn(1, 1001, requires_grad=True)
    for scores, features in found(waves):
        assert torch.equal(features[-1].flatten(1), scores)
        (gradient,) = torch.autograd.grad(scores.sum(), waves, retain_graph=True)
        assert (gradient != 0).float().mean() > 0.98


def test_each_part_of_the_loss_moves_its_own_weights():
    model = model_of()
    latents, waves, voices = batch_of()
    made, _ = model.generator(latents, torch.full((2,), 8), voices)
    seen = judge_without_learning(model.discriminators, made)
    real = model.discriminators(waves)
    (deception_loss(seen) + feature_loss(real, seen)).backward(retain_graph=True)
    assert all(item.grad is None for item in model.discriminators.parameters())
    assert all(item.grad is not None and item.grad.any() for item in model.generator.parameters())
    model.zero_grad()
    detection_loss(real, model.discriminators(made.detach())).backward()
    assert all(item.grad is None for item in model.generator.parameters())
    assert all(item.grad is not None for item in model.discriminators.parameters())


def test_losses_of_known_judgements():
    real = [(torch.tensor([[1.0, 0.5]]), [torch.tensor([1.0, 2.0])])] * 2
    fake = [(torch.tensor([[0.0, 0.5]]), [torch.tensor([0.0, 4.0])])] * 2
    assert deception_loss(fake) == pytest.approx(2 * (1.0 + 0.25) / 2)
    assert detection_loss(real, fake) == pytest.approx(2 * (0.25 / 2 + 0.25 / 2))
    assert feature_loss(real, fake) == pytest.approx(2 * 1.5)


def test_log_mel_of_a_tone_is_loudest_at_its_pitch():
    rate = 22_050
    log_mel = LogMel(rate)
    tone = torch.sin(2 * np.pi * 2000 * torch.arange(rate // 2) / rate)[None]
    mels = log_mel(tone[:, : 256 * 40])
    assert mels.shape == (1, 80, 40)
    loudest = mels.mean(dim=2).argmax()
    centre = (log_mel.filters[:, loudest] * torch.linspace(0, rate / 2, 513)).sum() / log_mel.filters[:, loudest].sum()
    assert abs(centre - 2000) < 100
    silence = log_mel(torch.zeros(1, 2560))
    assert torch.allclose(
        silence.exp(), torch.full_like(silence, 1e-5).maximum(np.sqrt(1e-9) * log_mel.filters.sum(0)[:, None])
    )


def test_eval_mode_tells_the_distance_alone():
    model, batch = model_of(), batch_of()
    whole = model(*batch)
    with torch.no_grad():
        told = model.eval()(*batch)
    assert told.num_tokens == 2
    made, _ = model.generator(batch[0], torch.full((2,), 8), batch[2])
    distance = (model.log_mel(made) - model.log_mel(batch[1])).abs().mean()
    torch.testing.assert_close(told.loss_sum, 2 * distance)
    assert whole.loss_sum > 2 * 45 * distance * 0.999


def test_what_is_exported_computes_the_same():
    model = model_of()
    plain = model.trained_generator()
    assert plain.state_dict().keys() == Vocoder(SMALL).state_dict().keys()
    latents, _, voices = batch_of()
    lengths = torch.full((2,), 8)
    torch.testing.assert_close(plain(latents, lengths, voices)[0], model.generator(latents, lengths, voices)[0])
    assert model.training  # the copy did not change it
    assert any("original0" in name for name, _ in model.generator.named_parameters())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"periods": (1,)}, "periods"), ({"periods": (), "num_scales": 0}, "must be"), ({"shrinking": 3}, "8")],
)
def test_impossible_discriminators(wrong, message):
    with pytest.raises(ConfigError, match=message):
        DiscriminatorConfig(**wrong)
    with pytest.raises(ConfigError, match="mel_weight"):
        VocoderModelConfig(mel_weight=-1.0)
