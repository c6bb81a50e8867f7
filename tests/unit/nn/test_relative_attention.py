import math

import pytest
import torch

from mooer.nn.masks import Chunks, chunk_mask
from mooer.nn.positions import interleaved_sinusoids
from mooer.nn.relative_attention import RelativeSelfAttention


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return RelativeSelfAttention(8, 2, 0.0).eval()


def plain(layer, frames, positions, visible):
    """By the formula: (q + u) . k + (q + v) . p, head by head."""
    query, key, value = (linear(frames).unflatten(-1, (2, 4)) for linear in (layer.linear_q, layer.linear_k, layer.linear_v))
    place = layer.linear_pos(positions).unflatten(-1, (2, 4))
    scores = torch.einsum("bthd,bshd->bhts", query + layer.pos_bias_u, key)
    scores = (scores + torch.einsum("bthd,shd->bhts", query + layer.pos_bias_v, place)) / math.sqrt(4)
    weights = scores.masked_fill(~visible[:, None], -math.inf).softmax(dim=-1)
    return layer.linear_out(torch.einsum("bhts,bshd->bthd", weights, value).flatten(2))


@pytest.mark.parametrize("training", [False, True])
def test_scores_are_those_of_contents_and_positions(layer, training):
    frames, positions = torch.randn(2, 6, 8), interleaved_sinusoids(torch.arange(6), 8)
    visible = chunk_mask(6, Chunks(2, 1))[None] & (torch.arange(6) < torch.tensor([[[6]], [[5]]]))
    got = layer.train(training)(frames, positions, visible)
    wanted = plain(layer, frames, positions, visible)
    torch.testing.assert_close(got[0], wanted[0])
    torch.testing.assert_close(got[1, :5], wanted[1, :5])


def test_a_query_that_sees_no_key_sees_the_first(layer):
    frames, positions = torch.randn(1, 3, 8), torch.randn(3, 8)
    got, first = (layer(frames, positions, torch.tensor([[[seen, False, False]]])) for seen in (False, True))
    torch.testing.assert_close(got, first)
    torch.testing.assert_close(got, layer.linear_out(layer.linear_v(frames[:, :1])).expand_as(got))


def test_without_positions_there_are_no_parameters_for_them():
    layer = RelativeSelfAttention(8, 2, 0.0, has_positions=False)
    assert not any("pos" in name for name, _ in layer.named_parameters())
    frames = torch.randn(1, 5, 8)
    turned = layer(frames.flip(1), None, None).flip(1)
    torch.testing.assert_close(layer(frames, None, None), turned)


def test_weights_are_dropped_in_training_only():
    torch.manual_seed(0)
    layer, frames = RelativeSelfAttention(8, 2, 0.5), torch.randn(1, 5, 8)
    table = interleaved_sinusoids(torch.arange(5), 8)
    assert not torch.equal(layer(frames, table, None), layer(frames, table, None))
    layer.eval()
    assert torch.equal(layer(frames, table, None), layer(frames, table, None))
