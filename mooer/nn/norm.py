"""Layer normalisation in float32.

Shapes: B batch, T frames, D width.
"""

import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-12


class LayerNorm(nn.LayerNorm):
    """LayerNorm with the Paraformer's epsilon by default, computed in float32 and returned in the type of its own weights."""

    def __init__(self, width: int, epsilon: float = EPSILON) -> None:
        super().__init__(width, eps=epsilon)

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        if frames.dtype == self.weight.dtype:  # torch accumulates in float32 itself
            return super().forward(frames)
        normalised = F.layer_norm(frames.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps)
        return normalised.to(self.weight.dtype)
