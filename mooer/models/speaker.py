"""CAM++ (Wang et al. 2023): one embedding for the voice in a stretch of speech.

Shapes: B batch, T frames (of 10 ms in the head, of 20 ms after it), F mel bins, C channels, D width of the embedding. Channels
come last in memory, which a CPU's kernels want: a layer of kernel size 1 is one matrix product then.

An embedding does not depend on its batch: whatever a convolution over time could reach in the padding is zero, as it is beyond
the end of a recording alone. The context that gates a layer is constant over 100 frames, so it is computed once for them.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mooer.common.config import to_dict
from mooer.common.errors import ConfigError
from mooer.models.published_folder import PublishedModel, open_published_folder
from mooer.models.weights import load_state, own_tensors
from mooer.nn.masks import padding_mask, zero_padding
from mooer.nn.outline import outline

MODEL_NAME = "CAMPPlus"
WEIGHTS_FILE = "campplus_cn_common.bin"
# Kernel size and dilation of the dense blocks.
BLOCKS = ((3, 1), (3, 2), (3, 2))
# The head halves the mel bins three times.
HEAD_REDUCTION = 8
# Frames that share one context.
SEGMENT_FRAMES = 100
# Fields of the configuration that the published one does not know.
UNPUBLISHED_KEYS = ("head_channels", "block_layers")
# Fewer have no standard deviation after the time is halved.
SHORTEST_FRAMES = 3


@dataclass(frozen=True, kw_only=True)
class CampplusConfig:
    """Sizes of a CAM++; the defaults are those of the published one for Chinese."""

    feat_dim: int = 80
    """Mel bins of a frame; a multiple of 8."""
    embedding_size: int = 192
    """Width of the embedding."""
    growth_rate: int = 32
    """Channels that each layer of a dense block adds; even."""
    bn_size: int = 4
    """Width inside such a layer, in growth rates."""
    init_channels: int = 128
    """Channels that the first dense block begins with; even."""
    head_channels: int = 32
    """Channels of the two-dimensional convolutions; no key of the published config.yaml, which means these 32."""
    block_layers: tuple[int, int, int] = (12, 24, 16)
    """Layers of the dense blocks; no key of the published config.yaml."""
    config_str: Literal["batchnorm-relu"] = "batchnorm-relu"
    """What stands before each convolution."""
    output_level: Literal["segment"] = "segment"
    """One embedding for all frames."""
    memory_efficient: bool = True
    """Whether training computes the dense blocks again in the backward pass."""

    def __post_init__(self) -> None:
        for name, multiple in (
            ("feat_dim", 8),
            ("embedding_size", 1),
            ("growth_rate", 2),
            ("bn_size", 1),
            ("init_channels", 2),
            ("head_channels", 1),
        ):
            value = getattr(self, name)
            if value < 1 or value % multiple:
                raise ConfigError(f"{name} must be a positive multiple of {multiple}, found {value}")
        if min(self.block_layers) < 1:
            raise ConfigError(f"block_layers must be at least 1 each, found {self.block_layers}")


@dataclass(frozen=True)
class Extent:
    """Which frames of a padded batch are real."""

    lengths: Tensor
    """[B] real frames of each row."""
    mask: Tensor | None
    """[B, T], True on real frames; None if all are."""

    @classmethod
    def of(cls, lengths: Tensor, num_frames: int) -> "Extent":
        full = bool((lengths == num_frames).all())
        return cls(lengths, None if full else padding_mask(lengths, num_frames))

    def clear(self, frames: Tensor) -> Tensor:
        """The frames [B, T, C] with zeros in the padding."""
        return frames if self.mask is None else zero_padding(frames, self.mask)

    def clear_maps(self, maps: Tensor) -> Tensor:
        """The maps [B, C, F, T] with zeros in the padding."""
        # masked_fill would move the channels from where they lie in memory.
        return maps if self.mask is None else torch.where(self.mask[:, None, None, :], maps, 0.0)

    def segment_counts(self, num_segments: int) -> Tensor:
        """Real frames in each segment, at least 1: [B, segments, 1]."""
        starts = torch.arange(num_segments, device=self.lengths.device) * SEGMENT_FRAMES
        return (self.lengths[:, None] - starts).clamp(1, SEGMENT_FRAMES)[:, :, None]


class _NormRelu(nn.Sequential):
    """Normalisation of the channels of frames [B, T, C], then ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__(OrderedDict(batchnorm=nn.BatchNorm1d(channels), relu=nn.ReLU(inplace=True)))

    def forward(self, frames: Tensor) -> Tensor:
        return super().forward(frames.flatten(0, 1)).view_as(frames)


