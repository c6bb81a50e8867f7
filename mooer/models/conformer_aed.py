"""A Conformer trained with CTC, an attention decoder and, where it has experts, what keeps their routers sharp and fair.

The losses are 3M-ASR's (You et al. 2022).

Shapes: B batch, T frames, U encoder frames, L target tokens, V vocabulary.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mooer.common.errors import ConfigError
from mooer.models.attention_loss import AttentionLoss
from mooer.models.conformer_encoder import ConformerEncoder, Encoded
from mooer.models.ctc_model import greedy_matches, shortest_alignment
from mooer.models.frozen import keep_frozen_in_eval
from mooer.models.losses import LossOutput
from mooer.models.transformer_decoder import BidirectionalDecoder, TransformerDecoder
from mooer.nn.moe import Routing, importance_loss, sparsity_loss


@dataclass(frozen=True, kw_only=True)
class ConformerLosses:
    """The section `losses`: what is added up, and how much of it. The defaults are those of 3M-ASR."""

    ctc_weight: float = 0.3
    """Share of CTC; the attention decoder has the rest. Without a decoder CTC has all."""
    label_smoothing: float = 0.1
    """Share of the probability that is spread over the wrong tokens, in the decoder's loss."""
    reverse_weight: float = 0.0
    """Share of the decoder that reads from right to left in the decoder's loss."""
    normalize_by_length: bool = False
    """Divide the decoder's loss by a batch's tokens, where CTC's is divided by its utterances, instead of by those too."""
    embedding_ctc_weight: float = 0.01
    """Weight of the embedding network's own CTC."""
    sparsity_weight: float = 0.15
    """Weight of each block's sparsity_loss: routers shall be sure."""
    importance_weight: float = 0.15
    """Weight of each block's importance_loss: all experts shall be used."""

    def __post_init__(self) -> None:
        for name in ("label_smoothing", "reverse_weight"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name} must lie in [0, 1), found {getattr(self, name)}")
        if not 0.0 <= self.ctc_weight <= 1.0:
            raise ConfigError(f"ctc_weight must lie in [0, 1], found {self.ctc_weight}")
        for name in ("embedding_ctc_weight", "sparsity_weight", "importance_weight"):
            if getattr(self, name) < 0.0:
                raise ConfigError(f"{name} must not be negative, found {getattr(self, name)}")


class LossTerms(NamedTuple):
    """What is added up, each a float32 scalar unless it says more; zero where the model has no such part."""

    ctc: Tensor
    """Summed over the utterances."""
    attention: Tensor
    """Summed over the tokens, the end of each sentence included."""
    embedding_ctc: Tensor
    """Summed over the utterances."""
    sparsity: Tensor
    """[blocks], means over frames."""
    importance: Tensor
    """[blocks]."""


class ConformerAed(nn.Module):
    """Encoder with CTC layer, and attention decoder. Parts that are frozen stay in eval mode.

    Args:
        encoder: with an out_linear, as its embedding network if it has one.
        decoder: None for a model with CTC alone.
        blank_id: of CTC.
        boundary_id: the token that stands before a sentence and ends it; None for the last of the vocabulary.
    """

    def __init__(
        self,
        encoder: ConformerEncoder,
        decoder: TransformerDecoder | BidirectionalDecoder | None,
        losses: ConformerLosses,
        blank_id: int = 0,
        boundary_id: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.blank_id = blank_id
        self.boundary_id = encoder.out_linear.out_features - 1 if boundary_id is None else boundary_id
        self._weights = losses
        self._attention_loss = AttentionLoss(
            boundary_id=self.boundary_id, smoothing=losses.label_smoothing, reverse_weight=losses.reverse_weight
        )

    def train(self, mode: bool = True) -> "ConformerAed":
        """Switch to training (or, with False, to eval) mode, except for the parts that are frozen."""
        super().train(mode)
        keep_frozen_in_eval(self)
        return self

    def log_probs(self, frames: Tensor, frame_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T, features] -> CTC's log probabilities [B, U, V] in float32, and their lengths [B]."""
        encoded = self.encoder.encode(frames, frame_lengths)
        return self.encoder.ctc_log_probs(encoded.hidden), encoded.lengths

    def forward(self, frames: Tensor, frame_lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> LossOutput:
        """The losses of a padded batch, times its utterances: divided by B, it is the reference's total.

        Args:
            frames: [B, T, features].
            frame_lengths: [B].
            targets: [B, L], without start and end, padded with any token.
            target_lengths: [B].

        Tokens are counted with the end of each sentence where there is a decoder. An utterance too short for CTC counts in
        num_infinite, and CTC leaves it out.
        """
        encoded = self.encoder.encode(frames, frame_lengths)
        terms, attention = self.terms(encoded, targets, target_lengths)
        loss_sum = self.total(terms, len(targets), attention.num_tokens)
        infinite = (shortest_alignment(targets, target_lengths) > encoded.lengths.to(targets.device)).sum()
        return attention._replace(loss_sum=loss_sum, num_infinite=infinite)

    def terms(self, encoded: Encoded, targets: Tensor, target_lengths: Tensor) -> tuple[LossTerms, LossOutput]:
        """The losses apart, and the decoder's with its counts; without a decoder, the counts of CTC's best guess."""
        log_probs = self.encoder.ctc_log_probs(encoded.hidden)
        nothing = log_probs.new_zeros(())
        ctc = self._ctc_loss(log_probs, encoded.lengths, targets, target_lengths)
        if self.decoder is None:
            correct = greedy_matches(log_probs.detach(), encoded.lengths, targets, target_lengths, self.blank_id)
            attention = LossOutput(nothing, target_lengths.sum(), correct, torch.zeros_like(correct))
        else:
            attention = self._attention_loss(self.decoder, encoded.hidden, encoded.lengths, targets, target_lengths)
        embedding_ctc = nothing
        if encoded.embedding is not None and self._weights.embedding_ctc_weight:
            of_embedding = self.encoder.embed.ctc_log_probs(encoded.embedding)
            embedding_ctc = self._ctc_loss(of_embedding, encoded.lengths, targets, target_lengths)
        return LossTerms(ctc, attention.loss_sum, embedding_ctc, *_router_losses(encoded.routings, nothing)), attention

    def total(self, terms: LossTerms, num_utterances: int, num_tokens: Tensor) -> Tensor:
        """The weighted sum of the terms, times the utterances."""
        weights = self._weights
        attention = terms.attention
        if weights.normalize_by_length:
            attention = attention * num_utterances / num_tokens.clamp(min=1)
        ctc_weight = 1.0 if self.decoder is None else weights.ctc_weight
        routers = weights.sparsity_weight * terms.sparsity.sum() + weights.importance_weight * terms.importance.sum()
        tokens = ctc_weight * terms.ctc + (1.0 - ctc_weight) * attention
        return tokens + weights.embedding_ctc_weight * terms.embedding_ctc + num_utterances * routers

    def _ctc_loss(self, log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """[B, U, V] -> the sum over the utterances that can be aligned."""
        rows = log_probs.transpose(0, 1)
        return F.ctc_loss(rows, targets, lengths, target_lengths, self.blank_id, reduction="sum", zero_infinity=True)


def _router_losses(routings: tuple[Routing, ...], nothing: Tensor) -> tuple[Tensor, Tensor]:
    """Sparsity and importance of each block, [blocks] each."""
    if not routings:
        return nothing[None], nothing[None]
    sparsity = torch.stack([sparsity_loss(routing.probabilities) for routing in routings])
    return sparsity, torch.stack([importance_loss(routing.probabilities, routing.mean) for routing in routings])
