"""A decoder of transformer blocks (Vaswani et al. 2017) over an encoder's frames, in the layout of WeNet's and 3M-ASR's models:
which token comes next, or, read from right to left, which one came before.

Shapes: B utterances, K answers of each, T frames, L tokens, D width, H heads, V vocabulary.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mooer.common.errors import ConfigError
from mooer.models.transformer_lm import FeedForward
from mooer.nn.masks import key_mask, padding_mask
from mooer.nn.norm import LayerNorm
from mooer.nn.positions import interleaved_sinusoids

UNUSED_PART = "concat_linear"
"""In the names of tensors that published checkpoints hold, and that nothing was ever computed with."""


@dataclass(frozen=True, kw_only=True)
class TransformerDecoderConfig:
    """Sizes, by their published names."""

    attention_heads: int = 8
    """Heads of each attention; must divide the width."""
    linear_units: int = 2048
    """Hidden width of the feed-forward parts."""
    num_blocks: int = 6
    """Blocks that read from left to right."""
    r_num_blocks: int = 0
    """Blocks of a second decoder, which reads from right to left; 0 for none."""
    dropout_rate: float = 0.1
    """Dropout rate in training, after each part of a block and inside the feed-forward ones."""
    positional_dropout_rate: float = 0.1
    """The same of the embeddings with their positions."""
    self_attention_dropout_rate: float = 0.0
    """The same of the weights of the attention to tokens."""
    src_attention_dropout_rate: float = 0.0
    """The same of the weights of the attention to frames."""

    def __post_init__(self) -> None:
        for name in ("attention_heads", "linear_units", "num_blocks"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.r_num_blocks < 0:
            raise ConfigError(f"r_num_blocks must not be negative, found {self.r_num_blocks}")
        for name in ("dropout_rate", "positional_dropout_rate", "self_attention_dropout_rate", "src_attention_dropout_rate"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name} must lie in [0, 1), found {getattr(self, name)}")


class KeysValues(NamedTuple):
    """What an attention looks at."""

    keys: Tensor
    """[B, H, T, D / H]."""
    values: Tensor
    """[B, H, T, D / H]."""

    def of(self, rows: Tensor) -> "KeysValues":
        """Those of some of the rows."""
        return KeysValues(self.keys[rows], self.values[rows])


Cache = tuple[KeysValues, ...]
"""The tokens so far, as each block's attention sees them: [B * K, H, L, D / H]."""


@dataclass(frozen=True)
class Memory:
    """The frames, as each block's attention sees them; made once for all tokens and answers of an utterance."""

    blocks: tuple[KeysValues, ...]
    mask: Tensor
    """[B, 1, 1, T] bool, True on real frames."""

    def __len__(self) -> int:
        return len(self.mask)

    def of(self, rows: Tensor) -> "Memory":
        """That of some of the utterances."""
        return Memory(tuple(block.of(rows) for block in self.blocks), self.mask[rows])


