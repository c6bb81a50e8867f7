"""The Conformer encoder (Gulati et al. 2020) of 3M-ASR, dense or with a mixture of experts (You et al. 2022).

Shapes: B batch, T frames of the front end, U encoder frames, F features, D width, M width of the embedding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mooer.common.errors import ConfigError
from mooer.common.lengths import CONV2D_WINDOW
from mooer.models.conformer_block import ConformerBlock, InputPositions, Seen
from mooer.models.frozen import keep_frozen_in_eval
from mooer.nn.convolution import ConformerConvolution, FrameBatchNorm
from mooer.nn.feed_forward import FeedForward
from mooer.nn.masks import Chunks, chunk_mask, padding_mask, zero_padding
from mooer.nn.moe import Routing
from mooer.nn.norm import LayerNorm
from mooer.nn.relative_attention import RelativeSelfAttention
from mooer.nn.subsampling import Conv2dSubsampling, LinearInput

# In training with chunks, half of the batches see everything, the others chunks of up to this many frames.
MAX_RANDOM_CHUNK = 25
# Of the layer norm in the convolution module; the others have 1e-12.
CONVOLUTION_EPSILON = 1e-5


@dataclass(frozen=True, kw_only=True)
class ConformerEncoderConfig:
    """Sizes and habits of a Conformer encoder; the defaults are those of 3M-ASR's base model."""

    input_size: int = 80
    """Features of a frame: mel bins of 10 ms for conv2d, num_mel_bins times lfr_m for linear."""
    input_layer: Literal["conv2d", "linear"] = "conv2d"
    """conv2d: convolutions make one frame of four. linear: each frame by itself, for stacked ones (lfr_m, lfr_n)."""
    output_size: int = 512
    """Width of the blocks."""
    attention_heads: int = 8
    """Heads of the self-attention; must divide output_size. Not visible in a checkpoint without positions."""
    linear_units: int = 2048
    """Hidden width of the feed-forward parts, and of each expert."""
    num_blocks: int = 12
    """Blocks."""
    kernel_size: int = 15
    """Encoder frames that the convolution spans; odd, so that it is centred, unless it is causal."""
    positions: Literal["relative", "absolute", "none"] = "relative"
    """What tells the order: scores of their own in the attention; the same, and added to the frames; the convolution alone."""
    convolution_norm: Literal["layer_norm", "batch_norm"] = "layer_norm"
    """Norm in the convolution module."""
    causal: bool = False
    """Whether the convolution sees only what was before, as recognition of a stream needs."""
    random_chunks: bool = False
    """Whether training draws for each batch how far the attention sees, so that the model recognises streams too."""
    random_left_chunks: bool = False
    """With random_chunks: whether it is also drawn how far back."""
    chunk_size: int = 0
    """Encoder frames of the chunk that the attention sees to the end of, in training and after; 0 for everything."""
    left_chunks: int = -1
    """With chunk_size: how many chunks before it are seen; -1 for all."""
    dropout: float = 0.1
    """Dropout rate in training."""
    positional_dropout: float = 0.1
    """Dropout rate of the positions and of what the first block reads."""
    attention_dropout: float = 0.0
    """Dropout rate of the attention's weights."""
    reference_padding: bool = False
    """Let padding be seen, routed and counted as the reference implementation does, so that an utterance's result depends
    on the batch, and on the batches of other processes with experts; only to compare with its numbers."""

    def __post_init__(self) -> None:
        for name in ("output_size", "attention_heads", "linear_units", "num_blocks", "kernel_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"encoder {name} must be at least 1, found {getattr(self, name)}")
        smallest = CONV2D_WINDOW if self.input_layer == "conv2d" else 1
        if self.input_size < smallest:
            raise ConfigError(
                f"input_size must be at least {smallest} for input_layer {self.input_layer}, found {self.input_size}"
            )
        if self.output_size % self.attention_heads or self.output_size % 2:
            raise ConfigError(
                f"output_size must be even and a multiple of attention_heads ({self.attention_heads}), found {self.output_size}"
            )
        if self.kernel_size % 2 == 0 and not self.causal:
            raise ConfigError(f"kernel_size must be odd unless causal is true, found {self.kernel_size}")
        if self.chunk_size < 0 or self.left_chunks < -1:
            raise ConfigError(f"chunk_size must be at least 0, left_chunks -1; found {self.chunk_size} and {self.left_chunks}")
        if self.chunk_size and self.random_chunks:
            raise ConfigError("chunk_size sets one size of chunks, random_chunks draws it; choose one of them")
        for name in ("dropout", "positional_dropout", "attention_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name} must be in [0, 1), found {getattr(self, name)}")


class Encoded(NamedTuple):
    """What an encoder makes of a batch."""

    hidden: Tensor
    """[B, U, D], zeros in the padding."""
    lengths: Tensor
    """[B], real frames of each row."""
    embedding: Tensor | None = None
    """[B, U, M], the embedding network's output; None without experts."""
    routings: tuple[Routing, ...] = ()
    """How each block's frames were routed; empty without experts."""


class ChunkHabits(NamedTuple):
    """How far the attention sees where the caller does not say."""

    fixed: Chunks | None = None
    """Always these."""
    random: bool = False
    """In training, others for each batch."""
    random_left: bool = False
    """Draw how far back, too."""

    def draw(self, length: int, training: bool) -> Chunks | None:
        """The chunks for a batch of `length` frames; None for everything. Draws from torch's generator."""
        if not (self.random and training):
            return self.fixed
        if torch.rand(()) < 0.5:
            return None
        size = int(torch.randint(1, MAX_RANDOM_CHUNK + 1, ()))
        left = int(torch.randint(0, max(1, -(-length // size)), ())) if self.random_left else -1
        return Chunks(size, left)


class ConformerEncoder(nn.Module):
    """Subsampling and Conformer blocks; with experts in them, also the network whose output the routers read.

    Parameter names are 3M-ASR's: subsampling.*, blocks.*, after_norm.*, out_linear.* (the CTC layer), embed.*.

    Args:
        out_linear: from D to the vocabulary; None for an encoder that is used without CTC.
        embed: a dense encoder; None if the blocks have no experts.
    """

    def __init__(
        self,
        subsampling: Conv2dSubsampling | LinearInput,
        positions: InputPositions,
        blocks: Sequence[ConformerBlock],
        out_linear: nn.Linear | None = None,
        embed: "ConformerEncoder | None" = None,
        chunk_habits: ChunkHabits = ChunkHabits(),  # noqa: B008 (a tuple)
        reference_padding: bool = False,
    ) -> None:
        super().__init__()
        self.subsampling = subsampling
        self.positions = positions
        self.embed = embed
        self.blocks = nn.ModuleList(blocks)
        self.after_norm = LayerNorm(positions.width)
        self.out_linear = out_linear
        self.output_size = positions.width
        self.frontend = subsampling.frontend
        self._chunk_habits = chunk_habits
        self._reference_padding = reference_padding

    def train(self, mode: bool = True) -> "ConformerEncoder":
        """Switch to training (or, with False, to eval) mode; a frozen embedding network stays in eval mode."""
        super().train(mode)
        keep_frozen_in_eval(self)
        return self

    def forward(self, frames: Tensor, frame_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a padded batch.

        Args:
            frames: [B, T, F], features after CMVN; what stands in the padding does not matter.
            frame_lengths: [B], real frames of each row.

        Returns:
            [B, U, D] with zeros in the padding, and the lengths [B]: of convolutions conv2d_frames of each, 0 below 7 frames.
        """
        encoded = self.encode(frames, frame_lengths)
        return encoded.hidden, encoded.lengths

    def encode(self, frames: Tensor, frame_lengths: Tensor, chunks: Chunks | None = None) -> Encoded:
        """As `forward`, with what the losses of a mixture of experts need.

        Args:
            chunks: how far the attention sees; None for what the encoder is made for.
        """
        if not self._reference_padding:
            frames = zero_padding(frames, padding_mask(frame_lengths.to(frames.device), frames.shape[1]))
        size = max(1, self.subsampling.frames(frames.shape[1]))
        lengths = self._lengths(frame_lengths, size)
        seen = self._seen(lengths.to(frames.device), size, chunks)
        embedding = None
        if self.embed is not None:
            embedding, _ = self.embed.run_blocks(frames, seen)
        hidden, routings = self.run_blocks(frames, seen, embedding)
        return Encoded(hidden, lengths, embedding, routings)

    def run_blocks(self, frames: Tensor, seen: Seen, embedding: Tensor | None = None) -> tuple[Tensor, tuple[Routing, ...]]:
        """Features [B, T, F] -> [B, U, D] with zeros in the padding; routers pass no gradient to the embedding [B, U, M]."""
        hidden, positions = self.positions(self.subsampling(frames))
        routings = []
        for block in self.blocks:
            hidden, routing = block(hidden, positions, seen, None if embedding is None else embedding.detach())
            routings.append(routing)
        hidden = self.after_norm(hidden)
        if seen.mask is not None and not self._reference_padding:
            hidden = zero_padding(hidden, seen.mask)
        return hidden, () if embedding is None else tuple(routings)

    def ctc_log_probs(self, hidden: Tensor) -> Tensor:
        """[B, U, D] -> log probabilities of the vocabulary [B, U, V], in float32."""
        return self.out_linear(hidden).float().log_softmax(dim=-1)

    def _lengths(self, frame_lengths: Tensor, size: int) -> Tensor:
        """Encoder frames of each row. The reference counts one as soon as its first feature frame is real."""
        if self._reference_padding:
            return (-(-frame_lengths // self.subsampling.shift)).clamp(max=size)
        return frame_lengths.new_tensor([self.subsampling.frames(length) for length in frame_lengths.tolist()])

    def _seen(self, lengths: Tensor, size: int, chunks: Chunks | None) -> Seen:
        mask = padding_mask(lengths, size) if bool((lengths < size).any()) else None
        visible = None if mask is None else mask[:, None, :]
        chunks = chunks or self._chunk_habits.draw(size, self.training)
        if chunks is not None:
            near = chunk_mask(size, chunks, lengths.device)[None]
            visible = near if visible is None else visible & near
        return Seen(mask, visible, None if self._reference_padding else mask)


def build_conformer_encoder(config: ConformerEncoderConfig, vocab_size: int | None = None) -> ConformerEncoder:
    """A dense encoder with random weights.

    Args:
        vocab_size: of the CTC layer; None for none.
    """
    feed_forward = partial(FeedForward, config.output_size, config.linear_units, config.dropout, F.silu)
    return assemble_encoder(config, lambda: (feed_forward(), feed_forward()), vocab_size)


def assemble_encoder(
    config: ConformerEncoderConfig,
    feed_forwards: Callable[[], tuple[nn.Module, nn.Module]],
    vocab_size: int | None,
    embed: ConformerEncoder | None = None,
) -> ConformerEncoder:
    """An encoder whose blocks get the feed-forward parts that `feed_forwards` makes: the one before and the one after."""
    width = config.output_size
    blocks = [
        ConformerBlock(width, *_attention_parts(config), feed_forwards(), config.dropout) for _ in range(config.num_blocks)
    ]
    fixed = Chunks(config.chunk_size, config.left_chunks) if config.chunk_size else None
    return ConformerEncoder(
        _input_layer(config),
        InputPositions(width, config.positional_dropout, config.positions),
        blocks,
        None if vocab_size is None else nn.Linear(width, vocab_size),
        embed,
        ChunkHabits(fixed, config.random_chunks, config.random_left_chunks),
        config.reference_padding,
    )


def _input_layer(config: ConformerEncoderConfig) -> Conv2dSubsampling | LinearInput:
    if config.input_layer == "linear":
        return LinearInput(config.input_size, config.output_size, config.dropout)
    return Conv2dSubsampling(config.input_size, config.output_size)


def _attention_parts(config: ConformerEncoderConfig) -> tuple[RelativeSelfAttention, ConformerConvolution]:
    width = config.output_size
    norm = FrameBatchNorm(width) if config.convolution_norm == "batch_norm" else LayerNorm(width, CONVOLUTION_EPSILON)
    has_positions = config.positions != "none"
    return (
        RelativeSelfAttention(width, config.attention_heads, config.attention_dropout, has_positions),
        ConformerConvolution(width, config.kernel_size, norm, config.causal, config.reference_padding),
    )
