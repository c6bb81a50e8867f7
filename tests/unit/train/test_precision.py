"""Which operations compute in two bytes a value."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mooer.models.checkpointing import checkpoint_blocks
from mooer.train.precision import attention_kept, computing_in

HEADS = (2, 3, 11, 8)


@pytest.mark.parametrize("mask", [None, "bool", "float"])
def test_attention_is_computed_in_float32(mask):
    query, key, value = torch.randn(3, *HEADS, generator=torch.Generator().manual_seed(0)).bfloat16()
    allowed = torch.rand(11, 11, generator=torch.Generator().manual_seed(1)) < 0.8
    allowed.fill_diagonal_(True)
    given = {"bool": allowed, "float": torch.zeros(11, 11, dtype=torch.bfloat16).masked_fill(~allowed, -1e4)}.get(mask)
    with computing_in(torch.bfloat16, "cpu"):
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=given)
    exact = F.scaled_dot_product_attention(
        query.float(), key.float(), value.float(), attn_mask=given.float() if mask == "float" else given
    )
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact.bfloat16()), "rounded once, at the end"


def test_matrix_products_are_computed_in_two_bytes():
    weight = torch.randn(5, 7)
    with computing_in(torch.bfloat16, "cpu"):
        assert F.linear(torch.ones(2, 7), weight).dtype == torch.bfloat16
    with computing_in(torch.float32, "cpu"):
        assert F.linear(torch.ones(2, 7), weight).dtype == torch.float32


class Block(nn.Module):
    """Attention of frames [B, T, 8] to each other."""

    def __init__(self):
        super().__init__()
        self.projection = nn.Linear(8, 24)

    def forward(self, frames):
        return F.scaled_dot_product_attention(*self.projection(frames)[:, None].chunk(3, dim=-1))[:, 0]


class Blocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.blocks = nn.ModuleList([Block(), Block()])

    def forward(self, frames):
        for block in self.encoder.blocks:
            frames = block(frames)
        return frames.float().square().sum()


def test_what_is_computed_again_is_computed_as_before():
    gradients = []
    for is_checkpointed in (False, True):
        torch.manual_seed(0)
        model, frames = Blocks(), torch.randn(3, 6, 8)
        if is_checkpointed:
            assert checkpoint_blocks(model, functools.partial(attention_kept, torch.bfloat16, "cpu")) == 2
        with computing_in(torch.bfloat16, "cpu"):
            loss = model(frames)
        loss.backward()
        gradients.append(model.encoder.blocks[0].projection.weight.grad)
    assert torch.equal(*gradients)
    assert gradients[0].abs().max() > 0
