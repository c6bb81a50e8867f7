"""Training of FSMN-VAD: what it is told, the loss, and the published directory that it is written as.

Shapes: B batch, T frames (of 10 ms), F features of a frame, V classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mooer.common.config import from_dict, to_dict
from mooer.common.errors import ConfigError
from mooer.models.losses import LossOutput
from mooer.models.published_folder import WEIGHTS_FILE, PublishedFolder, open_published_folder
from mooer.models.vad import FsmnConfig, FsmnEncoder, check_silence_ids
from mooer.models.weights import State, load_state, own_tensors

MODEL, ENCODER, FRONTEND = "FsmnVADStreaming", "FSMN", "WavFrontendOnline"
_FRONTEND_SECTION = {"fs": 16000, "window": "hamming", "frame_length": 25, "frame_shift": 10, "dither": 0.0}
# The spread of memories' weights at first: they are added to what they remember, and too much of it drowns the present.
_MEMORY_STD = 0.05


@dataclass(frozen=True, kw_only=True)
class VadModelConfig:
    """The section `model` of a file that trains a voice activity network."""

    family: Literal["fsmn_vad"] = "fsmn_vad"
    """FSMN-VAD."""
    encoder: FsmnConfig | None = None
    """Sizes; None for those of `path`, or else the published ones. `output_dim: 2` is enough where nothing but speech and
    silence is told apart."""
    silence_ids: tuple[int, ...] | None = None
    """Classes that are silence; all others are speech. None for those of `path`, or else the first one."""
    path: str | None = None
    """Published directory (config.yaml, model.pt) whose weights, sizes and options training goes on from."""

    def __post_init__(self) -> None:
        if self.path is not None and (self.encoder is not None or self.silence_ids is not None):
            raise ConfigError("encoder and silence_ids are those of the directory that path names; remove them")
        if self.path is None:
            sizes, silence_ids = self.encoder or FsmnConfig(), self.silence_ids or (0,)
            check_silence_ids(silence_ids, sizes.output_dim)
            if len(set(silence_ids)) == sizes.output_dim:
                raise ConfigError(f"silence_ids {list(silence_ids)} are all of the {sizes.output_dim} classes; none is speech")


@dataclass(frozen=True, kw_only=True)
class _SilenceSection:
    sil_pdf_ids: tuple[int, ...] = (0,)
    """The key of model_conf that training needs; the others are of the segments."""


class VadTraining(nn.Module):
    """The encoder with the loss that it is trained by. Parameter names are those of the published model.pt.

    A frame is known to be speech or silence, not which class of it: the loss is the cross entropy of these two, each with the
    probability of all its classes. With two classes in all that is the usual one.
    """

    def __init__(self, encoder: FsmnEncoder, num_classes: int, silence_ids: Sequence[int]) -> None:
        super().__init__()
        self.encoder = encoder
        is_silence = torch.zeros(num_classes, dtype=torch.bool)
        is_silence[list(silence_ids)] = True
        self.register_buffer("is_silence", is_silence, persistent=False)

    def forward(self, frames: Tensor, frame_lengths: Tensor, is_speech: Tensor) -> LossOutput:
        """The loss over all frames.

        Args:
            frames: [B, T, F], padded on the right.
            frame_lengths: [B].
            is_speech: [B, T] bool.
        """
        length = frames.shape[1]
        logits = self.encoder.logits(frames)[0][:, :length].float()
        groups = [logits[:, :, self.is_silence], logits[:, :, ~self.is_silence]]
        evidence = torch.stack([group.logsumexp(dim=-1) for group in groups], dim=-1)  # [B, T, 2]
        is_real = torch.arange(length, device=frames.device) < frame_lengths.to(frames.device)[:, None]
        losses = nn.functional.cross_entropy(evidence.transpose(1, 2), is_speech.long(), reduction="none")  # [B, T]
        is_right = (evidence[:, :, 1] > evidence[:, :, 0]) == is_speech
        return LossOutput((losses * is_real).sum(), is_real.sum(), (is_right & is_real).sum(), torch.zeros_like(is_real.sum()))


def build_vad_training(config: VadModelConfig) -> VadTraining:
    """The network to train, in training mode.

    Raises:
        PathError, ConfigError, WeightsError: `path` is no published FSMN-VAD directory.
    """
    if config.path is None:
        return _new(config.encoder or FsmnConfig(), config.silence_ids or (0,)).train()
    opened = _open(config.path)
    model = _new(opened.section("encoder_conf", FsmnConfig), _silence_ids(opened))
    load_state(model, opened.weights(WEIGHTS_FILE), str(opened.path / WEIGHTS_FILE))
    return model.train()


def _new(sizes: FsmnConfig, silence_ids: Sequence[int]) -> VadTraining:
    check_silence_ids(silence_ids, sizes.output_dim)
    encoder = FsmnEncoder(sizes)
    for block in encoder.fsmn:
        nn.init.normal_(block.fsmn_block.conv_left.weight, std=_MEMORY_STD)
    return VadTraining(encoder, sizes.output_dim, silence_ids)


def _silence_ids(opened: PublishedFolder) -> tuple[int, ...]:
    named = {name: value for name, value in opened.settings.get("model_conf", {}).items() if name == "sil_pdf_ids"}
    return from_dict(_SilenceSection, named, f"{opened.path}: model_conf").sil_pdf_ids


def input_size(config: VadModelConfig) -> int:
    """Width F of the frames that the network reads. Raises PathError or ConfigError."""
    if config.path is not None:
        return _open(config.path).section("encoder_conf", FsmnConfig).input_dim
    return (config.encoder or FsmnConfig()).input_dim


def published_vad(model: VadTraining, config: VadModelConfig, sound: Mapping[str, int]) -> tuple[dict[str, Any], State]:
    """The config.yaml and the weights of the trained network, as a published directory has them.

    Args:
        sound: sizes of the frames for frontend_conf: n_mels, lfr_m, lfr_n.

    Raises:
        PathError, ConfigError: `config.path` is no published directory any more.
    """
    if config.path is not None:
        return _open(config.path).settings, own_tensors(model)
    silence_ids = config.silence_ids or (0,)
    settings = {
        "model": MODEL,
        "model_conf": {"sample_rate": 16000, "sil_pdf_ids": list(silence_ids), "silence_pdf_num": len(silence_ids)},
        "encoder": ENCODER,
        "encoder_conf": to_dict(config.encoder or FsmnConfig()),
        "frontend": FRONTEND,
        "frontend_conf": {**_FRONTEND_SECTION, **sound},
    }
    return settings, own_tensors(model)


def _open(path: str) -> PublishedFolder:
    opened = open_published_folder(path, MODEL)
    opened.require("encoder", ENCODER)
    return opened
