"""What recognition gives for an utterance: a hypothesis, or the reason why there is none."""

import math
from dataclasses import dataclass

TOO_SHORT = "too_short"
CUT = "max_new_tokens"
REPETITION = "repetition"


@dataclass(frozen=True)
class Word:
    """A word of the text, with its time."""

    text: str
    start: int
    """Milliseconds from the beginning of the recording."""
    end: int
    """Milliseconds."""
    confidence: float
    """The geometric mean of its tokens' probabilities."""


@dataclass(frozen=True)
class Alternative:
    """One of the n best answers."""

    text: str
    tokens: tuple[int, ...]
    score: float


@dataclass(frozen=True)
class Partial:
    """The best guess while a recording was still running."""

    seconds: float
    """How much of it had been heard."""
    text: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a decoder makes of the frames of an utterance."""

    text: str
    """The transcript, or the translation where only that was asked for."""
    tokens: tuple[int, ...] = ()
    """Token ids of the whole answer, special ones left out."""
    score: float = 0.0
    """Higher is better; what it measures depends on the decoder."""
    mean_log_prob: float | None = None
    """Log probability of the answer by the model alone, over its number of tokens; None if nothing was decoded."""
    translation: str | None = None
    """The second line of a multi-task answer; None where there is none."""
    flags: tuple[str, ...] = ()
    """What is to be mistrusted: too_short, max_new_tokens (cut at the bound), repetition (it runs in a circle)."""
    token_seconds: tuple[tuple[float, float], ...] | None = None
    """Begin and end of each token, where the decoder knows them."""
    words: tuple[Word, ...] | None = None
    """The words of the text, signs with their neighbours, where the model tells their times."""
    alternatives: tuple[Alternative, ...] = ()
    """The n best answers, this one included, where they were asked for."""
    partials: tuple[Partial, ...] = ()
    """What was known after each chunk, where the recording was heard in chunks."""

    @property
    def full_text(self) -> str:
        """The text and, in a second line, the translation beside it."""
        return self.text if self.translation is None else f"{self.text}\n{self.translation}"

    @property
    def confidence(self) -> float:
        """exp(mean_log_prob): the geometric mean of the tokens' probabilities, from 0 to 1; 0 if nothing was decoded."""
        return 0.0 if self.mean_log_prob is None else min(1.0, math.exp(self.mean_log_prob))


@dataclass(frozen=True)
class Refusal:
    """Why a decoder makes nothing of the frames of an utterance."""

    reason: str
    """One or two words, for counting."""
    message: str
    """The full story for a person."""


@dataclass(frozen=True)
class Hypothesis:
    """The result for an utterance."""

    id: str
    answer: Answer
    seconds: float
    """Length of the recording."""
    real_time_factor: float
    """Time that its group of utterances took, from reading to text, over the length of their recordings."""


@dataclass(frozen=True)
class Failure:
    """An utterance without a result."""

    id: str
    reason: str
    message: str
