"""CAM++ as it is used: made of a trained network, without what only training needs, and faster.

What is another computation than `mooer.models.speaker` with the same result to rounding:

- Normalisations that follow a convolution are part of its weights.
- One before a layer, `relu(scale * x + shift)`, is a threshold, since for a positive scale it is
  `scale * max(x, -shift / scale) + shift`: scale and shift are part of the layer's weights, and one pass is left of two.
- A dense block writes all that its layers put out into one tensor, where concatenation would copy everything at every layer.
- Activations and sums are done by the layers' own kernels (`mooer.nn.fused`).

Shapes as there: B batch, T frames, F mel bins, C channels, D width of the embedding. Channels come last in memory.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mooer.models.speaker import (
    BLOCKS,
    SEGMENT_FRAMES,
    Campplus,
    ContextMasking,
    DenseBlock,
    DenseLayer,
    Extent,
    ResidualBlock,
    ResidualHead,
    mean_and_deviation,
)
from mooer.nn.fused import Activation, FusedConvolution, FusedLinear

# Bytes of the head's first maps that are computed at once: larger ones leave the caches, and the C library asks the system for
# their memory anew each time.
LARGEST_MAPS = 4 << 20


class SpeakerEmbedder(nn.Module):
    """Embeds voices; it can neither be trained nor saved.

    Args:
        model: a trained network in float32, which is left as it is.
        dtype: number format of the new one.
    """

    def __init__(self, model: Campplus, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        model = copy.deepcopy(model).eval().requires_grad_(False)
        tdnn, dense = model.xvector["tdnn"], model.xvector["dense"]
        self.head = _Head(model.head, dtype)
        self.tdnn = _over_time(fuse_conv_bn_eval(tdnn.linear, tdnn.nonlinear.batchnorm), dtype, "relu")
        self.blocks = nn.ModuleList([_Block(model.xvector[f"block{index}"], dtype) for index in range(1, len(BLOCKS) + 1)])
        transits = [model.xvector[f"transit{index}"] for index in range(1, len(BLOCKS) + 1)]
        self.transits = nn.ModuleList(
            [_RectifiedLinear(item.nonlinear.batchnorm, item.linear, "none", dtype) for item in transits]
        )
        self.norm = model.xvector["out_nonlinear"].to(dtype)
        last = fuse_conv_bn_eval(dense.linear, dense.nonlinear.batchnorm)
        self.dense = _frame_by_frame(last, dtype)
        self.embedding_size = model.embedding_size
        self.num_mel_bins = model.num_mel_bins

    def forward(self, frames: Tensor, frame_lengths: Tensor) -> Tensor:
        """Embed a padded batch, as `Campplus` does: [B, T, F], [B] -> [B, D]."""
        lengths = frame_lengths.to(frames.device)
        hidden = _convolved(self.tdnn, self.head(frames, lengths))
        extent = Extent.of((lengths + 1) // 2, hidden.shape[1])
        shares = _shares(extent, hidden.shape[1]).to(hidden.dtype)
        for block, transit in zip(self.blocks, self.transits, strict=True):
            hidden = transit(block(hidden, extent, shares))
        return self.dense(mean_and_deviation(self.norm(hidden), extent))


class _Head(nn.Module):
    """`ResidualHead`."""

    def __init__(self, head: ResidualHead, dtype: torch.dtype) -> None:
        super().__init__()
        self.first = FusedConvolution(fuse_conv_bn_eval(head.conv1, head.bn1).to(dtype), "relu")
        self.blocks = nn.ModuleList([_Residual(block, dtype) for block in (*head.layer1, *head.layer2)])
        self.last = FusedConvolution(fuse_conv_bn_eval(head.conv2, head.bn2).to(dtype), "relu")

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, F] -> [B, T, C], a part of the batch at a time."""
        map_bytes = frames[0].numel() * self.first.bias.numel() * frames.element_size()
        num_parts = -(-len(frames) * map_bytes // LARGEST_MAPS)
        parts = zip(frames.chunk(num_parts), lengths.chunk(num_parts), strict=True)
        return torch.cat([self._part(part, Extent.of(part_lengths, part.shape[1])) for part, part_lengths in parts])

    def _part(self, frames: Tensor, extent: Extent) -> Tensor:
        bins = extent.clear(frames).transpose(1, 2)[:, None]  # [B, 1, F, T]
        maps = extent.clear_maps(self.first(bins.contiguous(memory_format=torch.channels_last)))
        for block in self.blocks:
            maps = block(maps, extent)
        return extent.clear_maps(self.last(maps)).permute(0, 3, 1, 2).flatten(2)


class _Residual(nn.Module):
    """`ResidualBlock`."""

    def __init__(self, block: ResidualBlock, dtype: torch.dtype) -> None:
        super().__init__()
        self.first = FusedConvolution(fuse_conv_bn_eval(block.conv1, block.bn1).to(dtype), "relu")
        self.second = FusedConvolution(fuse_conv_bn_eval(block.conv2, block.bn2).to(dtype), "relu")
        self.shortcut = FusedConvolution(fuse_conv_bn_eval(*block.shortcut).to(dtype)) if len(block.shortcut) else None

    def forward(self, maps: Tensor, extent: Extent) -> Tensor:
        """[B, C, F, T] -> [B, C, F / stride, T]; the maps may be overwritten."""
        inner = extent.clear_maps(self.first(maps))
        others = maps if self.shortcut is None else self.shortcut(maps)
        return extent.clear_maps(self.second.added_to(others, inner))


class _RectifiedLinear(nn.Module):
    """A normalisation, ReLU, a layer of kernel size 1 and its activation."""

    def __init__(self, norm: nn.BatchNorm1d, layer: nn.Conv1d, activation: Activation, dtype: torch.dtype) -> None:
        super().__init__()
        scale, shift = _scale_and_shift(norm)
        border = -shift / scale
        # A channel without a scale is constant; so is one whose border cannot be told from infinity.
        constant = ~border.to(dtype).isfinite()
        scale, border = scale.masked_fill(constant, 0.0), border.masked_fill(constant, 0.0).to(dtype)
        weight = layer.weight[:, :, 0]
        scaled = (weight * scale).to(dtype)
        # By what has been rounded, so that a channel below its threshold still adds nothing.
        offset = weight @ (shift.clamp(min=0.0) * constant) - scaled.float() @ border.float()
        bias = offset if layer.bias is None else layer.bias + offset
        infinity = torch.full_like(border, torch.inf)
        self.lowest = torch.where(scale >= 0.0, border, -infinity)
        # Scales are hardly ever negative, and a threshold on one side costs half as much.
        self.highest = torch.where(scale <= 0.0, border, infinity) if (scale < 0.0).any() else None
        self.linear = FusedLinear(scaled, bias.to(dtype), activation)

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, C] -> [B, T, C']."""
        if self.highest is None:
            return self.linear(torch.maximum(frames, self.lowest))
        return self.linear(frames.clamp(self.lowest, self.highest))


class _Block(nn.Module):
    """`DenseBlock`."""

    def __init__(self, block: DenseBlock, dtype: torch.dtype) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_Layer(layer, dtype) for layer in block.children()])
        self._growth = sum(layer.growth_rate for layer in self.layers)

    def forward(self, frames: Tensor, extent: Extent, shares: Tensor) -> Tensor:
        """[B, T, C] -> [B, T, C + layers x growth_rate]."""
        batch, num_frames, end = frames.shape
        grown = frames.new_empty(batch, num_frames, end + self._growth)
        grown[:, :, :end] = frames
        for layer in self.layers:
            start, end = end, end + layer.growth_rate
            layer.write(grown[:, :, :start], extent, shares, grown[:, :, start:end])
        return grown


