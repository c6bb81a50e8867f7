"""HiFi-GAN (Kong et al. 2020) as the generator of speech: hidden states of an LLM and a voice become a waveform.

Shapes: B batch, T latents, U samples on the way up (T times the rates so far), S samples, C channels, D width of a latent,
V width of the voice's embedding.

A latent is stretched to `input_up_scale_factor` columns by linear interpolation; then each stage upsamples by a transposed
convolution, adds what the voice says, and takes the mean of its residual blocks. A waveform does not depend on its batch:
whatever a convolution could reach beyond the end of a row is zero, as it is for the row alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mooer.common.config import from_dict
from mooer.common.errors import ConfigError, WeightsError
from mooer.common.files import atomic_write, require_file
from mooer.models.weights import State, load_state, own_tensors, read_state, write_safetensors
from mooer.nn.masks import padding_mask

CONTAINER = "generator"
# Of a folder that training writes.
WEIGHTS_FILE, RELEASED_FILE, CONFIG_FILE = "vocoder.safetensors", "vocoder.pt", "config.json"
SLOPE, LAST_SLOPE = 0.1, 0.01
# Keys of the released configuration that shape the network, and those about its training, which change nothing here.
SHAPING_KEYS = (
    *("resblock", "upsample_rates", "upsample_kernel_sizes", "upsample_initial_channel", "resblock_kernel_sizes"),
    *("resblock_dilation_sizes", "input_num_mels", "cond_channels", "cond_in_each_up_layer", "input_up_scale_factor"),
    "sampling_rate",
)
TRAINING_KEYS = (
    *("num_gpus", "batch_size", "learning_rate", "adam_b1", "adam_b2", "lr_decay", "seed", "discriminator_periods"),
    *("segment_size", "num_mels", "num_freq", "n_fft", "hop_size", "win_size", "fmin", "fmax", "fmax_for_loss"),
    *("num_workers", "dist_config", "input_n_fft", "input_hop_size", "input_win_size", "input_sampling_rate"),
)
_EDGE_KERNEL = 7
_NEWER_NAMES = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
_DILATIONS = (1, 3, 5)


@dataclass(frozen=True, kw_only=True)
class VocoderConfig:
    """Sizes of a generator; the names are those of the released configuration, the defaults its values."""

    resblock: Literal["1"] = "1"
    """Kind of residual block: pairs of a dilated and a plain convolution."""
    upsample_rates: tuple[int, ...] = (8, 8, 2, 2)
    """By how much each stage lengthens."""
    upsample_kernel_sizes: tuple[int, ...] = (16, 16, 4, 4)
    """Of the transposed convolutions; each at least its rate, and even or odd as it is."""
    upsample_initial_channel: int = 512
    """Channels before the first stage; each stage halves them."""
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    """Of the residual blocks of each stage; odd."""
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = (_DILATIONS, _DILATIONS, _DILATIONS)
    """Of each block's convolutions."""
    input_num_mels: int = 3584
    """Width of a latent: that of the LLM."""
    cond_channels: int = 512
    """Width of the voice's embedding; 0 for a generator that knows one voice."""
    cond_in_each_up_layer: bool = True
    """Whether the voice is added in each stage, and not before the first only."""
    input_up_scale_factor: int = 4
    """Columns that a latent is stretched to."""
    sampling_rate: int = 22_050
    """Of the waveform, in Hz."""

    def __post_init__(self) -> None:
        for name in ("upsample_initial_channel", "input_num_mels", "input_up_scale_factor", "sampling_rate"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.cond_channels < 0:
            raise ConfigError(f"cond_channels must be at least 0, found {self.cond_channels}")
        if not self.upsample_rates or len(self.upsample_rates) != len(self.upsample_kernel_sizes):
            raise ConfigError("upsample_rates and upsample_kernel_sizes must have as many values, at least one")
        for rate, kernel in zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True):
            if rate < 1 or kernel < rate or (kernel - rate) % 2:
                raise ConfigError(f"a kernel of {kernel} cannot upsample by {rate}: it must exceed it by an even number, or 0")
        if self.upsample_initial_channel % 2 ** len(self.upsample_rates):
            raise ConfigError(f"upsample_initial_channel {self.upsample_initial_channel} cannot be halved at each stage")
        if not self.resblock_kernel_sizes or len(self.resblock_kernel_sizes) != len(self.resblock_dilation_sizes):
            raise ConfigError("resblock_kernel_sizes and resblock_dilation_sizes must have as many values, at least one")
        if any(kernel < 1 or kernel % 2 == 0 for kernel in self.resblock_kernel_sizes):
            raise ConfigError(f"resblock_kernel_sizes must be odd, found {self.resblock_kernel_sizes}")
        if any(dilation < 1 for row in self.resblock_dilation_sizes for dilation in row):
            raise ConfigError(f"resblock_dilation_sizes must be at least 1, found {self.resblock_dilation_sizes}")

    @property
    def samples_of_a_latent(self) -> int:
        """Samples that one latent becomes."""
        product = self.input_up_scale_factor
        for rate in self.upsample_rates:
            product *= rate
        return product


