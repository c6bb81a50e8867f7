"""How probable CTC finds it that an answer begins in some way (Watanabe et al. 2017, algorithm 2), for many answers at once.

Shapes: A utterances, K beginnings of each, P tokens tried after each, T frames, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

NOTHING = -1e10
"""The log probability of what cannot be; a number, so that differences of two stay numbers."""
NO_TOKEN = -1


@dataclass(frozen=True)
class PrefixState:
    """What CTC knows of the beginnings."""

    forward: Tensor
    """[A, T, K, 2] log probability of each beginning's alignments up to a frame that end in its last token, and in blanks."""
    scores: Tensor
    """[A, K] log probability of all answers that begin so."""
    last: Tensor
    """[A, K] last token; NO_TOKEN for none."""

    def of(self, kept: Tensor) -> "PrefixState":
        """The state of some of the utterances."""
        return PrefixState(self.forward[kept], self.scores[kept], self.last[kept])


class CtcPrefixScorer:
    """Scores the next tokens of beginnings.

    Args:
        log_probs: [A, T, V], padded on the right with anything.
        lengths: [A], each at least 1.
    """

    def __init__(self, log_probs: Tensor, lengths: Tensor, blank_id: int, end_id: int) -> None:
        self._log_probs, self._lengths = log_probs, lengths
        self._blank_id, self._end_id = blank_id, end_id

    def of(self, kept: Tensor) -> "CtcPrefixScorer":
        """The scorer of some of the utterances."""
        return CtcPrefixScorer(self._log_probs[kept], self._lengths[kept], self._blank_id, self._end_id)

    def start(self, num_beams: int) -> PrefixState:
        """Every utterance `num_beams` times without a token."""
        blanks = self._log_probs[:, :, self._blank_id].cumsum(dim=1)  # [A, T]
        forward = torch.stack([torch.full_like(blanks, NOTHING), blanks], dim=-1)[:, :, None].repeat(1, 1, num_beams, 1)
        scores = blanks.new_zeros(len(blanks), num_beams)
        return PrefixState(forward, scores, torch.full_like(scores, NO_TOKEN, dtype=torch.long))

    def extend(self, state: PrefixState, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """What each of tokens [A, K, P] makes of the beginnings. The end of the sentence leaves them as they are.

        Returns:
            Log probability of all answers that begin so [A, K, P], and the new forward probabilities [A, T, K, P, 2].
        """
        num_frames = self._log_probs.shape[1]
        spoken = self._log_probs.gather(2, tokens.flatten(1)[:, None].expand(-1, num_frames, -1))
        spoken = spoken.unflatten(2, tokens.shape[1:])  # [A, T, K, P]
        blank = self._log_probs[:, :, self._blank_id, None, None]  # [A, T, 1, 1]
        before = state.forward.logsumexp(dim=-1)  # [A, T, K]
        # A token that is said twice needs a blank in between.
        repeats = (tokens == state.last[:, :, None])[:, None]
        begun = torch.where(repeats, state.forward[..., 1, None], before[..., None])  # [A, T, K, P]
        forward = torch.full((*spoken.shape, 2), NOTHING, dtype=spoken.dtype, device=spoken.device)
        is_first = (state.last == NO_TOKEN)[:, :, None]
        scores = forward[:, 0, ..., 0] = torch.where(is_first, spoken[:, 0], forward[:, 0, ..., 0])
        for frame in range(1, num_frames):
            entered = begun[:, frame - 1] + spoken[:, frame]
            stayed, rested = forward[:, frame - 1].unbind(dim=-1)
            forward[:, frame, ..., 0] = torch.logaddexp(stayed + spoken[:, frame], entered)
            forward[:, frame, ..., 1] = torch.logaddexp(stayed, rested) + blank[:, frame]
            inside = (frame < self._lengths)[:, None, None]
            scores = torch.where(inside, torch.logaddexp(scores, entered), scores)
        ends = before[torch.arange(len(before), device=before.device), self._lengths - 1]  # [A, K]
        is_end = tokens == self._end_id
        scores = torch.where(is_end, ends[..., None], scores)
        forward = torch.where(is_end[:, None, ..., None], state.forward[:, :, :, None], forward)
        return scores.masked_fill(tokens == self._blank_id, NOTHING), forward

    def select(self, state: PrefixState, tokens: Tensor, extended: tuple[Tensor, Tensor], chosen: Tensor) -> PrefixState:
        """The state of the chosen continuations.

        Args:
            state: before them.
            tokens: [A, K, P], what `extend` took.
            extended: what it gave.
            chosen: [A, K'] positions in K * P.
        """
        scores, forward = extended
        places = chosen[:, None, :, None].expand(-1, forward.shape[1], -1, 2)
        last = tokens.flatten(1).gather(1, chosen)
        before = state.last.gather(1, chosen // tokens.shape[2])
        return PrefixState(
            forward.flatten(2, 3).gather(2, places),
            scores.flatten(1).gather(1, chosen),
            torch.where(last == self._end_id, before, last),
        )