class _TimeConvolution(nn.Conv1d):
    """A convolution over time of frames [B, T, C]."""

    def forward(self, frames: Tensor) -> Tensor:
        """[B, T, C] -> [B, T / stride, output channels]."""
        if self.kernel_size == (1,):
            return F.linear(frames, self.weight[:, :, 0], self.bias)
        # Of height 1 over maps whose channels lie last, where conv1d would move them first and back.
        maps, weight = frames[:, None].permute(0, 3, 1, 2), self.weight[:, :, None]  # [B, C, 1, T]
        rest = ((1, *self.stride), (0, *self.padding), (1, *self.dilation))
        return F.conv2d(maps, weight, self.bias, *rest)[:, :, 0].transpose(1, 2)


class ResidualBlock(nn.Module):
    """Two convolutions over bins and frames; the first may halve the bins. Parameter names are the published ones."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1:
            convolution = nn.Conv2d(channels, channels, 1, stride=(stride, 1), bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(channels))

    def forward(self, maps: Tensor, extent: Extent) -> Tensor:
        """[B, C, F, T] -> [B, C, F / stride, T]."""
        inner = extent.clear_maps(self.bn1(self.conv1(maps)).relu_())
        return extent.clear_maps((self.bn2(self.conv2(inner)) + self.shortcut(maps)).relu_())


class ResidualHead(nn.Module):
    """Two-dimensional convolutions that see neighbouring bins before the bins become channels."""

    def __init__(self, feat_dim: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.ModuleList([ResidualBlock(channels, 2), ResidualBlock(channels, 1)])
        self.layer2 = nn.ModuleList([ResidualBlock(channels, 2), ResidualBlock(channels, 1)])
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.output_size = channels * (feat_dim // HEAD_REDUCTION)

    def forward(self, bins: Tensor, extent: Extent) -> Tensor:
        """[B, F, T] -> [B, T, output_size]."""
        maps = extent.clear_maps(self.bn1(self.conv1(bins[:, None])).relu_())  # [B, C, F, T]
        for block in (*self.layer1, *self.layer2):
            maps = block(maps, extent)
        maps = extent.clear_maps(self.bn2(self.conv2(maps)).relu_())
        return maps.permute(0, 3, 1, 2).flatten(2)


class ContextMasking(nn.Module):
    """A convolution over time, each channel gated by what the recording and its stretch of 100 frames are like."""

    def __init__(self, input_size: int, output_size: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        rest = {"padding": (kernel_size - 1) // 2 * dilation, "dilation": dilation, "bias": False}
        self.linear_local = _TimeConvolution(input_size, output_size, kernel_size, **rest)
        self.linear1 = _TimeConvolution(input_size, input_size // 2, 1)
        self.linear2 = _TimeConvolution(input_size // 2, output_size, 1)

    def forward(self, frames: Tensor, extent: Extent) -> Tensor:
        """[B, T, C] with zeros in the padding -> [B, T, output_size]."""
        gates = self.linear2(self.linear1(_context(frames, extent)).relu_()).sigmoid_()  # [B, segments, C]
        if gates.shape[1] > 1:
            gates = gates.repeat_interleave(SEGMENT_FRAMES, dim=1)[:, : frames.shape[1]]
        return self.linear_local(frames) * gates


def _context(frames: Tensor, extent: Extent) -> Tensor:
    """The mean over a recording plus that over each of its segments: [B, T, C] -> [B, segments, C]."""
    sums = torch.stack([part.sum(dim=1) for part in frames.split(SEGMENT_FRAMES, dim=1)], dim=1)
    return sums.sum(dim=1, keepdim=True) / extent.lengths[:, None, None] + sums / extent.segment_counts(sums.shape[1])


class DenseLayer(nn.Module):
    """What one layer adds to the channels of a dense block."""

    def __init__(self, input_size: int, inner_size: int, growth_rate: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = _NormRelu(input_size)
        self.linear1 = _TimeConvolution(input_size, inner_size, 1, bias=False)
        self.nonlinear2 = _NormRelu(inner_size)
        self.cam_layer = ContextMasking(inner_size, growth_rate, kernel_size, dilation)

    def forward(self, frames: Tensor, extent: Extent) -> Tensor:
        """[B, T, C] -> [B, T, growth_rate]."""
        inner = self.nonlinear2(self.linear1(self.nonlinear1(frames)))
        return self.cam_layer(extent.clear(inner), extent)


class DenseBlock(nn.Module):
    """Layers of which each reads the input and what all before it have put out."""

    def __init__(self, config: CampplusConfig, channels: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        num_layers, kernel_size, dilation = shape
        for index in range(num_layers):
            size = channels + index * config.growth_rate
            inner_size = config.bn_size * config.growth_rate
            self.add_module(f"tdnnd{index + 1}", DenseLayer(size, inner_size, config.growth_rate, kernel_size, dilation))

    def forward(self, frames: Tensor, extent: Extent) -> Tensor:
        """[B, T, C] -> [B, T, C + layers x growth_rate]."""
        for layer in self.children():
            frames = torch.cat([frames, layer(frames, extent)], dim=2)
        return frames


class Transition(nn.Module):
    """Halves the channels after a dense block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.nonlinear = _NormRelu(channels)
        self.linear = _TimeConvolution(channels, channels // 2, 1, bias=False)

    def forward(self, frames: Tensor, extent: Extent) -> Tensor:
        """[B, T, C] -> [B, T, C / 2]."""
        return self.linear(self.nonlinear(frames))


class _Projection(nn.Module):
    """A convolution and what is done to its output; only the names matter."""

    def __init__(self, linear: nn.Conv1d, nonlinear: nn.Sequential) -> None:
        super().__init__()
        self.linear = linear
        self.nonlinear = nonlinear

    def forward(self, frames: Tensor) -> Tensor:
        return self.nonlinear(self.linear(frames))


class Campplus(nn.Module):
    """The whole network. Parameter names are those of the published campplus_cn_common.bin."""

    def __init__(self, config: CampplusConfig) -> None:
        super().__init__()
        self.head = ResidualHead(config.feat_dim, config.head_channels)
        first = _TimeConvolution(self.head.output_size, config.init_channels, 5, stride=2, padding=2, bias=False)
        self.xvector = nn.ModuleDict({"tdnn": _Projection(first, _NormRelu(config.init_channels))})
        channels = config.init_channels
        for index, (num_layers, shape) in enumerate(zip(config.block_layers, BLOCKS, strict=True), start=1):
            self.xvector[f"block{index}"] = DenseBlock(config, channels, (num_layers, *shape))
            channels += num_layers * config.growth_rate
            self.xvector[f"transit{index}"] = Transition(channels)
            channels //= 2
        self.xvector["out_nonlinear"] = _NormRelu(channels)
        norm = nn.BatchNorm1d(config.embedding_size, affine=False)
        last = _TimeConvolution(2 * channels, config.embedding_size, 1, bias=False)
        self.xvector["dense"] = _Projection(last, nn.Sequential(OrderedDict(batchnorm=norm)))
        self.embedding_size = config.embedding_size
        self.num_mel_bins = config.feat_dim

    def forward(self, frames: Tensor, frame_lengths: Tensor) -> Tensor:
        """Embed a padded batch.

        Args:
            frames: [B, T, F], mel bins of 10 ms with zero mean over time; what stands in the padding does not matter.
            frame_lengths: [B], real frames of each row, at least 3.

        Returns:
            [B, D]; not of length one.
        """
        lengths = frame_lengths.to(frames.device)
        extent = Extent.of(lengths, frames.shape[1])
        hidden = self.head(extent.clear(frames).transpose(1, 2), extent)
        hidden = self.xvector["tdnn"](hidden)
        extent = Extent.of((lengths + 1) // 2, hidden.shape[1])
        for index in range(1, len(BLOCKS) + 1):
            hidden = self.xvector[f"block{index}"](hidden, extent)
            hidden = self.xvector[f"transit{index}"](hidden, extent)
        statistics = mean_and_deviation(self.xvector["out_nonlinear"](hidden), extent)
        return self.xvector["dense"](statistics)


def mean_and_deviation(frames: Tensor, extent: Extent) -> Tensor:
    """Over the real frames, the deviation by n - 1: [B, T, C] -> [B, 2 C]."""
    lengths = extent.lengths[:, None]
    mean = extent.clear(frames).sum(dim=1) / lengths
    squares = extent.clear((frames - mean[:, None]).square())
    return torch.cat([mean, (squares.sum(dim=1) / (lengths - 1)).sqrt()], dim=1)


def load_speaker_model(folder: str | Path) -> Campplus:
    """Read a published CAM++: config.yaml, campplus_cn_common.bin. In evaluation mode, without gradients.

    Raises:
        PathError: a missing file.
        ConfigError: settings that are unknown or impossible, or another kind of model.
        WeightsError: weights that are unsafe, damaged or do not fit.
    """
    opened = open_published_folder(folder, MODEL_NAME)
    with outline():
        model = Campplus(opened.section("model_conf", CampplusConfig))
    load_state(model, opened.weights(WEIGHTS_FILE), str(opened.path / WEIGHTS_FILE), assign=True)
    return model.eval().requires_grad_(False)


def published_speaker_model(model: Campplus, config: CampplusConfig, record: Mapping[str, Any]) -> PublishedModel:
    """What `write_published_folder` makes a folder of that `load_speaker_model` reads.

    Keys that the published config.yaml lacks are there only where they say something else than its network has.
    """
    published = CampplusConfig()
    sizes = {
        name: value
        for name, value in to_dict(config).items()
        if name not in UNPUBLISHED_KEYS or getattr(config, name) != getattr(published, name)
    }
    settings = {"model": MODEL_NAME, "model_conf": sizes}
    return PublishedModel(settings=settings, weights=own_tensors(model), weights_file=WEIGHTS_FILE, record=record)
