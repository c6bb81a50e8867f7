"""The speaker encoder that goes with the vocoder: a ResNet with squeeze-and-excitation blocks and attentive statistics pooling.

Samples to an embedding (Heo et al. 2020, "Clova baseline system for the VoxCeleb speaker recognition challenge 2020", and the
YourTTS family): preemphasis, mel energies, their logarithm with zero mean and unit variance over time, four groups of residual
blocks, and a mean and deviation over time by attention.

Shapes: B batch, S samples, T frames, M mel bins, C channels, F bins left after striding, D width of the embedding.

An embedding does not depend on its batch: what a layer could reach in the padding is zero, as it is beyond the end of a
recording alone, and every mean is over real frames.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mooer.common.errors import ConfigError, WeightsError
from mooer.models.weights import State, load_state, read_state
from mooer.nn.masks import padding_mask

CONTAINER = "speaker_encoder"
SHIFT_SAMPLES = 160
REDUCTION = 8
ATTENTION_SIZE = 128
LOG_FLOOR = 1e-6
NORM_FLOOR = 1e-5
VARIANCE_FLOOR = 1e-5


@dataclass(frozen=True, kw_only=True)
class SpeakerResnetConfig:
    """Sizes; the defaults are those of the released speaker encoder."""

    num_mels: int = 64
    """Mel bins; a multiple of 8."""
    fft_size: int = 512
    """Samples of a spectrum, zeros around the window included."""
    window_size: int = 400
    """Samples of a window, at 16 kHz; a frame is 160 later than the one before it."""
    num_filters: tuple[int, int, int, int] = (32, 64, 128, 256)
    """Channels of the groups of blocks."""
    layers: tuple[int, int, int, int] = (3, 4, 6, 3)
    """Blocks of each group."""
    embedding_size: int = 512
    """Width of the embedding."""

    def __post_init__(self) -> None:
        if self.num_mels < 8 or self.num_mels % 8:
            raise ConfigError(f"num_mels must be a positive multiple of 8, found {self.num_mels}")
        if not 1 <= self.window_size <= self.fft_size:
            raise ConfigError(f"window_size must lie between 1 and fft_size {self.fft_size}, found {self.window_size}")
        if min(*self.num_filters, *self.layers, self.embedding_size) < 1:
            raise ConfigError("num_filters, layers and embedding_size must be at least 1")

    @property
    def shortest_samples(self) -> int:
        """The least that can be mirrored at both ends."""
        return self.fft_size // 2 + 1


class _Extent:
    """Which frames of a padded batch are real, at each length on the way down."""

    def __init__(self, lengths: Tensor, num_frames: int) -> None:
        self.lengths = lengths
        full = bool((lengths == num_frames).all())
        self._mask = None if full else padding_mask(lengths, num_frames)

    def clear(self, values: Tensor) -> Tensor:
        """Values [B, ..., T] with zeros in the padding."""
        if self._mask is None:
            return values
        return values.masked_fill(~self._mask.view(len(values), *[1] * (values.dim() - 2), -1), 0.0)

    def mean(self, values: Tensor) -> Tensor:
        """Over the real frames: [B, C, T] -> [B, C, 1]."""
        return self.clear(values).sum(dim=2, keepdim=True) / self.lengths[:, None, None]

    def softmax(self, scores: Tensor) -> Tensor:
        """Over the real frames: [B, C, T] -> [B, C, T]."""
        if self._mask is not None:
            scores = scores.masked_fill(~self._mask[:, None], -torch.inf)
        return scores.softmax(dim=2)


class _Preemphasis(nn.Module):
    """Each sample less most of the one before it; the first one's predecessor is its successor, by mirroring."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", torch.tensor([[[-0.97, 1.0]]]))

    def forward(self, waveforms: Tensor) -> Tensor:
        """[B, S] -> [B, S]."""
        return F.conv1d(F.pad(waveforms[:, None], (1, 0), "reflect"), self.filter)[:, 0]


