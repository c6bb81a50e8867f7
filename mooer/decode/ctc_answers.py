"""From what was found in CTC's frame-wise probabilities to an answer: its text, and when its tokens and words are said.

T frames of an utterance, V vocabulary.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

from torch import Tensor

from mooer.decode.ctc_alignment import align_tokens
from mooer.decode.ctc_search import CtcPath, greedy_path
from mooer.decode.fusion import Found, Fusion
from mooer.decode.hypothesis import CUT, Alternative, Answer, Refusal
from mooer.decode.timed_words import token_log_probs, words_of_tokens

NOT_FINITE = Refusal("not_finite", "the model's output is not finite for this recording")


class CtcAnswers:
    """Makes answers of paths and of tokens.

    Args:
        read: the text of tokens.
        frame_seconds: time from one frame to the next.
    """

    def __init__(self, read: Callable[[Sequence[int]], str], blank_id: int, frame_seconds: float) -> None:
        self._read, self._blank_id, self._frame_seconds = read, blank_id, frame_seconds

    def greedy(self, log_probs: Tensor) -> Answer | Refusal:
        """The answer that log probabilities [T, V] give by the best token of each frame."""
        path = greedy_path(log_probs, self._blank_id)
        return self._of_path(log_probs, path) if math.isfinite(path.score) else NOT_FINITE

    def best(self, log_probs: Tensor, found: Sequence[Found], fusion: Fusion) -> Answer | Refusal:
        """The best of the answers that a search found, with the times of its best path through log probabilities [T, V].

        The times are missing where the frames have no room for the tokens, as may be where CTC was not asked.
        """
        if not found or not log_probs.isfinite().all():
            return NOT_FINITE
        best = found[0]
        tokens = self._audible(best.tokens)
        path = align_tokens(log_probs, tokens, self._blank_id)
        answer = Answer(text=self._text(tokens), tokens=tokens) if path is None else self._of_path(log_probs, path)
        return dataclasses.replace(
            answer,
            score=best.score,
            mean_log_prob=best.mean_log_prob,
            flags=() if best.ended else (CUT,),
            alternatives=fusion.alternatives(found, self._alternative),
        )

    def _audible(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The tokens without blanks, which a decoder may write, but nobody says."""
        return tuple(token for token in tokens if token != self._blank_id)

    def _alternative(self, tokens: tuple[int, ...], score: float) -> Alternative:
        return Alternative(self._text(self._audible(tokens)), self._audible(tokens), score)

    def _of_path(self, log_probs: Tensor, path: CtcPath) -> Answer:
        """The answer of a path through log probabilities [T, V]."""
        spans = ((start * self._frame_seconds, end * self._frame_seconds) for start, end in path.spans)
        seconds = tuple((round(start, 3), round(end, 3)) for start, end in spans)
        return Answer(
            text=self._text(path.tokens),
            tokens=path.tokens,
            score=path.score,
            # All frames count, so that blanks in which a token was perhaps overheard count too.
            mean_log_prob=path.score / max(1, len(path.tokens)),
            token_seconds=seconds,
            words=words_of_tokens(self._read, path.tokens, seconds, token_log_probs(log_probs, path)),
        )

    def _text(self, tokens: Sequence[int]) -> str:
        return self._read(tokens).lstrip(" ")
