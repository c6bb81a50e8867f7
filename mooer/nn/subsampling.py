"""What a Conformer makes of its frames before the first block.

Shapes: B batch, T frames, F features, C channels, D width.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mooer.common.lengths import CONV2D_SHIFT, CONV2D_WINDOW, conv2d_frames

# Of the layer norm; that of WeNet's linear input.
NORM_EPSILON = 1e-5


class Conv2dSubsampling(nn.Module):
    """A frame of every four, from two convolutions of 3 x 3 at every second place: each sees 7 frames.

    Parameter names are WeNet's: conv.0, conv.2, out.0.
    """

    window, shift = CONV2D_WINDOW, CONV2D_SHIFT

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__()
        self.frontend = {"num_mel_bins": input_size, "lfr_m": 1, "lfr_n": 1, "subsampling": CONV2D_SHIFT}
        self.conv = nn.Sequential(
            nn.Conv2d(1, output_size, 3, 2), nn.ReLU(), nn.Conv2d(output_size, output_size, 3, 2), nn.ReLU()
        )
        self.out = nn.Sequential(nn.Linear(output_size * conv2d_frames(input_size), output_size))

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, F] -> [B, conv2d_frames(T), D]. Fewer than 7 frames are filled up with zeros to 7, and give one frame."""
        missing = max(0, CONV2D_WINDOW - frames.shape[1])
        maps = self.conv(F.pad(frames, (0, 0, 0, missing))[:, None])  # [B, C, T', F']
        return self.out(maps.transpose(1, 2).flatten(2))  # [B, T', D]

    def frames(self, num_frames: int) -> int:
        """How many of `num_frames` come out."""
        return conv2d_frames(num_frames)


class LinearInput(nn.Module):
    """Each frame by itself, for features that are stacked already (low frame rate).

    Parameter names are WeNet's: out.0, out.1.
    """

    window, shift = 1, 1

    def __init__(self, input_size: int, output_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.frontend = {"kind": "kaldi_fbank", "feature_dim": input_size, "subsampling": 1}
        self.out = nn.Sequential(
            nn.Linear(input_size, output_size), nn.LayerNorm(output_size, NORM_EPSILON), nn.Dropout(dropout)
        )

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, F] -> [B, T, D]. No frame at all is filled up to one."""
        return self.out(F.pad(frames, (0, 0, 0, max(0, 1 - frames.shape[1]))))

    def frames(self, num_frames: int) -> int:
        """All of them."""
        return num_frames
