"""What a training step needs of a model: sums over target tokens, so that the mean can be taken over any set of batches.

Shapes: N target tokens, V vocabulary.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class LossOutput(NamedTuple):
    """Sums over the target tokens of a batch; each a scalar tensor."""

    loss_sum: Tensor
    """Loss summed over the tokens, float32, with gradient."""
    num_tokens: Tensor
    """Target tokens that the loss is over, int64."""
    num_correct: Tensor
    """Target tokens that the model's best guess has right, int64."""
    num_infinite: Tensor
    """Utterances left out because no alignment exists (CTC with more labels than frames), int64."""


def token_loss(logits: Tensor, targets: Tensor) -> LossOutput:
    """Cross entropy of logits [N, V] with targets [N], in float32; zero, with a gradient of zeros, for no token at all."""
    loss_sum = F.cross_entropy(logits.float(), targets, reduction="sum")
    num_correct = (logits.argmax(dim=-1) == targets).sum()
    return LossOutput(loss_sum, torch.tensor(len(targets), device=logits.device), num_correct, torch.zeros_like(num_correct))