class _Layer(nn.Module):
    """`DenseLayer`."""

    def __init__(self, layer: DenseLayer, dtype: torch.dtype) -> None:
        super().__init__()
        inner = fuse_conv_bn_eval(layer.linear1, layer.nonlinear2.batchnorm)
        self.inner = _RectifiedLinear(layer.nonlinear1.batchnorm, inner, "relu", dtype)
        masking: ContextMasking = layer.cam_layer
        self.local = _over_time(masking.linear_local, dtype)
        # A few rows: float32 is the fastest too, as setting up another format's kernel takes longer than the product.
        self.gates = _in_turn(masking.linear1, masking.linear2)
        self.growth_rate = masking.linear_local.out_channels

    def write(self, frames: Tensor, extent: Extent, shares: Tensor, output: Tensor) -> None:
        """[B, T, C] -> the output [B, T, growth_rate]."""
        inner = extent.clear(self.inner(frames))
        context = shares @ inner  # [B, segments, C']
        gates = self.gates(context.flatten(0, 1).float()).to(frames.dtype).unflatten(0, context.shape[:2])
        if gates.shape[1] > 1:
            gates = gates.repeat_interleave(SEGMENT_FRAMES, dim=1)[:, : frames.shape[1]]
        torch.mul(_convolved(self.local, inner), gates, out=output)