class _MelSpectrogram(nn.Module):
    """Mel energies; names are those of torchaudio's, whose window and filters the checkpoints carry."""

    def __init__(self, config: SpeakerResnetConfig) -> None:
        super().__init__()
        self.fft_size = config.fft_size
        self.spectrogram, self.mel_scale = nn.Module(), nn.Module()
        self.spectrogram.register_buffer("window", torch.hamming_window(config.window_size))
        self.mel_scale.register_buffer("fb", _mel_filters(config))

    def forward(self, waveforms: Tensor) -> Tensor:
        """[B, S] with the windows' overhang at both ends -> [B, M, T], T = 1 + (S - fft_size) / 160."""
        window = self.spectrogram.window
        spectra = torch.stft(
            waveforms, self.fft_size, SHIFT_SAMPLES, len(window), window, center=False, return_complex=True
        )  # [B, bins, T]
        return (spectra.abs().square().transpose(1, 2) @ self.mel_scale.fb).transpose(1, 2)


def _mel_filters(config: SpeakerResnetConfig) -> Tensor:
    """Triangles on the mel scale 2595 log10(1 + f / 700) from 0 to 8000 Hz: [bins, M]."""
    frequencies = torch.linspace(0, 8000, config.fft_size // 2 + 1)
    highest = 2595.0 * math.log10(1 + 8000 / 700.0)
    corners = 700.0 * (10.0 ** (torch.linspace(0.0, highest, config.num_mels + 2) / 2595.0) - 1.0)
    widths = corners.diff()
    slopes = corners[None] - frequencies[:, None]  # [bins, M + 2]
    return torch.minimum(-slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]).clamp(min=0.0)


class SqueezeExcitation(nn.Module):
    """Each channel gated by what all channels are like in the mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = nn.Linear(channels, channels // REDUCTION)
        self.fc = nn.Sequential(inner, nn.ReLU(inplace=True), nn.Linear(channels // REDUCTION, channels), nn.Sigmoid())

    def forward(self, maps: Tensor, extent: _Extent) -> Tensor:
        """[B, C, F, T] with zeros in the padding -> [B, C, F, T]."""
        means = maps.sum(dim=(2, 3)) / (maps.shape[2] * extent.lengths[:, None])
        return maps * self.fc(means)[:, :, None, None]


class SeBlock(nn.Module):
    """Two convolutions, the second gated, added to what they read. ReLU comes before the first normalisation."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.se = SqueezeExcitation(channels)
        self.downsample = None
        if stride != 1 or inputs != channels:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, maps: Tensor, extent: _Extent) -> Tensor:
        """[B, C, F, T] -> [B, C', F / stride, T / stride], both with zeros in the padding; `extent` is that of the result."""
        inner = extent.clear(self.bn1(self.conv1(maps).relu_()))
        inner = self.se(extent.clear(self.bn2(self.conv2(inner))), extent)
        others = maps if self.downsample is None else extent.clear(self.downsample(maps))
        return (inner + others).relu_()


