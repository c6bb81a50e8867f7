"""The form of CAM++ that embeds against the form that is trained."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.models import speaker_embedder
from mooer.models.speaker import SHORTEST_FRAMES, Campplus, CampplusConfig
from mooer.models.speaker_embedder import SpeakerEmbedder

SIZES = {"feat_dim": 16, "embedding_size": 12, "growth_rate": 4, "bn_size": 2, "init_channels": 8}


def trained(spoil=None):
    """A network whose normalisations are not the identity."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = Campplus(CampplusConfig(**SIZES)).eval().requires_grad_(False)
    for name, tensor in model.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(std=0.3, generator=generator)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.dim() == 1:
            tensor.uniform_(0.5, 1.5, generator=generator)
            if spoil is not None:
                tensor[::3] *= spoil
    return model


@pytest.fixture(scope="module")
def model():
    return trained()


@settings(max_examples=12, deadline=None)
@given(lengths=st.lists(st.integers(SHORTEST_FRAMES, 450), min_size=1, max_size=4), extra=st.integers(0, 9))
def test_it_embeds_as_the_trained_form_does(model, lengths, extra):
    frames = torch.randn(len(lengths), max(lengths) + extra, 16) * 3
    for row, length in enumerate(lengths):
        frames[row, length:] = float("nan") if row % 2 else 1e6
    lengths = torch.tensor(lengths)
    found, expected = SpeakerEmbedder(model)(frames, lengths), model(frames, lengths)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("spoil", [-1.0, 0.0, -1e-3, 1e-30, 1e-45])
def test_any_scale_of_a_normalisation(spoil):
    """Negative ones turn the threshold round; next to zero its place cannot be told from infinity."""
    model, frames, lengths = trained(spoil), torch.randn(2, 120, 16), torch.tensor([120, 77])
    torch.testing.assert_close(SpeakerEmbedder(model)(frames, lengths), model(frames, lengths), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(("dtype", "least"), [(torch.bfloat16, 0.9995), (torch.float16, 0.99999)])
def test_other_number_formats(model, dtype, least):
    frames, lengths = torch.randn(3, 150, 16), torch.tensor([150, 40, 99])
    found = SpeakerEmbedder(model, dtype)(frames.to(dtype), lengths)
    assert found.dtype == dtype
    cosines = torch.cosine_similarity(found.float(), model(frames, lengths))
    assert least < cosines.min() < 1 - 1e-9


def test_the_head_in_parts(model, monkeypatch):
    frames, lengths = torch.randn(5, 60, 16), torch.tensor([60, 31, 60, 7, 59])
    whole = SpeakerEmbedder(model)(frames, lengths)
    monkeypatch.setattr(speaker_embedder, "LARGEST_MAPS", 1)
    torch.testing.assert_close(SpeakerEmbedder(model)(frames, lengths), whole, atol=1e-5, rtol=1e-5)


def test_the_trained_form_is_left_as_it_is(model):
    before, in_training = copy.deepcopy(model.state_dict()), copy.deepcopy(model).train()
    SpeakerEmbedder(in_training)
    assert in_training.training
    assert all(tensor.equal(before[name]) for name, tensor in in_training.state_dict().items())
