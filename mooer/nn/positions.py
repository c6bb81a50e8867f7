"""Sinusoidal position encoding (Vaswani et al. 2017): in turns as there, and in the form of the Paraformer encoder.

Shapes: B batch, T frames, D width.
"""

import math

import torch
from torch import Tensor, nn


def sinusoids(length: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Sines, then cosines, of the positions 1 .. length: [length, width] float32.

    The width / 2 rates fall from 1 to 1/10000 in equal steps of the logarithm.
    """
    half = width // 2
    positions = torch.arange(1, length + 1, device=device, dtype=torch.float32)
    step = math.log(10000.0) / (half - 1)
    rates = torch.exp(torch.arange(half, device=device, dtype=torch.float32) * -step)
    angles = positions[:, None] * rates[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def interleaved_sinusoids(positions: Tensor, width: int) -> Tensor:
    """Sine and cosine in turns (Vaswani et al. 2017): positions [...] from 0 -> [..., width] float32."""
    rates = torch.exp(torch.arange(0, width, 2, device=positions.device) * -(math.log(10000.0) / width))
    angles = positions[..., None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class PositionEncoding(nn.Module):
    """Adds sinusoids to frames, always in float32: bfloat16 is off by a third of the range after 100 frames.

    The table is kept and grows when a longer input comes. It is no part of the module's state: neither a checkpoint nor a
    change of the model's number format touches it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self._table = torch.empty(0)

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, D] of any floating type -> [B, T, D] float32."""
        length, table = frames.shape[1], self._table  # which another thread may replace meanwhile
        if table.device != frames.device or len(table) < length:
            with torch.inference_mode(False):  # the table may be made in decoding and used in training
                table = self._table = sinusoids(max(length, 2 * len(table), 512), self.width, frames.device)
        return frames.float() + table[:length]
