"""An encoder trained by connectionist temporal classification (Graves et al. 2006).

Shapes: B batch, T frames, U target tokens of a row, V vocabulary.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mooer.models.frozen import gradients_unless_frozen, keep_frozen_in_eval
from mooer.models.losses import LossOutput


class CtcModel(nn.Module):
    """Encoder and a linear layer over the vocabulary. A frozen encoder stays in eval mode and runs without gradients."""

    def __init__(self, encoder: nn.Module, ctc_head: nn.Linear, blank_id: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.ctc_head = ctc_head
        self.blank_id = blank_id

    def train(self, mode: bool = True) -> "CtcModel":
        """Switch to training (or, with False, to eval) mode, except for the parts that are frozen."""
        super().train(mode)
        keep_frozen_in_eval(self)
        return self

    def log_probs(self, frames: Tensor, frame_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T, features] -> log probabilities [B, T, V] in float32, and their lengths [B]."""
        with gradients_unless_frozen(self.encoder):
            encoded, lengths = self.encoder(frames, frame_lengths)
        return self.ctc_head(encoded).float().log_softmax(dim=-1), lengths

    def forward(self, frames: Tensor, frame_lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> LossOutput:
        """The CTC loss summed over the utterances that can be aligned.

        Args:
            frames: [B, T, features], padded on the right.
            frame_lengths: [B].
            targets: [B, U], padded on the right with anything.
            target_lengths: [B].

        An utterance with more labels (and blanks that repeated labels need between them) than frames has no alignment:
        it counts in num_infinite and in nothing else.
        """
        log_probs, lengths = self.log_probs(frames, frame_lengths)
        targets = torch.where(_columns(targets) < target_lengths[:, None], targets, self.blank_id)
        fits = shortest_alignment(targets, target_lengths) <= lengths
        losses = F.ctc_loss(
            log_probs.transpose(0, 1), targets, lengths, target_lengths, self.blank_id, reduction="none", zero_infinity=True
        )
        fitting = target_lengths * fits
        correct = greedy_matches(log_probs.detach(), lengths, targets, fitting, self.blank_id)
        return LossOutput(losses.sum(), fitting.sum(), correct, (~fits).sum())


def greedy_matches(log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, blank_id: int) -> Tensor:
    """How many of the targets [B, U] are in the best guess of log_probs [B, T, V], in their order; int64."""
    guesses = greedy_tokens(log_probs, lengths, blank_id)
    rows = [row[:length] for row, length in zip(targets.tolist(), target_lengths.tolist(), strict=True)]
    correct = sum(common_subsequence(guess, row) for guess, row in zip(guesses, rows, strict=True))
    return target_lengths.new_tensor(correct, dtype=torch.long)


def _columns(padded: Tensor) -> Tensor:
    return torch.arange(padded.shape[1], device=padded.device)[None, :]


def shortest_alignment(targets: Tensor, target_lengths: Tensor) -> Tensor:
    """Frames that CTC needs at least for each row of targets [B, U]: its labels and a blank between equal neighbours. [B]"""
    repeats = (targets[:, 1:] == targets[:, :-1]) & (_columns(targets)[:, 1:] < target_lengths[:, None])
    return target_lengths + repeats.sum(dim=1)


def greedy_tokens(log_probs: Tensor, lengths: Tensor, blank_id: int) -> list[list[int]]:
    """The best token of each frame [B, T, V], repetitions joined, blanks removed; a list for each row."""
    best = log_probs.argmax(dim=-1)
    keep = (best != blank_id) & (_columns(best) < lengths[:, None])
    keep[:, 1:] &= best[:, 1:] != best[:, :-1]
    return [row[kept].tolist() for row, kept in zip(best.cpu(), keep.cpu(), strict=True)]


def common_subsequence(left: list[int], right: list[int]) -> int:
    """Length of the longest common subsequence, by the bit-parallel algorithm of Hyyro (2004)."""
    positions: dict[int, int] = {}
    for index, token in enumerate(left):
        positions[token] = positions.get(token, 0) | 1 << index
    unmatched = full = (1 << len(left)) - 1
    for token in right:
        matched = unmatched & positions.get(token, 0)
        unmatched = (unmatched + matched | unmatched - matched) & full
    return len(left) - unmatched.bit_count()
