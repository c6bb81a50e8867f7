"""The position-wise feed-forward part of an encoder block.

Shapes: B batch, T frames, D width.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mooer.nn.dropout import UtteranceDropout


class FeedForward(nn.Module):
    """Linear, activation (ReLU unless another is given), dropout, linear. Parameter names are the Paraformer's: w_1, w_2."""

    def __init__(
        self, width: int, hidden_size: int, dropout: float, activation: Callable[[Tensor], Tensor] = torch.relu_
    ) -> None:
        super().__init__()
        self.w_1 = nn.Linear(width, hidden_size)
        self.w_2 = nn.Linear(hidden_size, width)
        self.dropout = UtteranceDropout(dropout)
        self._activation = activation

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        return self.w_2(self.dropout(self._activation(self.w_1(frames))))