class _Extent:
    """Which columns of a padded batch are real, at each length on the way up."""

    def __init__(self, lengths: Tensor, max_length: int) -> None:
        self._lengths = None if bool((lengths == max_length).all()) else lengths
        self._max_length = max_length
        self._masks: dict[int, Tensor] = {}

    def clear(self, columns: Tensor) -> Tensor:
        """The columns [B, C, U] with zeros in the padding, which may be done in place."""
        if self._lengths is None:
            return columns
        length = columns.shape[2]
        if length not in self._masks:
            self._masks[length] = ~padding_mask(self._lengths * (length // self._max_length), length)[:, None]
        return columns.masked_fill(self._masks[length], 0.0)


class ResidualBlock(nn.Module):
    """Pairs of a dilated and a plain convolution, each pair added to what it read. Parameter names are the published ones."""

    def __init__(self, channels: int, kernel_size: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList([_same_length(channels, kernel_size, dilation) for dilation in dilations])
        self.convs2 = nn.ModuleList([_same_length(channels, kernel_size, 1) for _ in dilations])

    def forward(self, columns: Tensor, extent: _Extent) -> Tensor:
        """[B, C, U] -> [B, C, U], both with zeros in the padding."""
        for first, second in zip(self.convs1, self.convs2, strict=True):
            inner = extent.clear(first(F.leaky_relu(columns, SLOPE)))
            columns = columns + extent.clear(second(F.leaky_relu(inner, SLOPE)))
        return columns


def _same_length(channels: int, kernel_size: int, dilation: int) -> nn.Conv1d:
    return nn.Conv1d(channels, channels, kernel_size, dilation=dilation, padding=(kernel_size - 1) // 2 * dilation)


class Vocoder(nn.Module):
    """The whole generator. Parameter names are those of the published checkpoints after the removal of weight norm."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.config = config
        channels, edge = config.upsample_initial_channel, _EDGE_KERNEL // 2
        self.conv_pre = nn.Conv1d(config.input_num_mels, channels, _EDGE_KERNEL, padding=edge)
        self.cond_layer = nn.Conv1d(config.cond_channels, channels, 1) if config.cond_channels else None
        self.ups, self.conds, self.resblocks = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
            self.ups.append(nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2))
            channels //= 2
            if config.cond_channels and config.cond_in_each_up_layer:
                self.conds.append(nn.Conv1d(config.cond_channels, channels, 1))
            for size, dilations in zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True):
                self.resblocks.append(ResidualBlock(channels, size, dilations))
        self.conv_post = nn.Conv1d(channels, 1, _EDGE_KERNEL, padding=edge)

    def forward(self, latents: Tensor, lengths: Tensor, voices: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Speak a padded batch.

        Args:
            latents: [B, T, D]; what stands in the padding does not matter.
            lengths: [B], real latents of each row, at least 1.
            voices: [B, V], of length one, or zeros for no voice in particular; None is zeros too.

        Returns:
            Waveforms [B, S] between -1 and 1, S = T * samples_of_a_latent, zero in the padding, and their lengths [B].
        """
        lengths = lengths.to(latents.device)
        extent = _Extent(lengths, latents.shape[1])
        if voices is None:
            voices = latents.new_zeros(len(latents), self.config.cond_channels)
        voices = voices[:, :, None]  # [B, V, 1]
        columns = self.conv_pre(extent.clear(self._stretched(latents, lengths)))
        if self.cond_layer is not None:
            columns = columns + self.cond_layer(voices)
        blocks = len(self.config.resblock_kernel_sizes)
        for stage, upsample in enumerate(self.ups):
            columns = upsample(F.leaky_relu(extent.clear(columns), SLOPE))
            if self.conds:
                columns = columns + self.conds[stage](voices)
            columns = extent.clear(columns)
            parts = self.resblocks[stage * blocks : (stage + 1) * blocks]
            columns = sum(block(columns, extent) for block in parts) / blocks
        waves = torch.tanh(self.conv_post(F.leaky_relu(columns, LAST_SLOPE)))
        return extent.clear(waves)[:, 0], lengths * self.config.samples_of_a_latent

    def _stretched(self, latents: Tensor, lengths: Tensor) -> Tensor:
        """[B, T, D] -> [B, D, T * input_up_scale_factor]; a row's last latent goes on behind it, as at the end alone."""
        last = (lengths - 1)[:, None]
        places = torch.arange(latents.shape[1], device=latents.device)[None].minimum(last)  # [B, T]
        held = latents.gather(1, places[:, :, None].expand_as(latents))
        return F.interpolate(held.transpose(1, 2), scale_factor=float(self.config.input_up_scale_factor), mode="linear")


def load_vocoder(path: str | Path, config: VocoderConfig | None = None) -> Vocoder:
    """Read a published checkpoint or one of ours, with weight norm or without. In evaluation mode, without gradients.

    Args:
        path: a .pt file, `{"generator": ...}` or flat, or a .safetensors file.
        config: None reads the sizes off the tensors; what they do not tell (dilations, the stretch of a latent) is as released.

    Raises:
        PathError: no such file.
        WeightsError: unsafe, damaged, or of other names or sizes.
    """
    state = without_weight_norm(read_state(path, "vocoder", containers=(CONTAINER,)))
    with torch.device("meta"):
        vocoder = Vocoder(config or config_of_state(state, str(path)))
    load_state(vocoder, state, str(path), assign=True)
    return vocoder.float().eval().requires_grad_(False)


def write_vocoder(path: str | Path, vocoder: Vocoder) -> None:
    """Write the weights as a .safetensors file that `load_vocoder` reads."""
    write_safetensors(path, own_tensors(vocoder))


def write_released_vocoder(path: str | Path, vocoder: Vocoder) -> None:
    """Write the weights as the published checkpoints have them, without weight norm."""
    with atomic_write(path, "wb") as stream:
        torch.save({CONTAINER: {name: tensor.cpu() for name, tensor in own_tensors(vocoder).items()}}, stream)


def read_vocoder_config(path: str | Path) -> VocoderConfig:
    """The sizes in a released JSON configuration. Raises PathError or ConfigError."""
    path = require_file(path, "vocoder configuration")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{path} must hold a JSON object, found {type(raw).__name__}")
    unknown = [key for key in raw if key not in (*SHAPING_KEYS, *TRAINING_KEYS)]
    if unknown:
        raise ConfigError(f"{path}: unknown key {unknown[0]!r}; valid keys: {', '.join(SHAPING_KEYS)}")
    return _shaping(raw, str(path))


def _shaping(raw: Mapping[str, Any], where: str) -> VocoderConfig:
    given = {name: raw[name] for name in SHAPING_KEYS if raw.get(name) is not None}
    return from_dict(VocoderConfig, given, where)


def without_weight_norm(state: State) -> State:
    """The same weights without weight norm: each direction `weight_v` scaled to the length `weight_g` of its first axis.

    torch's newer names for the two are read as well.

    Raises:
        WeightsError: one of the two is missing, or they do not fit together.
    """
    for newer, older in _NEWER_NAMES.items():
        state = {name.replace(newer, older): tensor for name, tensor in state.items()}
    plain = {name: tensor for name, tensor in state.items() if not name.endswith((".weight_g", ".weight_v"))}
    for stem in dict.fromkeys(name[:-2] for name in state if name.endswith((".weight_g", ".weight_v"))):
        length, direction = state.get(f"{stem}_g"), state.get(f"{stem}_v")
        if length is None or direction is None or stem in plain:
            raise WeightsError(f"the vocoder's {stem} must be one tensor, or a pair {stem}_g and {stem}_v")
        if direction.dim() != 3 or tuple(length.shape) != (len(direction), 1, 1):
            raise WeightsError(f"{stem}_g {list(length.shape)} does not fit {stem}_v {list(direction.shape)}")
        plain[stem] = direction * (length / direction.norm(dim=(1, 2), keepdim=True))
    return plain


def config_of_state(state: State, source: str) -> VocoderConfig:
    """The sizes that tensors without weight norm tell. Raises WeightsError where they are no generator's.

    A transposed convolution's kernel is twice its rate and dilations are 1, 3, 5 and so on, as in the published generators.
    """
    try:
        first = state["conv_pre.weight"]
        num_stages = _count(state, "ups.{}.weight")
        kernels = [state[f"ups.{index}.weight"].shape[2] for index in range(num_stages)]
        num_blocks = _count(state, "resblocks.{}.convs1.0.weight") // num_stages
        sizes = [state[f"resblocks.{index}.convs1.0.weight"].shape[2] for index in range(num_blocks)]
        dilations = list(range(1, 2 * _count(state, "resblocks.0.convs1.{}.weight"), 2))
        raw = {
            "upsample_rates": [kernel // 2 for kernel in kernels],
            "upsample_kernel_sizes": kernels,
            "upsample_initial_channel": first.shape[0],
            "resblock_kernel_sizes": sizes,
            "resblock_dilation_sizes": [dilations] * num_blocks,
            "input_num_mels": first.shape[1],
            "cond_channels": state["cond_layer.weight"].shape[1] if "cond_layer.weight" in state else 0,
            "cond_in_each_up_layer": "conds.0.weight" in state,
        }
        return _shaping(raw, source)
    except (KeyError, IndexError, ZeroDivisionError, ConfigError) as error:
        raise WeightsError(f"{source} holds no HiFi-GAN generator, by the names and shapes of its tensors: {error}") from error


def _count(state: State, pattern: str) -> int:
    """How many tensors are named by the pattern with 0, 1, 2 and so on in it."""
    count = 0
    while pattern.format(count) in state:
        count += 1
    return count
