"""A block of the Conformer (Gulati et al. 2020) of 3M-ASR, and what its first one reads.

Shapes: B batch, U encoder frames, D width, M width of the embedding, K taps of the convolution.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from mooer.nn.convolution import ConformerConvolution
from mooer.nn.dropout import UtteranceDropout
from mooer.nn.moe import Routing
from mooer.nn.norm import LayerNorm
from mooer.nn.positions import interleaved_sinusoids
from mooer.nn.relative_attention import Keys, RelativeSelfAttention


class Seen(NamedTuple):
    """What a block may look at."""

    mask: Tensor | None
    """[B, U] bool, True on real frames; None if all are."""
    visible: Tensor | None
    """[B or 1, 1 or U, U] bool, which keys the attention sees; None for all."""
    routed: Tensor | None
    """[B, U] bool, the frames that experts are for; None for all."""


class Past(NamedTuple):
    """What a block keeps of a stream."""

    keys: Keys
    """Of the frames so far."""
    gated: Tensor
    """[B, K - 1, D], what its convolution over K frames read last."""


class InputPositions(nn.Module):
    """Scales the frames and tells the blocks their positions, from 0."""

    def __init__(self, width: int, dropout: float, kind: Literal["relative", "absolute", "none"]) -> None:
        super().__init__()
        self.width = width
        self.dropout = UtteranceDropout(dropout)
        self._has_table, self._is_added = kind != "none", kind == "absolute"

    def forward(self, frames: Tensor, first: int = 0) -> tuple[Tensor, Tensor | None]:
        """[B, U, D], the first of them at position `first` -> the same in float32, and their sinusoids [U, D] or None."""
        if not self._has_table:
            return self.dropout(frames.float()), None
        positions = torch.arange(first, first + frames.shape[1], device=frames.device)
        table = interleaved_sinusoids(positions, self.width)
        scaled = frames.float() * math.sqrt(self.width)
        return self.dropout(scaled + table if self._is_added else scaled), self.dropout(table[None])[0]


class ConformerBlock(nn.Module):
    """Half a feed-forward part, attention, convolution, the other half, a norm; each part with its norm before.

    Args:
        feed_forward: the second half: a FeedForward, or a MoeFeedForward.
    """

    def __init__(
        self,
        width: int,
        self_attn: RelativeSelfAttention,
        conv_module: ConformerConvolution,
        feed_forwards: tuple[nn.Module, nn.Module],
        dropout: float,
    ) -> None:
        super().__init__()
        self.self_attn = self_attn
        self.conv_module = conv_module
        self.feed_forward_macaron, self.feed_forward = feed_forwards
        self.norm_ff_macaron = LayerNorm(width)
        self.norm_mha = LayerNorm(width)
        self.norm_conv = LayerNorm(width)
        self.norm_ff = LayerNorm(width)
        self.norm_final = LayerNorm(width)
        self.dropout = UtteranceDropout(dropout)

    def forward(
        self, frames: Tensor, positions: Tensor | None, seen: Seen, embedding: Tensor | None = None
    ) -> tuple[Tensor, Routing | None]:
        """[B, U, D] -> [B, U, D], and how the frames were routed where there are experts.

        Args:
            positions: [U, D], the frames' sinusoids.
            embedding: [B, U, M], what the router reads; None without experts.
        """
        frames = self._macaron(frames)
        frames = frames + self.dropout(self.self_attn(self.norm_mha(frames), positions, seen.visible))
        frames = frames + self.dropout(self.conv_module(self.norm_conv(frames), seen.mask))
        return self._second_half(frames, seen.routed, embedding)

    def step(
        self, frames: Tensor, positions: Tensor | None, past: Past | None, embedding: Tensor | None
    ) -> tuple[Tensor, Past]:
        """As `forward`, for the next frames of a stream, which see each other and the past; and the past after them.

        The convolution must be causal.
        """
        frames = self._macaron(frames)
        normed = self.norm_mha(frames)
        keys = self.self_attn.keys(normed, positions).after(None if past is None else past.keys)
        frames = frames + self.dropout(self.self_attn.attend(normed, keys, None))
        gated = self.conv_module.gate(self.norm_conv(frames))
        before = self.conv_module.before(gated) if past is None else past.gated
        gated = torch.cat([before, gated], dim=1)
        frames = frames + self.dropout(self.conv_module.convolve(gated))
        frames, _ = self._second_half(frames, None, embedding)
        return frames, Past(keys, gated[:, gated.shape[1] - before.shape[1] :])

    def _macaron(self, frames: Tensor) -> Tensor:
        return frames + 0.5 * self.dropout(self.feed_forward_macaron(self.norm_ff_macaron(frames)))

    def _second_half(self, frames: Tensor, routed: Tensor | None, embedding: Tensor | None) -> tuple[Tensor, Routing | None]:
        hidden, routing = self.norm_ff(frames), None
        if embedding is None:
            hidden = self.feed_forward(hidden)
        else:
            hidden, routing = self.feed_forward(hidden, embedding, routed)
        return self.norm_final(frames + 0.5 * self.dropout(hidden)), routing
