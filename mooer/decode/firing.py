"""From the weights of a CIF predictor to the time of each token.

The predictor's running sum of weights passes a multiple of the threshold ("fires") where a token begins, so that n tokens
have n + 1 firings, the last of which ends the last token. (Shi et al. 2023, of the Paraformer with timestamps.)
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

# A little under one, so that rounding does not lose the last firing of weights whose sum is a whole number.
THRESHOLD = 1.0 - 1e-4
# Frames of the weights' grid, upsampled or not.
SHIFT = -1.5
LONGEST_TOKEN = 12
SHORTEST_SILENCE = 5


def firing_frames(weights: ArrayLike) -> NDArray[np.int64]:
    """The frames in which weights [U] fire, at most once in each: what is left over fires in the next frame."""
    sums = np.cumsum(np.asarray(weights, np.float64))
    frames = np.arange(len(sums))
    # The number of firings goes up by at most one a frame, and never above the number of thresholds passed.
    fired = frames + np.minimum.accumulate(np.minimum(np.floor(sums / THRESHOLD) - frames, 1))
    return np.flatnonzero(np.diff(fired, prepend=0))


def token_spans(
    weights: ArrayLike, num_tokens: int, frame_seconds: float, firings: Sequence[int] | None = None
) -> list[tuple[float, float]]:
    """Begin and end in seconds of each of `num_tokens` tokens.

    Where the firings are not one more than the tokens, the weights are scaled so that they are. A token lasts at most 12
    frames; after the last one more than 5 frames of silence are shared with it, fewer belong to it. All firings are put 1.5
    frames earlier, so the first token may begin before 0.

    Args:
        weights: [U], of real frames.
        frame_seconds: time from one frame of the weights to the next.
        firings: frames in which they fire; None to find them.
    """
    if not num_tokens:
        return []
    weights = np.asarray(weights, np.float32)
    places = np.asarray(firing_frames(weights) if firings is None else firings) + SHIFT
    if len(places) != num_tokens + 1:
        places = _scaled_firings(weights, num_tokens + 1) + SHIFT
    spans = []
    for begin, end in zip(places[:-1].tolist(), places[1:].tolist(), strict=True):
        spans.append((begin, min(end, begin + LONGEST_TOKEN)))
    if places[-1] - places[-2] <= LONGEST_TOKEN:
        silence = len(weights) - places[-1]
        spans[-1] = (spans[-1][0], places[-1] + 0.5 * silence if silence > SHORTEST_SILENCE else float(len(weights)))
    return [(begin * frame_seconds, end * frame_seconds) for begin, end in spans]


def _scaled_firings(weights: NDArray[np.float32], number: int) -> NDArray[np.float64]:
    """`number` firings of the weights; evenly spread ones if no scale gives so many."""
    total = weights.sum()
    if total > 0:
        places = firing_frames(weights / (total / np.float32(number)))
        if len(places) == number:
            return places
    return np.arange(number) * (len(weights) / number)


def milliseconds(span: tuple[float, float]) -> tuple[int, int]:
    """A span of seconds in whole milliseconds, cut and not rounded; nothing begins before 0."""
    begin, end = span
    return max(0, int(begin * 1000)), max(0, int(end * 1000))