class Attention(nn.Module):
    """Multi-head attention of one sequence to another, or to itself. Parameter names are the published ones."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)

    def look_at(self, sequence: Tensor) -> KeysValues:
        """The keys and values of a sequence [B, T, D]."""
        return KeysValues(self._split_heads(self.linear_k(sequence)), self._split_heads(self.linear_v(sequence)))

    def forward(self, hidden: Tensor, seen: KeysValues, mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """[B, L, D] -> [B, L, D]: what each place finds where the mask is True, or up to its own place."""
        context = F.scaled_dot_product_attention(
            self._split_heads(self.linear_q(hidden)),
            *seen,
            attn_mask=mask,
            is_causal=is_causal,
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.linear_out(context.transpose(1, 2).flatten(2))

    def _split_heads(self, projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class DecoderBlock(nn.Module):
    """Attention to tokens, attention to frames, feed-forward part; each with its norm before and a residual around."""

    def __init__(self, width: int, config: TransformerDecoderConfig) -> None:
        super().__init__()
        self.self_attn = Attention(width, config.attention_heads, config.self_attention_dropout_rate)
        self.src_attn = Attention(width, config.attention_heads, config.src_attention_dropout_rate)
        self.feed_forward = FeedForward(width, config.linear_units, config.dropout_rate)
        self.norm1 = LayerNorm(width)
        self.norm2 = LayerNorm(width)
        self.norm3 = LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(
        self, hidden: Tensor, frames: KeysValues, mask: Tensor, past: KeysValues | None = None
    ) -> tuple[Tensor, KeysValues]:
        """Tokens [B * K, L, D] -> [B * K, L, D], and all tokens as the attention saw them.

        Args:
            frames: of B utterances, with their mask [B, 1, 1, T].
            past: the tokens before a single one; None where the tokens are all that there are.
        """
        normed = self.norm1(hidden)
        seen = self.self_attn.look_at(normed)
        if past is not None:
            seen = KeysValues(*(torch.cat(pair, dim=2) for pair in zip(past, seen, strict=True)))
        hidden = hidden + self.dropout(self.self_attn(normed, seen, is_causal=past is None))
        normed = self.norm2(hidden).unflatten(0, (len(mask), -1)).flatten(1, 2)  # [B, K * L, D]
        found = self.src_attn(normed, frames, mask).view_as(hidden)
        hidden = hidden + self.dropout(found)
        return hidden + self.dropout(self.feed_forward(self.norm3(hidden))), seen


class TransformerDecoder(nn.Module):
    """Reads from one end to the other.

    Parameter names are the published ones: embed.0, decoders.*, after_norm, output_layer.
    """

    def __init__(self, config: TransformerDecoderConfig, num_blocks: int, vocab_size: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Embedding(vocab_size, width))
        self.position_dropout = nn.Dropout(config.positional_dropout_rate)
        self.decoders = nn.ModuleList(DecoderBlock(width, config) for _ in range(num_blocks))
        self.after_norm = LayerNorm(width)
        self.output_layer = nn.Linear(width, vocab_size)

    @property
    def left_decoder(self) -> "TransformerDecoder":
        """Itself: what reads from left to right."""
        return self

    @property
    def right_decoder(self) -> None:
        """There is none."""

    def remember(self, encoded: Tensor, lengths: Tensor) -> Memory:
        """The frames [B, T, D] of `lengths` [B], which other methods take. An utterance without frames sees its first one."""
        blocks = tuple(block.src_attn.look_at(encoded) for block in self.decoders)
        return Memory(blocks, key_mask(padding_mask(lengths, encoded.shape[1])))

    def forward(self, tokens: Tensor, memory: Memory) -> Tensor:
        """Logits [B * K, L, V] of what follows each of the tokens [B * K, L], of which the first is the start of a sentence.

        Rows may be padded on the right with any token: no token sees a later one. An answer's logits are the same in any batch.
        """
        hidden = self._embedded(tokens, 0)
        for block, frames in zip(self.decoders, memory.blocks, strict=True):
            hidden, _ = block(hidden, frames, memory.mask)
        return self.output_layer(self.after_norm(hidden))

    def start(self, memory: Memory, num_answers: int = 1) -> Cache:
        """The cache of answers without tokens, `num_answers` of each utterance."""
        return tuple(
            KeysValues(*(part.new_empty(len(memory) * num_answers, part.shape[1], 0, part.shape[3]) for part in block))
            for block in memory.blocks
        )

    def step(self, tokens: Tensor, memory: Memory, cache: Cache) -> tuple[Tensor, Cache]:
        """Log probabilities [B * K, V] in float32 of what follows the tokens [B * K] and those of the cache before them.

        Returns them with the cache of all these tokens.
        """
        hidden = self._embedded(tokens[:, None], cache[0].keys.shape[2])
        grown = []
        for block, frames, past in zip(self.decoders, memory.blocks, cache, strict=True):
            hidden, seen = block(hidden, frames, memory.mask, past)
            grown.append(seen)
        logits = self.output_layer(self.after_norm(hidden[:, 0]))
        return logits.float().log_softmax(dim=-1), tuple(grown)

    def _embedded(self, tokens: Tensor, first: int) -> Tensor:
        """Tokens [B * K, L] from place `first` on -> [B * K, L, D]."""
        embedded = self.embed(tokens)
        width = embedded.shape[2]
        places = torch.arange(first, first + tokens.shape[1], device=tokens.device)
        return self.position_dropout(embedded * math.sqrt(width) + interleaved_sinusoids(places, width))


class BidirectionalDecoder(nn.Module):
    """A decoder that reads from left to right and one that reads from right to left, each with weights of its own."""

    def __init__(self, config: TransformerDecoderConfig, vocab_size: int, width: int) -> None:
        super().__init__()
        self.left_decoder = TransformerDecoder(config, config.num_blocks, vocab_size, width)
        self.right_decoder = TransformerDecoder(config, config.r_num_blocks, vocab_size, width)


def build_decoder(config: TransformerDecoderConfig, vocab_size: int, width: int) -> TransformerDecoder | BidirectionalDecoder:
    """The decoder of the sizes, for frames of the same width as its own.

    Raises:
        ConfigError: the heads do not divide the width, or it is odd.
    """
    if width % config.attention_heads or width % 2:
        raise ConfigError(
            f"the decoder's width must be even and a multiple of its {config.attention_heads} heads, found {width}"
        )
    if config.r_num_blocks:
        return BidirectionalDecoder(config, vocab_size, width)
    return TransformerDecoder(config, config.num_blocks, vocab_size, width)
