"""The best way to lay given tokens over the frames of CTC (forced alignment by Viterbi; Graves et al. 2006, section 4).

T frames, V vocabulary, L tokens, S = 2 L + 1 states: the tokens with a blank before, between and after them.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from mooer.decode.ctc_search import CtcPath

_STAY, _STEP, _SKIP = 0, 1, 2


def align_tokens(log_probs: Tensor, tokens: Sequence[int], blank_id: int) -> CtcPath | None:
    """The most probable path through log probabilities [T, V] that reads as the tokens.

    Of paths that are equally probable, one is taken, always the same.

    Returns:
        Tokens with the frames in which each is seen, at least one; None if there is no such path: too few frames, or the path's
        probability is zero.

    Raises:
        ValueError: the blank, or a number beyond the vocabulary, among the tokens.
    """
    size = log_probs.shape[1]
    for token in tokens:
        if token == blank_id or not 0 <= token < size:
            raise ValueError(f"token {token} cannot be aligned; allowed: 0 to {size - 1} but for the blank {blank_id}")
    states = np.full(2 * len(tokens) + 1, blank_id)
    states[1::2] = tokens
    emitted = log_probs.double().cpu().numpy()[:, states]  # [T, S]
    if not len(emitted):
        return CtcPath((), (), 0.0) if not tokens else None
    scores, moves = _forward(emitted, states)
    last = int(np.argmax(scores[-2:])) + max(0, len(states) - 2)
    if not np.isfinite(scores[last]):
        return None
    path = _backward(moves, last)
    return CtcPath(tuple(tokens), _spans(path, len(tokens)), float(scores[last]))


def _forward(emitted: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best score of each state in the last frame [S], and the move that led to it in each frame [T, S]."""
    number = len(states)
    may_skip = np.zeros(number, dtype=bool)
    may_skip[3::2] = states[3::2] != states[1:-2:2]  # from token to token, unless they are equal
    scores = np.full(number, -np.inf)
    scores[:2] = emitted[0, :2]
    moves = np.zeros(emitted.shape, dtype=np.int8)
    choices = np.full((3, number), -np.inf)
    for frame in range(1, len(emitted)):
        choices[_STAY] = scores
        choices[_STEP, 1:] = scores[:-1]
        choices[_SKIP, 2:] = np.where(may_skip[2:], scores[:-2], -np.inf)
        moves[frame] = choices.argmax(axis=0)
        scores = choices.max(axis=0) + emitted[frame]
    return scores, moves


def _backward(moves: np.ndarray, last: int) -> np.ndarray:
    """The state of each frame [T] of the path that ends in state `last`."""
    path = np.empty(len(moves), dtype=np.int64)
    state = last
    for frame in range(len(moves) - 1, -1, -1):
        path[frame] = state
        state -= int(moves[frame, state])
    return path


def _spans(path: np.ndarray, num_tokens: int) -> tuple[tuple[int, int], ...]:
    """First frame of each token and the frame after its last one."""
    wanted = 2 * np.arange(num_tokens) + 1
    starts, ends = np.searchsorted(path, wanted, side="left"), np.searchsorted(path, wanted, side="right")
    return tuple(zip(starts.tolist(), ends.tolist(), strict=True))
