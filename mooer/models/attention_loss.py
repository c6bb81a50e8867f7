"""What a decoder over an encoder's frames learns by: each next token and the end, given all tokens before.

Shapes: B batch, T frames, L target tokens, D width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mooer.models.losses import LossOutput, smoothed_loss
from mooer.models.transformer_decoder import BidirectionalDecoder, TransformerDecoder
from mooer.nn.masks import padding_mask


@dataclass(frozen=True, kw_only=True)
class AttentionLoss:
    """The smoothed cross entropy of a decoder's tokens, less the entropy of the smoothed targets.

    Sums over all tokens: who wants the mean divides by the utterances (the reference does) or by the tokens.
    """

    boundary_id: int
    """The token that stands before a sentence and ends it."""
    smoothing: float = 0.1
    """Share of the probability that is spread over the wrong tokens."""
    reverse_weight: float = 0.0
    """Share of the decoder that reads from right to left in the loss; 0 leaves it untrained."""

    def __call__(
        self,
        decoder: TransformerDecoder | BidirectionalDecoder,
        encoded: Tensor,
        lengths: Tensor,
        targets: Tensor,
        target_lengths: Tensor,
    ) -> LossOutput:
        """The loss of frames [B, T, D] of `lengths` [B], with targets [B, L] of `target_lengths` [B], padded with any token.

        The tokens that are counted as right are those of the decoder that reads from left to right.
        """
        loss, correct = self._one_way(decoder.left_decoder, encoded, lengths, targets, target_lengths)
        if self.reverse_weight:
            turned = reverse_rows(targets, target_lengths)
            reverse, _ = self._one_way(decoder.right_decoder, encoded, lengths, turned, target_lengths)
            loss = (1 - self.reverse_weight) * loss + self.reverse_weight * reverse
        return LossOutput(loss, (target_lengths + 1).sum(), correct, torch.zeros_like(correct))

    def _one_way(
        self, decoder: TransformerDecoder, encoded: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The loss, and how many tokens are right."""
        inputs = F.pad(targets, (1, 0), value=self.boundary_id)
        outputs = F.pad(targets, (0, 1)).scatter(1, target_lengths[:, None], self.boundary_id)  # [B, L + 1]
        real = padding_mask(target_lengths + 1, outputs.shape[1])
        logits = decoder(inputs.where(real, self.boundary_id), decoder.remember(encoded, lengths))[real]
        return smoothed_loss(logits, outputs[real], self.smoothing), (logits.argmax(dim=-1) == outputs[real]).sum()


def reverse_rows(tokens: Tensor, lengths: Tensor) -> Tensor:
    """The first `lengths` [B] of tokens [B, L] from the last to the first; what stands after them stays."""
    places = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
    turned = torch.where(padding_mask(lengths, tokens.shape[1]), lengths[:, None] - 1 - places, places)
    return tokens.gather(1, turned)
