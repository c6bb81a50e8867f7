"""Paraformer (Gao et al. 2022): all tokens of an utterance at once, as many as the predictor finds.

Shapes: B batch, T frames (of 60 ms), U upsampled frames, L tokens, D width, V vocabulary, H heads.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from mooer.models.cif import CifPredictor, TokenTimes
from mooer.nn.attention import fsmn_memory
from mooer.nn.dropout import UtteranceDropout
from mooer.nn.masks import key_mask, padding_mask, zero_padding
from mooer.nn.norm import LayerNorm


class NormalisedFeedForward(nn.Module):
    """Linear, ReLU, dropout, normalisation of the hidden values, linear without bias."""

    def __init__(self, width: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.w_1 = nn.Linear(width, hidden_size)
        self.norm = LayerNorm(hidden_size)
        self.w_2 = nn.Linear(hidden_size, width, bias=False)
        self.dropout = UtteranceDropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        return self.w_2(self.norm(self.dropout(self.w_1(tokens).relu_())))


class TokenMemory(nn.Module):
    """The FSMN memory of the tokens, which stands in the place of self-attention."""

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        self.fsmn_block = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2, groups=width, bias=False)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """[B, L, D] -> [B, L, D]; the mask [B, L] is True on real tokens, None if all are."""
        return fsmn_memory(tokens, self.fsmn_block, mask)


class CrossAttention(nn.Module):
    """Multi-head attention of the tokens to the encoder's frames."""

    def __init__(self, width: int, encoder_size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q = nn.Linear(width, width)
        self.linear_k_v = nn.Linear(encoder_size, 2 * width)
        self.linear_out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, encoded: Tensor, keys: Tensor | None) -> Tensor:
        """Tokens [B, L, D] and frames [B, T, encoder_size] -> [B, L, D].

        Args:
            keys: the frames' `key_mask`; None if all are real.
        """
        key, value = self.linear_k_v(encoded).chunk(2, dim=-1)  # [B, T, D] each
        heads = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.linear_q(tokens), key, value))
        context = F.scaled_dot_product_attention(*heads, attn_mask=keys)  # [B, H, L, D / H]
        return self.linear_out(context.transpose(1, 2).flatten(2))


class DecoderBlock(nn.Module):
    """Feed-forward part, memory, cross-attention. The residual goes around the first two together, then around the third."""

    def __init__(self, width: int, encoder_size: int, heads: int, linear_units: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.feed_forward = NormalisedFeedForward(width, linear_units, dropout)
        self.self_attn = TokenMemory(width, kernel_size)
        self.src_attn = CrossAttention(width, encoder_size, heads)
        self.norm1 = LayerNorm(width)
        self.norm2 = LayerNorm(width)
        self.norm3 = LayerNorm(width)
        self.dropout = UtteranceDropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None, encoded: Tensor, keys: Tensor | None) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        remembered = self.self_attn(self.norm2(self.feed_forward(self.norm1(tokens))), mask)
        tokens = tokens + self.dropout(remembered)
        return tokens + self.dropout(self.src_attn(self.norm3(tokens), encoded, keys))


class LastBlock(nn.Module):
    """A feed-forward part without residual."""

    def __init__(self, width: int, linear_units: int, dropout: float) -> None:
        super().__init__()
        self.feed_forward = NormalisedFeedForward(width, linear_units, dropout)
        self.norm1 = LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        return self.feed_forward(self.norm1(tokens))


class ParaformerDecoder(nn.Module):
    """Acoustic embeddings to logits, all tokens at once.

    Parameter names are the Paraformer's: embed, decoders.*, decoders3.0.*, after_norm, output_layer. The embedding of the
    vocabulary and the dropout are for training alone.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int,
        attention_heads: int,
        linear_units: int,
        num_blocks: int,
        kernel_size: int = 11,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Embedding(vocab_size, width))
        self.decoders = nn.ModuleList(
            DecoderBlock(width, width, attention_heads, linear_units, kernel_size, dropout) for _ in range(num_blocks)
        )
        self.decoders3 = nn.ModuleList([LastBlock(width, linear_units, dropout)])
        self.after_norm = LayerNorm(width)
        self.output_layer = nn.Linear(width, vocab_size)

    def forward(self, tokens: Tensor, counts: Tensor, encoded: Tensor, lengths: Tensor) -> Tensor:
        """Logits [B, L, V] of the embeddings [B, L, D] of `counts` [B] tokens, over frames [B, T, D] of `lengths` [B].

        Those of real tokens depend on real tokens and frames only.
        """
        mask = _mask_of(counts, tokens)
        frame_mask = _mask_of(lengths, encoded)
        keys = None if frame_mask is None else key_mask(frame_mask)
        hidden = tokens if mask is None else zero_padding(tokens, mask)
        for block in self.decoders:
            hidden = block(hidden, mask, encoded, keys)
        for block in self.decoders3:
            hidden = block(hidden)
        return self.output_layer(self.after_norm(hidden))


def _mask_of(lengths: Tensor, padded: Tensor) -> Tensor | None:
    mask = padding_mask(lengths, padded.shape[1])
    return None if bool(mask.all()) else mask


@dataclass(frozen=True)
class ParaformerOutput:
    """What Paraformer makes of a batch."""

    logits: Tensor
    """[B, L, V]."""
    counts: Tensor
    """[B], real tokens of each row; may be 0."""
    weights: Tensor
    """[B, T + 1] float32, the predictor's weights, the tail's at the column of each row's length."""
    time_weights: Tensor | None
    """[B, U] float32, the weights of the second predictor; None in a model without timestamps, or if not asked for."""
    encoded: Tensor
    """[B, T, D], what the encoder made of the frames."""
    lengths: Tensor
    """[B], real frames of each row."""


class CtcLayer(nn.Module):
    """The CTC layer that some Paraformers are trained with. Its parameter's name is the published one: ctc_lo."""

    def __init__(self, width: int, vocab_size: int) -> None:
        super().__init__()
        self.ctc_lo = nn.Linear(width, vocab_size)

    def forward(self, encoded: Tensor) -> Tensor:
        """Log probabilities [B, T, V] in float32 of encoded frames [B, T, D]."""
        return self.ctc_lo(encoded).float().log_softmax(dim=-1)


class Paraformer(nn.Module):
    """Encoder, predictor and decoder; with `token_times`, the model with timestamps (BiCif); perhaps with a CTC layer."""

    def __init__(
        self,
        encoder: nn.Module,
        predictor: CifPredictor,
        decoder: ParaformerDecoder,
        token_times: TokenTimes | None = None,
        ctc: CtcLayer | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictor = predictor
        self.decoder = decoder
        self.token_times = token_times
        self.ctc = ctc

    def forward(self, frames: Tensor, frame_lengths: Tensor, has_times: bool = True) -> ParaformerOutput:
        """Frames [B, T, features] of `frame_lengths` [B] to logits; an utterance's are the same in any batch.

        Without `has_times` the weights that tell times are left out.
        """
        encoded, lengths = self.encoder(frames, frame_lengths)
        embeddings, counts, weights = self.predictor(encoded, lengths)
        times = None if self.token_times is None or not has_times else self.token_times(encoded, lengths, counts)
        if embeddings.shape[1] == 0:
            logits = encoded.new_zeros(len(encoded), 0, self.decoder.output_layer.out_features)
        else:
            logits = self.decoder(embeddings, counts, encoded, lengths)
        return ParaformerOutput(logits, counts, weights, times, encoded, lengths)