class SpeakerResnet(nn.Module):
    """The whole encoder. Names are those of the published checkpoints."""

    def __init__(self, config: SpeakerResnetConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.num_filters[0]
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        for number, (width, count) in enumerate(zip(config.num_filters, config.layers, strict=True), start=1):
            blocks = nn.ModuleList()
            for index in range(count):
                blocks.append(SeBlock(channels, width, 2 if number > 1 and index == 0 else 1))
                channels = width
            self.add_module(f"layer{number}", blocks)
        self.torch_spec = nn.Sequential(_Preemphasis(), _MelSpectrogram(config))
        size = channels * (config.num_mels // 8)
        self.attention = nn.Sequential(
            nn.Conv1d(size, ATTENTION_SIZE, 1), nn.ReLU(), nn.BatchNorm1d(ATTENTION_SIZE), nn.Conv1d(ATTENTION_SIZE, size, 1)
        )
        self.fc = nn.Linear(2 * size, config.embedding_size)

    def mels(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Mel energies [B, M, T] of waveforms [B, S], and how many frames of each row are real [B]: 1 + S // 160.

        A recording is mirrored at both its ends, wherever its row ends.
        """
        reach = self.config.fft_size // 2
        emphasised = self.torch_spec[0](waveforms)
        places = torch.arange(-reach, waveforms.shape[1] + reach, device=waveforms.device).abs()
        last = (lengths - 1)[:, None]
        places = (last - (last - places).abs()).clamp(min=0)  # [B, S + 2 reach]
        return self.torch_spec[1](emphasised.gather(1, places)), 1 + lengths // SHIFT_SAMPLES

    def forward(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Embed a padded batch.

        Args:
            waveforms: [B, S] at 16 kHz, full scale 1; what stands in the padding does not matter.
            lengths: [B], real samples of each row, at least `config.shortest_samples`.

        Returns:
            [B, D]; not of length one.
        """
        mels, frames = self.mels(waveforms, lengths.to(waveforms.device))
        extent = _Extent(frames, mels.shape[2])
        maps = self._normalised((mels + LOG_FLOOR).log(), extent)[:, None]  # [B, 1, M, T]
        maps = extent.clear(self.bn1(self.conv1(maps).relu_()))
        for number in range(1, 5):
            if number > 1:
                extent = _Extent((extent.lengths + 1) // 2, (maps.shape[3] + 1) // 2)
            for block in self.get_submodule(f"layer{number}"):
                maps = block(maps, extent)
        return self.fc(self._statistics(maps.flatten(1, 2), extent))

    def _normalised(self, bins: Tensor, extent: _Extent) -> Tensor:
        """Each bin with zero mean and unit variance over the real frames: [B, M, T] -> [B, M, T], zero in the padding."""
        centred = extent.clear(bins - extent.mean(bins))
        return centred / (extent.mean(centred.square()) + NORM_FLOOR).sqrt()

    def _statistics(self, hidden: Tensor, extent: _Extent) -> Tensor:
        """Mean and deviation over time by attention: [B, C, T] -> [B, 2 C]."""
        weights = extent.softmax(self.attention(hidden))
        mean = (hidden * weights).sum(dim=2)
        variance = (hidden.square() * weights).sum(dim=2) - mean.square()
        return torch.cat([mean, variance.clamp(min=VARIANCE_FLOOR).sqrt()], dim=1)

    def voices(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """The embeddings [B, D] of length one, as the vocoder takes them. Arguments as of `forward`."""
        return F.normalize(self(waveforms, lengths), dim=1)


def load_speaker_resnet(path: str | Path) -> SpeakerResnet:
    """Read a published checkpoint, `{"speaker_encoder": ...}` or flat, or a .safetensors file.

    The sizes are read off its tensors. In evaluation mode, without gradients.

    Raises:
        PathError: no such file.
        WeightsError: unsafe, damaged, or of other names or sizes.
    """
    state = read_state(path, "speaker encoder", containers=(CONTAINER,))
    config = config_of_state(state, str(path))
    with torch.device("meta"):
        model = SpeakerResnet(config)
    load_state(model, state, str(path), assign=True)
    return model.float().eval().requires_grad_(False)


def config_of_state(state: State, source: str) -> SpeakerResnetConfig:
    """The sizes that a checkpoint's tensors tell. Raises WeightsError where they are no such encoder's."""
    try:
        bins, num_mels = state["torch_spec.1.mel_scale.fb"].shape
        return SpeakerResnetConfig(
            num_mels=num_mels,
            fft_size=2 * (bins - 1),
            window_size=len(state["torch_spec.1.spectrogram.window"]),
            num_filters=tuple(len(state[f"layer{number}.0.conv1.weight"]) for number in range(1, 5)),
            layers=tuple(_count_blocks(state, number) for number in range(1, 5)),
            embedding_size=len(state["fc.weight"]),
        )
    except (KeyError, ValueError, TypeError, ConfigError) as error:
        raise WeightsError(
            f"{source} holds no ResNet speaker encoder, by the names and shapes of its tensors: {error}"
        ) from error


def _count_blocks(state: State, number: int) -> int:
    count = 0
    while f"layer{number}.{count}.conv1.weight" in state:
        count += 1
    return count
