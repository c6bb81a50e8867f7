"""The convolution module of the Conformer (Gulati et al. 2020).

Shapes: B batch, T frames, D width, K taps.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mooer.nn.masks import zero_padding


class FrameBatchNorm(nn.BatchNorm1d):
    """Batch normalisation over the real frames of a batch."""

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, T, D] -> [B, T, D]; only frames where the mask [B, T] is True count in training, the others become zeros."""
        if mask is None or not self.training:
            return super().forward(frames.flatten(0, 1)).view_as(frames)
        normalised = frames.new_zeros(frames.shape)
        normalised[mask] = super().forward(frames[mask])
        return normalised


class ConformerConvolution(nn.Module):
    """A gate, a depth-wise convolution over time, a norm, Swish, and a linear layer.

    Parameter names are 3M-ASR's. The two point-wise convolutions are computed as the linear layers that they are.

    Args:
        kernel_size: K; odd unless causal.
        norm: of width D.
        causal: whether a frame sees K - 1 frames before it and none after; otherwise half of them on each side.
        reference_padding: zero the padding before the gate, as the reference implementation does: what the gate makes of
            zeros then reaches the real frames beside it, where an utterance alone would have zeros.
    """

    def __init__(self, width: int, kernel_size: int, norm: nn.Module, causal: bool, reference_padding: bool = False) -> None:
        super().__init__()
        self.pointwise_conv1 = nn.Conv1d(width, 2 * width, 1)
        self.depthwise_conv = nn.Conv1d(width, width, kernel_size, groups=width)
        self.norm = norm
        self.pointwise_conv2 = nn.Conv1d(width, width, 1)
        self.is_causal = causal
        self._taps_before, self._taps_after = (kernel_size - 1, 0) if causal else (kernel_size // 2, kernel_size // 2)
        self._reference_padding = reference_padding

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, T, D] -> [B, T, D].

        Args:
            mask: [B, T] bool, True on real frames; None if all are. Real frames of the output depend on real frames only.
        """
        if mask is not None and self._reference_padding:
            return zero_padding(self.convolve(self._padded(self.gate(zero_padding(frames, mask)))), mask)
        gated = self.gate(frames)
        gated = gated if mask is None else zero_padding(gated, mask)
        return self.convolve(self._padded(gated), mask)

    def _padded(self, gated: Tensor) -> Tensor:
        """[B, T, D] -> [B, T + K - 1, D]."""
        return F.pad(torch.cat([self.before(gated), gated], dim=1), (0, 0, 0, self._taps_after))

    def before(self, gated: Tensor) -> Tensor:
        """What stands before the first of the frames [B, T, D]: zeros, or what the gate makes of them if it is causal."""
        zeros = gated.new_zeros(gated.shape[0], self._taps_before, gated.shape[2])
        return self.gate(zeros[:, :1]).expand_as(zeros) if self.is_causal and self._taps_before else zeros

    def gate(self, frames: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D], what the convolution over time reads."""
        return F.glu(_pointwise(frames, self.pointwise_conv1), dim=-1)

    def convolve(self, gated: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, T + K - 1, D], padding over time included -> [B, T, D]."""
        frames = _depthwise(gated, self.depthwise_conv)
        frames = self.norm(frames, mask) if isinstance(self.norm, FrameBatchNorm) else self.norm(frames)
        return _pointwise(F.silu(frames), self.pointwise_conv2)


def _pointwise(frames: Tensor, convolution: nn.Conv1d) -> Tensor:
    return F.linear(frames, convolution.weight[:, :, 0], convolution.bias)


def _depthwise(frames: Tensor, convolution: nn.Conv1d) -> Tensor:
    """[B, T + K - 1, D] -> [B, T, D].

    On a CPU a two-dimensional convolution of height 1 over channels-last values (the order they lie in already), in float32:
    several times as fast as conv1d.
    """
    if frames.device.type != "cpu":
        return convolution(frames.transpose(1, 2)).transpose(1, 2)
    with torch.autocast("cpu", enabled=False):
        columns = frames.float().contiguous()[:, None].permute(0, 3, 1, 2)  # [B, D, 1, T + K - 1]
        kernel, bias = convolution.weight.float()[:, :, None, :], convolution.bias.float()
        convolved = F.conv2d(columns, kernel, bias, groups=convolution.groups)  # [B, D, 1, T]
        return convolved[:, :, 0].transpose(1, 2).to(frames.dtype)
