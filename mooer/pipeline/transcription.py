"""What long-audio recognition gives: for a segment of speech, and for the whole recording. Times are ms from its start."""

import base64
import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from mooer.decode.hypothesis import Word
from mooer.pipeline.speaker_turns import Turn
from mooer.pipeline.speech_segments import SpeechSegment

EMBEDDING_TYPE = np.dtype("<f4")


@dataclass(frozen=True, kw_only=True)
class DecodedSegment:
    """What was said in a stretch of speech."""

    start: int
    """Ms from the beginning of the recording."""
    end: int
    """Ms."""
    num_samples: int
    """Its samples at 16 kHz."""
    text: str
    """As the recogniser wrote it, in one line; empty if it heard nothing."""
    words: tuple[Word, ...] | None = None
    """The words of the text with their times; None where nobody knows them."""
    score: float = 0.0
    """The recogniser's."""
    flags: tuple[str, ...] = ()
    """What is to be mistrusted: too_short, max_new_tokens, repetition."""
    failure: tuple[str, str] | None = None
    """Reason and message, if it could not be recognised."""
    embeddings: np.ndarray | None = None
    """[N, D] float32, those of its windows, where speakers are asked for."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = dataclasses.asdict(self)
        if self.embeddings is not None:
            data = base64.b64encode(np.ascontiguousarray(self.embeddings, EMBEDDING_TYPE).tobytes()).decode("ascii")
            values["embeddings"] = [*self.embeddings.shape, data]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "DecodedSegment":
        """What `to_json` made plain. Raises KeyError, TypeError or ValueError for anything else."""
        values = dict(values)
        if values["words"] is not None:
            values["words"] = tuple(Word(**word) for word in values["words"])
        if values["embeddings"] is not None:
            rows, columns, data = values["embeddings"]
            flat = np.frombuffer(base64.b64decode(data, validate=True), EMBEDDING_TYPE)
            values["embeddings"] = flat.reshape(rows, columns)
        values["flags"] = tuple(values["flags"])
        values["failure"] = None if values["failure"] is None else tuple(values["failure"])
        return cls(**values)


@dataclass(frozen=True)
class Sentence:
    """A stretch of speech up to a mark, or a whole segment where no marks are put."""

    text: str
    start: int
    """Ms: of its first word, or of its segment where words have no times."""
    end: int
    """Ms."""
    speaker: int | None
    """From 0 on, in order of appearance; None where speakers are not asked for."""
    words: tuple[Word, ...]
    """Its words; empty where their times are not known."""


@dataclass(frozen=True)
class SegmentFailure:
    """A stretch of speech that could not be recognised; it has no words."""

    start: int
    end: int
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Transcription:
    """All that is known of a recording."""

    key: str
    """Its name."""
    text: str
    """With punctuation, if there is a model for it."""
    raw_text: str
    """As the recogniser wrote it, a space between words."""
    segments: tuple[SpeechSegment, ...]
    """Where there is speech."""
    sentences: tuple[Sentence, ...]
    """In time order."""
    words: tuple[Word, ...]
    """One for each word of raw_text, or none where their times are not known."""
    turns: tuple[Turn, ...] | None
    """Who speaks when; None where speakers are not asked for."""
    score: float
    """Sum of the segments' scores."""
    flags: tuple[str, ...]
    """What is to be mistrusted of some segment."""
    failures: tuple[SegmentFailure, ...]
    """Segments that could not be recognised."""
    seconds: float
    """Length of the recording."""
    elapsed_seconds: float
    """Time that was spent on it, earlier runs included."""

    @property
    def timestamp(self) -> list[tuple[int, int]]:
        """Start and end of each word of raw_text; empty where they are not known."""
        return [(word.start, word.end) for word in self.words]

    @property
    def real_time_factor(self) -> float:
        """Time spent over the length of the recording."""
        return self.elapsed_seconds / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The line of results.jsonl: what depends on recording, models and settings alone."""
        values = {
            "key": self.key,
            "text": self.text,
            "raw_text": self.raw_text,
            "timestamp": self.timestamp,
            "segments": list(self.segments),
            "sentences": [dataclasses.asdict(sentence) for sentence in self.sentences],
        }
        if self.flags:
            values["flags"] = self.flags
        if self.failures:
            values["failures"] = [dataclasses.asdict(failure) for failure in self.failures]
        return values
