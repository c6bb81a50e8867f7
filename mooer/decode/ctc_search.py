"""The best path through CTC's frame-wise probabilities.

T frames, V vocabulary.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class CtcPath:
    """Tokens with the frames in which they were seen."""

    tokens: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    """First frame of each token and the frame after its last one."""
    score: float
    """Log probability of the path."""


def greedy_path(log_probs: Tensor, blank_id: int) -> CtcPath:
    """The best token of each frame of [T, V], equal neighbours joined and blanks removed."""
    return path_of(*log_probs.max(dim=-1), blank_id)


def path_of(best: Tensor, ids: Tensor, blank_id: int) -> CtcPath:
    """The path of the tokens `ids` [T] of all frames, and of their log probabilities [T]."""
    if not len(ids):
        return CtcPath((), (), 0.0)
    tokens, counts = ids.unique_consecutive(return_counts=True)
    ends = counts.cumsum(0).tolist()
    runs = zip(tokens.tolist(), [0, *ends[:-1]], ends, strict=True)
    kept = [(token, (start, end)) for token, start, end in runs if token != blank_id]
    return CtcPath(tuple(token for token, _ in kept), tuple(span for _, span in kept), float(best.sum()))
