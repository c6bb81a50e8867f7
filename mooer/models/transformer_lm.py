"""A language model of transformer blocks, in the layout of ESPnet's and FunASR's TransformerLM.

Shapes: B batch, L tokens, V vocabulary, D width, H heads, N tokens that are computed together, each after a prefix of its own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mooer.common.errors import ConfigError
from mooer.models.losses import LossOutput, token_loss
from mooer.nn.masks import padding_mask
from mooer.nn.norm import LayerNorm
from mooer.nn.positions import interleaved_sinusoids

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""Number of the block, queries, keys, values -> context, all [..., D]."""


@dataclass(frozen=True, kw_only=True)
class TransformerLmConfig:
    """Sizes, by their published names."""

    family: Literal["transformer_lm"] = "transformer_lm"
    """A language model."""
    pos_enc: Literal["sinusoidal"] | None = "sinusoidal"
    """Position encoding. None has none: what comes before is seen, its order only by what it does to the attention."""
    embed_unit: int = 128
    """Width of a token's embedding."""
    att_unit: int = 512
    """Width of the blocks."""
    head: int = 8
    """Heads of the attention; must divide att_unit."""
    unit: int = 2048
    """Hidden width of the feed-forward parts."""
    layer: int = 16
    """Blocks."""
    dropout_rate: float = 0.1
    """Dropout rate in training."""

    def __post_init__(self) -> None:
        for name in ("embed_unit", "att_unit", "head", "unit", "layer"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.att_unit % self.head or self.att_unit % 2:
            raise ConfigError(f"att_unit must be even and a multiple of head ({self.head}), found {self.att_unit}")
        if not 0.0 <= self.dropout_rate < 1.0:
            raise ConfigError(f"dropout_rate must be in [0, 1), found {self.dropout_rate}")


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """Ids with a meaning of their own."""

    blank: int = 0
    """Stands for nothing: no token sees it."""
    start: int = 1
    """What stands before a sentence."""
    end: int = 2
    """What ends a sentence."""


class SelfAttention(nn.Module):
    """Projections of multi-head attention; what sees what says the caller."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)

    def forward(self, hidden: Tensor, number: int, attend: Attend) -> Tensor:
        """[..., D] -> [..., D]."""
        return self.linear_out(attend(number, self.linear_q(hidden), self.linear_k(hidden), self.linear_v(hidden)))


class FeedForward(nn.Module):
    """Linear, ReLU, dropout, linear."""

    def __init__(self, width: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.w_1 = nn.Linear(width, hidden_size)
        self.w_2 = nn.Linear(hidden_size, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        return self.w_2(self.dropout(self.w_1(hidden).relu()))


class Block(nn.Module):
    """Attention and feed-forward, each with its norm before and a residual around."""

    def __init__(self, width: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = SelfAttention(width)
        self.feed_forward = FeedForward(width, hidden_size, dropout)
        self.norm1 = LayerNorm(width)
        self.norm2 = LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, number: int, attend: Attend) -> Tensor:
        """[..., D] -> [..., D]."""
        hidden = hidden + self.dropout(self.self_attn(self.norm1(hidden), number, attend))
        return hidden + self.dropout(self.feed_forward(self.norm2(hidden)))


class Encoder(nn.Module):
    """The input layer and the blocks."""

    def __init__(self, config: TransformerLmConfig) -> None:
        super().__init__()
        width, dropout = config.att_unit, config.dropout_rate
        self.embed = nn.Sequential(nn.Linear(config.embed_unit, width), nn.LayerNorm(width), nn.Dropout(dropout), nn.ReLU())
        self.encoders = nn.ModuleList(Block(width, config.unit, dropout) for _ in range(config.layer))
        self.after_norm = LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self._has_positions = config.pos_enc is not None

    def forward(self, embedded: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Embeddings [..., E] of tokens at `positions` [...], from 0 -> [..., D]."""
        hidden = self.embed(embedded)
        if self._has_positions:
            width = hidden.shape[-1]
            hidden = self.dropout(hidden * math.sqrt(width) + interleaved_sinusoids(positions, width))
        for number, block in enumerate(self.encoders):
            hidden = block(hidden, number, attend)
        return self.after_norm(hidden)


class TransformerLm(nn.Module):
    """Predicts each token of a sentence, and its end, by the tokens before. Parameter names are the published ones."""

    def __init__(self, config: TransformerLmConfig, vocab_size: int, special: SpecialTokens | None = None) -> None:
        super().__init__()
        self.heads, self.special = config.head, special or SpecialTokens()
        self.embed = nn.Embedding(vocab_size, config.embed_unit)
        self.encoder = Encoder(config)
        self.decoder = nn.Linear(config.att_unit, vocab_size)

    def forward(self, tokens: Tensor, lengths: Tensor) -> LossOutput:
        """The cross entropy of `lengths` [B] tokens [B, L] of each row, and of its end."""
        inputs = F.pad(tokens, (1, 0), value=self.special.start)
        targets = F.pad(tokens, (0, 1)).scatter(1, lengths[:, None], self.special.end)  # [B, L + 1]
        real = padding_mask(lengths + 1, targets.shape[1])
        return token_loss(self.decoder(self._hidden(inputs)[real]), targets[real])

    def logits(self, inputs: Tensor) -> Tensor:
        """What follows each of the tokens [B, L] and those before it: [B, L, V]."""
        return self.decoder(self._hidden(inputs))

    def _hidden(self, inputs: Tensor) -> Tensor:
        length = inputs.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=inputs.device).tril()
        visible = causal & (inputs != self.special.blank)[:, None, :]
        visible[:, :, 0] |= ~visible.any(dim=-1)  # a softmax over nothing is not a number

        def attend(_number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return self.attend(query, key, value, visible[:, None])

        return self.encoder(self.embed(inputs), torch.arange(length, device=inputs.device), attend)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """Multi-head attention of [B, L, D] over keys and values [B, L', D] where the mask [B, 1, L, L'] is True."""
        split = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value))
        return F.scaled_dot_product_attention(*split, attn_mask=mask).transpose(1, 2).flatten(2)
