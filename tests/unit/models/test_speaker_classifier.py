"""The angular margin by hand, and the classifier around a small CAM++."""

import math

import pytest
import torch
import torch.nn.functional as F

from mooer.common.errors import ConfigError
from mooer.models.published_folder import write_published_folder
from mooer.models.speaker import Campplus, CampplusConfig, load_speaker_model, published_speaker_model
from mooer.models.speaker_classifier import MarginConfig, SpeakerClassifier, margin_logits

SMALL = CampplusConfig(
    feat_dim=16, embedding_size=6, growth_rate=4, bn_size=1, init_channels=8, head_channels=4, block_layers=(2, 1, 1)
)


def test_the_margin_widens_the_angle_of_the_own_class_alone():
    angles = torch.tensor([[0.3, 1.0, 2.0], [3.1, 0.2, 1.5]])
    found = margin_logits(angles.cos(), torch.tensor([1, 0]), 0.25)
    expected = angles.cos()
    expected[0, 1] = math.cos(1.25)
    expected[1, 0] = math.cos(math.pi)  # 3.35 would come closer again
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("cosine", [1.0, -1.0])
def test_gradients_are_finite_where_the_angle_has_none(cosine):
    cosines = torch.tensor([[cosine, 0.5]], requires_grad=True)
    margin_logits(cosines, torch.tensor([0]), 0.2).sum().backward()
    assert torch.isfinite(cosines.grad).all()


def test_without_a_margin_it_is_the_cross_entropy_of_scaled_cosines():
    torch.manual_seed(0)
    model = SpeakerClassifier(Campplus(SMALL), 5, MarginConfig(margin=0.0, scale=7.0)).eval()
    frames, lengths, speakers = torch.randn(3, 40, 16), torch.tensor([40, 33, 40]), torch.tensor([4, 0, 2])
    output = model(frames, lengths, speakers)
    embeddings = model.network(frames, lengths)
    logits = 7.0 * F.normalize(embeddings) @ F.normalize(model.directions).T
    torch.testing.assert_close(output.loss_sum, F.cross_entropy(logits, speakers, reduction="sum"))
    assert output.num_tokens == 3
    assert output.num_correct == (logits.argmax(dim=1) == speakers).sum()
    with_margin = SpeakerClassifier(model.network, 5, MarginConfig(margin=0.3, scale=7.0)).eval()
    with_margin.load_state_dict(model.state_dict())
    assert with_margin(frames, lengths, speakers).loss_sum > output.loss_sum


@pytest.mark.parametrize("values", [{"margin": -0.1}, {"margin": 1.6}, {"scale": 0.0}])
def test_impossible_settings(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        MarginConfig(**values)


def test_other_sizes_are_written_and_read(tmp_path):
    torch.manual_seed(1)
    network = Campplus(SMALL).eval()
    for _ in range(2):  # an earlier folder gives way
        write_published_folder(tmp_path / "final", published_speaker_model(network, SMALL, {"step": 3}))
    frames, lengths = torch.randn(2, 30, 16), torch.tensor([30, 20])
    loaded = load_speaker_model(tmp_path / "final")
    torch.testing.assert_close(loaded(frames, lengths), network(frames, lengths), atol=2e-6, rtol=1e-4)
    assert loaded.num_mel_bins == 16


def test_published_sizes_are_written_with_published_keys():
    config = CampplusConfig(growth_rate=2, bn_size=1, init_channels=2)
    sizes = published_speaker_model(Campplus(config), config, {}).settings["model_conf"]
    assert sizes["growth_rate"] == 2
    assert sizes.keys().isdisjoint({"head_channels", "block_layers"})


@pytest.mark.parametrize("values", [{"head_channels": 0}, {"block_layers": (1, 0, 1)}])
def test_sizes_must_be_possible(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        CampplusConfig(**values)
