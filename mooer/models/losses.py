"""What a training step needs of a model: sums over target tokens, so that the mean can be taken over any set of batches.

Shapes: N target tokens, V vocabulary.
"""

import math
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


def smoothed_loss(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Kullback-Leibler divergence of the smoothed targets [N] from logits [N, V], in float32, summed.

    A smoothed target has 1 - smoothing of the probability, all other tokens share the rest.
    """
    log_probs = logits.float().log_softmax(dim=-1)
    of_target = log_probs.gather(1, targets[:, None]).squeeze(1)
    if not smoothing:
        return -of_target.sum()
    others = smoothing / (logits.shape[1] - 1)
    least = (1 - smoothing) * math.log(1 - smoothing) + smoothing * math.log(others)  # minus the targets' entropy
    return (least - (1 - smoothing - others) * of_target - others * log_probs.sum(dim=1)).sum()
