"""The loss of a decoder's tokens."""

import pytest
import torch

from mooer.models.attention_loss import AttentionLoss, reverse_rows
from mooer.models.transformer_decoder import TransformerDecoderConfig, build_decoder

BOUNDARY, WIDTH = 6, 8
FRAMES = torch.randn(3, 5, WIDTH, generator=torch.Generator().manual_seed(2))
LENGTHS = torch.tensor([5, 3, 4])
TARGETS = torch.tensor([[1, 2, 3], [4, 0, 0], [0, 0, 0]])
TARGET_LENGTHS = torch.tensor([3, 1, 0])


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(1)
    config = TransformerDecoderConfig(attention_heads=2, linear_units=12, num_blocks=1, r_num_blocks=1)
    return build_decoder(config, BOUNDARY + 1, WIDTH).eval()


def test_reversed_rows():
    assert reverse_rows(torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), TARGET_LENGTHS).tolist() == [
        [3, 2, 1],
        [4, 5, 6],
        [7, 8, 9],
    ]


@pytest.mark.parametrize("reverse_weight", [0.0, 0.3])
def test_a_batch_sums_its_utterances(decoder, reverse_weight):
    loss = AttentionLoss(boundary_id=BOUNDARY, reverse_weight=reverse_weight)
    together = loss(decoder, FRAMES, LENGTHS, TARGETS, TARGET_LENGTHS)
    padded = loss(decoder, FRAMES, LENGTHS, TARGETS.masked_fill(TARGETS == 0, 5), TARGET_LENGTHS)
    alone = [
        loss(
            decoder,
            FRAMES[row : row + 1, :frames],
            LENGTHS[row : row + 1],
            TARGETS[row : row + 1, :tokens],
            TARGET_LENGTHS[row : row + 1],
        )
        for row, (frames, tokens) in enumerate(zip(LENGTHS.tolist(), TARGET_LENGTHS.tolist(), strict=True))
    ]
    torch.testing.assert_close(together.loss_sum, sum(one.loss_sum for one in alone))
    torch.testing.assert_close(together.loss_sum, padded.loss_sum)
    assert together.num_tokens == 7  # four tokens and three ends
    assert together.num_correct == sum(one.num_correct for one in alone)


def test_without_weight_the_reverse_decoder_has_no_gradient(decoder):
    decoder.zero_grad()
    AttentionLoss(boundary_id=BOUNDARY)(decoder, FRAMES, LENGTHS, TARGETS, TARGET_LENGTHS).loss_sum.backward()
    assert all(parameter.grad is None for parameter in decoder.right_decoder.parameters())
    assert all(parameter.grad is not None for parameter in decoder.left_decoder.parameters())


def test_it_can_be_learned():
    torch.manual_seed(3)
    decoder = build_decoder(TransformerDecoderConfig(attention_heads=2, linear_units=16, num_blocks=1), BOUNDARY + 1, WIDTH)
    decoder.eval()
    optimizer = torch.optim.Adam(decoder.parameters(), lr=0.02)
    for _ in range(80):
        optimizer.zero_grad()
        found = AttentionLoss(boundary_id=BOUNDARY, smoothing=0.0)(decoder, FRAMES, LENGTHS, TARGETS, TARGET_LENGTHS)
        found.loss_sum.backward()
        optimizer.step()
    assert found.num_correct == found.num_tokens
    assert found.loss_sum < 1.0
