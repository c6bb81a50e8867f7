"""What to do with a step's best continuations: greedy and beam search for one utterance, on plain numbers.

Both are equal, step by step, to transformers' `generate` without sampling (greedy, and beam search with early_stopping=False).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Candidate(NamedTuple):
    """One way to go on."""

    score: float
    """Log probability of the whole answer with this token."""
    beam: int
    """The beam that it continues."""
    token: int


@dataclass(frozen=True)
class Generated:
    """An answer, finished or cut at its bound."""

    tokens: tuple[int, ...]
    """Generated ids without the end-of-sequence token."""
    score: float
    """Sum of log probabilities / tokens ** length_penalty, the end-of-sequence token counted in both."""
    ended: bool
    """Whether it came to the end-of-sequence token; if not, it was cut at max_new_tokens."""


class Search(Protocol):
    """The state of one utterance's search."""

    candidates_needed: int
    """How many candidates `advance` wants, best first."""
    next_tokens: list[int]
    """The token to feed to the LLM for each beam."""
    parents: list[int]
    """For each beam, the earlier beam that it continues."""
    scores: list[float]
    """Log probability of each beam."""
    done: bool

    def advance(self, candidates: Sequence[Candidate]) -> None:
        """Take one step."""

    def answers(self) -> list[Generated]:
        """The finished answers, best first."""


def _penalised(score: float, length: int, length_penalty: float) -> float:
    return score / length**length_penalty


class GreedySearch:
    """Always the best token."""

    candidates_needed = 1

    def __init__(self, max_new_tokens: int, eos_id: int, length_penalty: float) -> None:
        self._max_new_tokens, self._eos_id, self._length_penalty = max_new_tokens, eos_id, length_penalty
        self._tokens: list[int] = []
        self.next_tokens: list[int] = []
        self.parents = [0]
        self.scores = [0.0]
        self.done = False

    def advance(self, candidates: Sequence[Candidate]) -> None:
        """Append the best token."""
        best = candidates[0]
        self._tokens.append(best.token)
        self.next_tokens, self.scores = [best.token], [best.score]
        self.done = best.token == self._eos_id or len(self._tokens) == self._max_new_tokens

    def answers(self) -> list[Generated]:
        """The one answer."""
        return [_generated(self._tokens, self.scores[0], self._eos_id, self._length_penalty)]


def _generated(tokens: Sequence[int], score: float, eos_id: int, length_penalty: float) -> Generated:
    ended = tokens[-1] == eos_id
    return Generated(tuple(tokens[:-1] if ended else tokens), _penalised(score, len(tokens), length_penalty), ended)


class BeamSearch:
    """The `beam_size` best open answers side by side, and as many finished ones.

    It ends when as many answers are finished as there are beams and the best open one, at its present length, is no better
    than the worst of them.
    """

    def __init__(self, beam_size: int, max_new_tokens: int, eos_id: int, length_penalty: float) -> None:
        self._beam_size, self._max_new_tokens = beam_size, max_new_tokens
        self._eos_id, self._length_penalty = eos_id, length_penalty
        self.candidates_needed = 2 * beam_size  # enough to go on even if every beam's best token ends it
        self._beams: list[list[int]] = [[]]
        self._finished: list[Generated] = []
        self.next_tokens: list[int] = []
        self.parents = [0] * beam_size
        self.scores = [0.0]
        self.done = False

    def advance(self, candidates: Sequence[Candidate]) -> None:
        """Continue with the best candidates that go on; keep those of the first `beam_size` that end."""
        length = len(self._beams[0]) + 1
        at_bound = length == self._max_new_tokens
        ending = [item for item in candidates[: self._beam_size] if at_bound or item.token == self._eos_id]
        going_on = [item for item in candidates if item.token != self._eos_id][: self._beam_size]
        answers = [
            _generated([*self._beams[item.beam], item.token], item.score, self._eos_id, self._length_penalty) for item in ending
        ]
        # sorted() is stable: of equal answers the earlier one stays.
        self._finished = sorted(self._finished + answers, key=lambda answer: -answer.score)[: self._beam_size]
        self._beams = [[*self._beams[item.beam], item.token] for item in going_on]
        self.next_tokens = [item.token for item in going_on]
        self.parents = [item.beam for item in going_on]
        self.scores = [item.score for item in going_on]
        self.done = at_bound or not self._can_improve(length)

    def _can_improve(self, length: int) -> bool:
        if len(self._finished) < self._beam_size:
            return True
        return _penalised(self.scores[0], length, self._length_penalty) > self._finished[-1].score

    def answers(self) -> list[Generated]:
        """The finished answers, best first."""
        return self._finished


def make_search(beam_size: int, max_new_tokens: int, eos_id: int, length_penalty: float) -> Search:
    """Greedy search for one beam, else beam search."""
    if beam_size == 1:
        return GreedySearch(max_new_tokens, eos_id, length_penalty)
    return BeamSearch(beam_size, max_new_tokens, eos_id, length_penalty)


def is_finite(candidates: Sequence[Candidate]) -> bool:
    """Whether all scores are numbers; NaN and infinity mean that the LLM's output is broken."""
    return all(math.isfinite(candidate.score) for candidate in candidates)
