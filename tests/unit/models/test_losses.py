"""Losses that several models share."""

import pytest
import torch
from torch.nn.functional import kl_div

from mooer.models.losses import smoothed_loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_smoothed_loss_is_the_divergence(smoothing):
    logits, targets = torch.randn(5, 7, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 3, 6, 6, 2])
    wanted = torch.full((5, 7), smoothing / 6).scatter(1, targets[:, None], 1 - smoothing)
    expected = kl_div(logits.log_softmax(dim=1), wanted, reduction="sum")
    torch.testing.assert_close(smoothed_loss(logits, targets, smoothing), expected)
