"""The voice activity network FSMN-VAD (feed-forward sequential memory, Zhang et al. 2018), full size or small.

Shapes: B batch, T frames (of 10 ms), F features of a frame, D width, V classes (pdfs; a few of them are silence).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mooer.common.errors import ConfigError
from mooer.models.published_folder import read_published_weights
from mooer.models.weights import load_state
from mooer.nn.outline import outline

# Rows of a matrix product are padded to this multiple: each goes through the same instructions then, however long its piece is.
ROW_MULTIPLE = 16


@dataclass(frozen=True, kw_only=True)
class FsmnConfig:
    """Sizes of an FSMN encoder under their published names (encoder_conf of config.yaml); the defaults are FSMN-VAD's."""

    input_dim: int = 400
    """Width of a feature frame."""
    input_affine_dim: int = 140
    """Width between the two input layers."""
    fsmn_layers: int = 4
    """Blocks with memory."""
    linear_dim: int = 250
    """Width of a block's input and output."""
    proj_dim: int = 128
    """Width of a block's memory."""
    lorder: int = 20
    """Frames that a memory spans, the present one included."""
    rorder: int = 0
    """Frames that a memory sees of the future; only 0 is supported, as the network is meant for streams."""
    lstride: int = 1
    """Frames from one that the memory sees to the one before it. Not visible in a checkpoint."""
    rstride: int = 0
    """The same for the future; without meaning while rorder is 0."""
    output_affine_dim: int = 140
    """Width between the two output layers."""
    output_dim: int = 248
    """Classes V."""

    def __post_init__(self) -> None:
        positive = ("input_dim", "input_affine_dim", "fsmn_layers", "linear_dim", "proj_dim", "lorder", "lstride")
        for name in (*positive, "output_affine_dim", "output_dim"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.rorder != 0:
            raise ConfigError(f"rorder is {self.rorder}; only 0 is supported: no look into the future")


class _Affine(nn.Module):
    """A linear layer under the published names."""

    def __init__(self, input_size: int, output_size: int, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(input_size, output_size, bias)

    def forward(self, frames: Tensor) -> Tensor:
        return self.linear(frames)


class _Memory(nn.Module):
    """A depth-wise convolution over the past."""

    def __init__(self, width: int, order: int, stride: int) -> None:
        super().__init__()
        self.conv_left = nn.Conv2d(width, width, (order, 1), dilation=(stride, 1), groups=width, bias=False)

    def forward(self, history: Tensor) -> Tensor:
        """[B, (order - 1) * stride + T, D] -> [B, T, D]."""
        # Of height 1 over values that lie channels-last already, a convolution is three times as fast as along one axis.
        weight, (stride, _) = self.conv_left.weight.transpose(2, 3), self.conv_left.dilation  # [D, 1, 1, order]
        columns = history[:, None].permute(0, 3, 1, 2)  # [B, D, 1, T]
        return F.conv2d(columns, weight, dilation=(1, stride), groups=len(weight))[:, :, 0].transpose(1, 2)


class _Block(nn.Module):
    """A projection, its memory added to it, an affine layer and ReLU."""

    def __init__(self, linear_dim: int, proj_dim: int, order: int, stride: int) -> None:
        super().__init__()
        self.linear = _Affine(linear_dim, proj_dim, bias=False)
        self.fsmn_block = _Memory(proj_dim, order, stride)
        self.affine = _Affine(proj_dim, linear_dim)

    def forward(self, frames: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T, linear_dim], past projections [B, P, proj_dim] -> [B, T, linear_dim], the projections [B, P + T, proj_dim]."""
        projected = self.linear(frames)
        history = torch.cat((past, projected), dim=1)
        remembered = projected + self.fsmn_block(history)
        return self.affine(remembered).relu_(), history


class FsmnEncoder(nn.Module):
    """Two input layers, blocks with memory, two output layers, softmax. Parameter names are those of the published model.pt."""

    def __init__(self, config: FsmnConfig) -> None:
        super().__init__()
        self.input_dim, self.proj_dim = config.input_dim, config.proj_dim
        self.past_frames = (config.lorder - 1) * config.lstride
        self.in_linear1 = _Affine(config.input_dim, config.input_affine_dim)
        self.in_linear2 = _Affine(config.input_affine_dim, config.linear_dim)
        sizes = (config.linear_dim, config.proj_dim, config.lorder, config.lstride)
        self.fsmn = nn.ModuleList([_Block(*sizes) for _ in range(config.fsmn_layers)])
        self.out_linear1 = _Affine(config.linear_dim, config.output_affine_dim)
        self.out_linear2 = _Affine(config.output_affine_dim, config.output_dim)

    def forward(self, frames: Tensor, memories: Sequence[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Posteriors of a piece of audio, which goes on where the memories end.

        Args:
            frames: [B, T, F], features after CMVN. Padding on the right changes nothing before it.
            memories: what the piece before returned; None at the start.

        Returns:
            [B, T, V], each row of sum 1, and the new memories, one [B, P, D] a block. Pieces of any lengths give what the whole
            gives at once, on a CPU and with the published sizes to the last bit.
        """
        logits, kept = self.logits(frames, memories)
        return logits.softmax(dim=-1)[:, : frames.shape[1]], kept

    def logits(self, frames: Tensor, memories: Sequence[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """What the posteriors are the softmax of, with rows of padding after the T of the piece, and the new memories."""
        length = frames.shape[1]
        if memories is None:
            memories = [frames.new_zeros(len(frames), self.past_frames, self.proj_dim)] * len(self.fsmn)
        rows = ROW_MULTIPLE * max(1, -(-length // ROW_MULTIPLE))
        hidden = F.pad(frames, (0, 0, 0, rows - length))
        hidden = self.in_linear2(self.in_linear1(hidden)).relu()
        kept = []
        for block, past in zip(self.fsmn, memories, strict=True):
            hidden, history = block(hidden, past)
            kept.append(history[:, length : length + self.past_frames].clone())
        return self.out_linear2(self.out_linear1(hidden)), kept


def check_silence_ids(silence_ids: Sequence[int], num_classes: int) -> None:
    """Refuse silence classes that a network of so many does not have. Raises ConfigError."""
    if not silence_ids or not all(0 <= index < num_classes for index in silence_ids):
        raise ConfigError(f"sil_pdf_ids is {list(silence_ids)}; needed are some of the classes 0 to {num_classes - 1}")


class FsmnVad(nn.Module):
    """The encoder, and which of its classes are silence."""

    def __init__(self, config: FsmnConfig, silence_ids: Sequence[int] = (0,)) -> None:
        super().__init__()
        check_silence_ids(silence_ids, config.output_dim)
        self.encoder = FsmnEncoder(config)
        self.silence_ids = list(silence_ids)

    def forward(self, frames: Tensor, memories: Sequence[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Posteriors of silence [B, T] for frames [B, T, F], and the memories for the next piece, as `FsmnEncoder` has them."""
        posteriors, memories = self.encoder(frames, memories)
        return posteriors[:, :, self.silence_ids].sum(dim=-1), memories


def load_fsmn_vad(config: FsmnConfig, path: str | Path, silence_ids: Sequence[int] = (0,)) -> FsmnVad:
    """The network of a published model.pt, in eval mode and without gradients.

    Raises:
        PathError: no such file.
        WeightsError: an unreadable or unsafe file, or tensors that do not have the names and shapes of `config`.
        ConfigError: silence classes that the network does not have.
    """
    state = {name: tensor.float() for name, tensor in read_published_weights(Path(path)).items()}
    with outline():
        model = FsmnVad(config, silence_ids)
    load_state(model, state, f"VAD weights {path}", assign=True)
    return model.eval().requires_grad_(False)
