"""The Conformer encoder with a mixture of experts (3M-ASR; You et al. 2022).

In each block the second feed-forward part is a mixture of experts. Its router reads the frame and an embedding of it, which a
small dense Conformer makes. That one is trained with CTC first, then along with the rest.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import nn

from mooer.common.errors import ConfigError
from mooer.models.conformer_encoder import (
    ConformerEncoder,
    ConformerEncoderConfig,
    assemble_encoder,
    build_conformer_encoder,
)
from mooer.nn.feed_forward import FeedForward
from mooer.nn.moe import Experts, MoeFeedForward


@dataclass(frozen=True, kw_only=True)
class MoeConfig:
    """The mixture of experts; each expert is as wide as a dense feed-forward part (encoder.linear_units)."""

    num_experts: int = 32
    """Experts a block."""
    dropout: float = 0.2
    """Dropout rate inside of the experts, and of the feed-forward part before the attention."""
    capacity_factor: float = -1.0
    """In training an expert takes at most this many times its even share of a batch's frames, the others get zeros; 0 or
    less is no limit. After training there is none."""
    keep_expert_output: bool = False
    """Do not multiply an expert's output by its probability."""
    router_bias: bool = False
    """Whether routers have a bias."""
    random_router: bool = True
    """Begin with random routes. Otherwise all frames begin with the first expert."""

    def __post_init__(self) -> None:
        if self.num_experts < 1:
            raise ConfigError(f"moe.num_experts must be at least 1, found {self.num_experts}")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"moe.dropout must be in [0, 1), found {self.dropout}")


def build_moe_encoder(
    config: ConformerEncoderConfig, moe: MoeConfig, embedding: ConformerEncoderConfig, vocab_size: int | None = None
) -> ConformerEncoder:
    """An encoder with experts and its embedding network, both with random weights.

    Args:
        vocab_size: of the two CTC layers; None for none.
    """

    def feed_forwards() -> tuple[nn.Module, nn.Module]:
        sizes = (config.output_size, config.linear_units, moe.dropout)
        experts = Experts(moe.num_experts, *sizes, moe.capacity_factor, as_one=config.reference_padding)
        router = (embedding.output_size, moe.router_bias, moe.keep_expert_output, moe.random_router)
        return FeedForward(*sizes, F.silu), MoeFeedForward(experts, *router)

    return assemble_encoder(config, feed_forwards, vocab_size, build_conformer_encoder(embedding, vocab_size))
