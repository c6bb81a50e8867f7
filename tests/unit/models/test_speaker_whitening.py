"""Whitening: what it makes of embeddings, and that it is part of the network afterwards."""

import numpy as np
import pytest
import torch

from mooer.common.errors import DataError
from mooer.models.speaker import Campplus, CampplusConfig
from mooer.models.speaker_embedder import SpeakerEmbedder
from mooer.models.speaker_whitening import whitened, within_covariance

WIDTH = 12


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = {"feat_dim": 16, "embedding_size": WIDTH, "growth_rate": 4, "bn_size": 2, "init_channels": 8}
    model = Campplus(CampplusConfig(**sizes)).train().requires_grad_(False)
    for _ in range(20):  # normalisations that know their input let something through
        model(torch.randn(8, 40, 16), torch.full((8,), 40))
    norm = model.xvector["dense"].nonlinear.batchnorm
    norm.running_mean.normal_()
    norm.running_var.mul_(torch.rand(WIDTH) + 0.5)
    return model.eval()


@pytest.fixture(scope="module")
def frames():
    """Of five speakers, thirty windows each."""
    draw = torch.Generator().manual_seed(1)
    voices = torch.randn(5, 1, 1, 16, generator=draw)
    return voices + torch.randn(5, 30, 40, 16, generator=draw)


def embed(model, frames):
    lengths = torch.full((len(frames),), frames.shape[1])
    return model(frames, lengths).numpy()


def embeddings_of(model, frames):
    return [embed(model, windows) for windows in frames]


def test_without_much_shrinkage_the_covariance_within_speakers_is_one(model, frames):
    given = embeddings_of(model, frames)
    assert np.abs(within_covariance(given) - np.eye(WIDTH)).max() > 0.2
    after = embeddings_of(whitened(model, given, shrinkage=1e-6), frames)
    np.testing.assert_allclose(within_covariance(after), np.eye(WIDTH), atol=2e-3)
    np.testing.assert_allclose(np.concatenate(after).mean(axis=0), 0, atol=1e-3)


def test_all_shrinkage_only_moves_and_scales(model, frames):
    given = embeddings_of(model, frames)
    rows = np.concatenate(given)
    after = np.concatenate(embeddings_of(whitened(model, given, shrinkage=1.0), frames))
    scale = np.trace(within_covariance(given)) / WIDTH
    np.testing.assert_allclose(after, (rows - rows.mean(axis=0)) / scale**0.5, atol=1e-3)


def test_the_given_model_is_left_alone_and_the_embedder_takes_the_new_one(model, frames):
    given = embeddings_of(model, frames)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    new = whitened(model, given)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert new.state_dict().keys() == before.keys()
    np.testing.assert_allclose(embed(SpeakerEmbedder(new), frames[0]), embed(new, frames[0]), atol=2e-4)


def test_too_little_to_learn_from_is_refused():
    with pytest.raises(DataError, match="two embeddings"):
        within_covariance([np.ones((1, 3)), np.zeros((0, 3))])


def test_embeddings_that_do_not_vary_are_refused(model):
    with pytest.raises(DataError, match="alike"):
        whitened(model, [np.ones((4, WIDTH)), np.zeros((3, WIDTH))])
