"""What Paraformer learns by: the right tokens, and how many there are (Gao et al. 2022; with times, Shi et al. 2023).

The decoder sees the tokens' acoustic embeddings, of which some are replaced by the embeddings of the right tokens (glancing):
the more, the more tokens it had wrong without. All losses are sums over target tokens, the end of sequence among them.

Shapes: B batch, T frames, L target tokens, D width, V vocabulary, N target tokens of a batch.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mooer.common.errors import ConfigError
from mooer.models.cif import integrate, scaled
from mooer.models.ctc_model import shortest_alignment
from mooer.models.frozen import gradients_unless_frozen, keep_frozen_in_eval
from mooer.models.losses import LossOutput, smoothed_loss
from mooer.models.paraformer import CtcLayer, Paraformer
from mooer.nn.masks import padding_mask

BLANK_ID = 0


@dataclass(frozen=True, kw_only=True)
class ParaformerLosses:
    """The section `losses`: what is added up, and how much of it. The defaults are those of Paraformer-large."""

    label_smoothing: float = 0.1
    """Share of the probability that is spread over the wrong tokens."""
    sampling_ratio: float = 0.75
    """Of the tokens that were wrong, the share that glancing replaces as many of; 0 replaces none."""
    count_weight: float = 1.0
    """Weight of the difference between the predictor's number of tokens and the right one."""
    times_weight: float = 0.5
    """Weight of the same for the second predictor, on top of count_weight."""
    ctc_weight: float = 0.0
    """Share of CTC in the loss of tokens; over 0, the model gets a CTC layer."""

    def __post_init__(self) -> None:
        for name in ("label_smoothing", "sampling_ratio", "ctc_weight"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name} must lie in [0, 1), found {getattr(self, name)}")
        for name in ("count_weight", "times_weight"):
            if getattr(self, name) < 0.0:
                raise ConfigError(f"{name} must not be negative, found {getattr(self, name)}")


class ParaformerTraining(nn.Module):
    """The parts of a Paraformer with its losses. A CTC layer that is not trained is left out; a frozen encoder stays in eval
    mode.
    """

    def __init__(self, model: Paraformer, losses: ParaformerLosses) -> None:
        super().__init__()
        self.encoder, self.predictor = model.encoder, model.predictor
        self.decoder, self.token_times = model.decoder, model.token_times
        self.ctc = _ctc_layer(model) if losses.ctc_weight else None
        self._losses = losses

    def paraformer(self) -> Paraformer:
        """The model for decoding, which shares its weights with this one."""
        return Paraformer(self.encoder, self.predictor, self.decoder, self.token_times, self.ctc)

    def train(self, mode: bool = True) -> "ParaformerTraining":
        """Switch to training (or, with False, to eval) mode, except for the parts that are frozen."""
        super().train(mode)
        keep_frozen_in_eval(self)
        return self

    def forward(self, frames: Tensor, frame_lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> LossOutput:
        """The losses of a padded batch; an utterance's are the same in any batch, but for dropout and glancing.

        Args:
            frames: [B, T, features].
            frame_lengths: [B].
            targets: [B, L], the end of sequence included, padded with any token.
            target_lengths: [B].

        In eval mode nothing is replaced: the loss is that of the tokens as decoding would find them, had it the right number.
        """
        with gradients_unless_frozen(self.encoder):
            encoded, lengths = self.encoder(frames, frame_lengths)
        order = torch.rand(targets.shape, device=targets.device) if self.training else None
        return self.losses(encoded, lengths, targets, target_lengths, order)

    def losses(
        self, encoded: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, order: Tensor | None = None
    ) -> LossOutput:
        """The losses of encodings [B, T, D].

        Args:
            order: [B, L], which tokens glancing replaces first, those with the lowest numbers; None for no glancing.
        """
        weights = self.predictor.frame_weights(encoded, lengths)
        acoustic, _ = integrate(encoded, scaled(weights, target_lengths), target_lengths)
        real = padding_mask(target_lengths, targets.shape[1])
        if order is None or not self._losses.sampling_ratio:
            logits = self.decoder(acoustic, target_lengths, encoded, lengths)
            correct = (logits.argmax(dim=-1) == targets) & real
        else:
            with torch.no_grad():
                guesses = self.decoder(acoustic, target_lengths, encoded, lengths).argmax(dim=-1)
            correct = (guesses == targets) & real
            replaced = glanced(correct, target_lengths, order, self._losses.sampling_ratio)
            embeddings = torch.where(replaced[:, :, None], self.decoder.embed(targets).to(acoustic.dtype), acoustic)
            logits = self.decoder(embeddings, target_lengths, encoded, lengths)
        loss = smoothed_loss(logits[real], targets[real], self._losses.label_smoothing)
        infinite = torch.zeros_like(target_lengths.sum())
        if self.ctc is not None:
            ctc, infinite = self._ctc_loss(encoded, lengths, targets, target_lengths)
            loss = (1 - self._losses.ctc_weight) * loss + self._losses.ctc_weight * ctc
        loss = loss + self._losses.count_weight * self._count_loss(weights, encoded, lengths, target_lengths)
        return LossOutput(loss, target_lengths.sum(), correct.sum(), infinite)

    def _count_loss(self, weights: Tensor, encoded: Tensor, lengths: Tensor, target_lengths: Tensor) -> Tensor:
        """By how much the predictors are off the number of tokens."""
        loss = _difference(weights, target_lengths)
        if self.token_times is None:
            return loss
        return loss + self._losses.times_weight * _difference(self.token_times.frame_weights(encoded, lengths), target_lengths)

    def _ctc_loss(self, encoded: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """CTC over the tokens without the end of sequence, and how many utterances are too short for it."""
        log_probs = self.ctc(encoded).transpose(0, 1)
        label_lengths = target_lengths - 1
        loss = F.ctc_loss(log_probs, targets, lengths, label_lengths, BLANK_ID, reduction="sum", zero_infinity=True)
        return loss, (shortest_alignment(targets, label_lengths) > lengths).sum()


def _ctc_layer(model: Paraformer) -> CtcLayer:
    """The model's own, or a new one."""
    vocab_size, width = model.decoder.output_layer.weight.shape
    return model.ctc or CtcLayer(width, vocab_size)


def glanced(correct: Tensor, lengths: Tensor, order: Tensor, ratio: float) -> Tensor:
    """Which tokens are replaced, [B, L] bool: in each row `ratio` times as many as were wrong, rounded down.

    Args:
        correct: [B, L] bool, False in the padding.
        lengths: [B].
        order: [B, L], the tokens with the lowest numbers go first.
    """
    real = padding_mask(lengths, order.shape[1])
    wanted = ((lengths - correct.sum(dim=1)).float() * ratio).long()
    places = order.masked_fill(~real, math.inf).argsort(dim=1).argsort(dim=1)
    return places < wanted[:, None]


def _difference(weights: Tensor, target_lengths: Tensor) -> Tensor:
    return (weights.sum(dim=1) - target_lengths).abs().sum()
