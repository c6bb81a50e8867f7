"""Frames joined by convolutions over time and frequency.

Shapes: B batch, T frames, F features, C channels, D width.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mooer.common.lengths import CONV2D_WINDOW, conv2d_frames


class Conv2dSubsampling(nn.Module):
    """A frame of every four, from two convolutions of 3 x 3 at every second place: each sees 7 frames.

    Parameter names are WeNet's: conv.0, conv.2, out.0.
    """

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.conv = nn.Sequential(
            nn.Conv2d(1, output_size, 3, 2), nn.ReLU(), nn.Conv2d(output_size, output_size, 3, 2), nn.ReLU()
        )
        self.out = nn.Sequential(nn.Linear(output_size * conv2d_frames(input_size), output_size))

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, F] -> [B, conv2d_frames(T), D]. Fewer than 7 frames are filled up with zeros to 7, and give one frame."""
        missing = max(0, CONV2D_WINDOW - frames.shape[1])
        maps = self.conv(F.pad(frames, (0, 0, 0, missing))[:, None])  # [B, C, T', F']
        return self.out(maps.transpose(1, 2).flatten(2))  # [B, T', D]