def _shares(extent: Extent, num_frames: int) -> Tensor:
    """What part each frame has in the context of each segment, the mean of all plus that of the segment: [B, segments, T]."""
    num_segments = -(-num_frames // SEGMENT_FRAMES)
    places = torch.arange(num_frames, device=extent.lengths.device) // SEGMENT_FRAMES
    inside = places == torch.arange(num_segments, device=places.device)[:, None]  # [segments, T]
    return 1 / extent.lengths[:, None, None] + inside / extent.segment_counts(num_segments)


def _scale_and_shift(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """What a normalisation in eval mode multiplies each channel by, and adds then: [C], [C]."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - norm.running_mean * scale


def _frame_by_frame(layer: nn.Conv1d, dtype: torch.dtype, activation: Activation = "none") -> FusedLinear:
    """A layer of kernel size 1 on frames [..., C]."""
    bias = None if layer.bias is None else layer.bias.to(dtype)
    return FusedLinear(layer.weight[:, :, 0].to(dtype), bias, activation)


def _in_turn(first: nn.Conv1d, second: nn.Conv1d) -> nn.Sequential:
    """Two layers of kernel size 1 with their activations on rows [N, C], as plain ones."""
    layers = []
    for layer, activation in ((first, nn.ReLU(inplace=True)), (second, nn.Sigmoid())):
        with torch.device("meta"):
            linear = nn.Linear(layer.in_channels, layer.out_channels)
        linear.weight, linear.bias = nn.Parameter(layer.weight[:, :, 0], requires_grad=False), layer.bias
        layers += [linear, activation]
    return nn.Sequential(*layers)


def _over_time(layer: nn.Conv1d, dtype: torch.dtype, activation: Activation = "none") -> FusedConvolution:
    """A convolution over time as one over maps [B, C, 1, T], whose channels lie last where those of frames do."""
    sizes = {"stride": (1, *layer.stride), "padding": (0, *layer.padding), "dilation": (1, *layer.dilation)}
    with torch.device("meta"):
        flat = nn.Conv2d(layer.in_channels, layer.out_channels, (1, *layer.kernel_size), bias=False, **sizes)
    flat.weight = nn.Parameter(layer.weight[:, :, None].to(dtype), requires_grad=False)
    flat.bias = None if layer.bias is None else nn.Parameter(layer.bias.to(dtype), requires_grad=False)
    return FusedConvolution(flat, activation)


def _convolved(layer: FusedConvolution, frames: Tensor) -> Tensor:
    """[B, T, C] -> [B, T', C']."""
    return layer(frames[:, None].permute(0, 3, 1, 2))[:, :, 0].transpose(1, 2)
