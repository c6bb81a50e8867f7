"""CAM++ with what it is trained by: a class for each training speaker, told apart by angles.

Additive angular margin (Deng et al. 2019, ArcFace): an embedding must be nearer to its own speaker's direction than to any
other's by a margin, so that speakers never heard in training lie apart too.

Shapes: B batch, T frames, F mel bins, D width of the embedding, K classes.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mooer.common.errors import ConfigError
from mooer.models.losses import LossOutput
from mooer.models.speaker import Campplus, CampplusConfig

# Cosines this near to 1 have no finite slope of the angle.
_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class MarginConfig:
    """How far apart speakers must be."""

    margin: float = 0.2
    """Angle in radians by which an embedding must be nearer to its own speaker."""
    scale: float = 30.0
    """What cosines are multiplied by before the softmax."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.margin < math.pi / 2:
            raise ConfigError(f"margin must be at least 0 and under pi / 2, found {self.margin}")
        if not self.scale > 0.0:
            raise ConfigError(f"scale must be over 0, found {self.scale}")


@dataclass(frozen=True, kw_only=True)
class SpeakerModelConfig:
    """The section `model` of a run that trains a speaker model."""

    family: Literal["speaker"] = "speaker"
    """CAM++, trained to tell speakers apart."""
    network: CampplusConfig = field(default_factory=CampplusConfig)
    """Sizes of the network."""
    loss: MarginConfig = field(default_factory=MarginConfig)
    """How far apart speakers must be."""


class SpeakerClassifier(nn.Module):
    """The network and the directions of the training speakers.

    Args:
        network: embeds voices.
        num_classes: speakers of the training data.
    """

    def __init__(self, network: Campplus, num_classes: int, config: MarginConfig) -> None:
        super().__init__()
        self.network = network
        self.directions = nn.Parameter(torch.empty(num_classes, network.embedding_size))
        nn.init.xavier_normal_(self.directions)
        self._margin, self._scale = config.margin, config.scale

    def forward(self, frames: Tensor, frame_lengths: Tensor, speakers: Tensor) -> LossOutput:
        """Loss of a batch, one token a crop.

        Args:
            frames: [B, T, F], mel bins of 10 ms with zero mean over time.
            frame_lengths: [B], real frames of each row.
            speakers: [B], class of each row.
        """
        embeddings = self.network(frames, frame_lengths)
        cosines = F.linear(F.normalize(embeddings.float()), F.normalize(self.directions.float()))  # [B, K]
        loss_sum = F.cross_entropy(margin_logits(cosines, speakers, self._margin) * self._scale, speakers, reduction="sum")
        num_correct = (cosines.argmax(dim=-1) == speakers).sum()
        num_crops = torch.tensor(len(speakers), device=cosines.device)
        return LossOutput(loss_sum, num_crops, num_correct, torch.zeros_like(num_correct))


def margin_logits(cosines: Tensor, speakers: Tensor, margin: float) -> Tensor:
    """The cosines [B, K], each row's own one replaced by that of an angle `margin` wider, at most pi."""
    own = cosines.gather(1, speakers[:, None])
    angles = own.clamp(-1.0 + _ROUNDING, 1.0 - _ROUNDING).acos()
    return cosines.scatter(1, speakers[:, None], (angles + margin).clamp(max=math.pi).cos())
