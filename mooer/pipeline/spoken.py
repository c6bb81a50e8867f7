"""A spoken answer, and the id of what it answers."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mooer.data.utterance import Problem
from mooer.decode.hypothesis import Failure
from mooer.pipeline.recording_sources import Recording


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """The answer to a recording."""

    key: str
    """The recording's id."""
    text: str
    """What is said."""
    waveform: Tensor
    """[S] float32, full scale 1."""
    sample_rate: int
    """Of the waveform, in Hz."""
    seconds: float
    """Length of the recording that is answered."""
    tokens: tuple[int, ...]
    """All generated ids."""
    flags: tuple[str, ...]
    """What is to be mistrusted: max_new_tokens, repetition (of the text)."""

    def to_dict(self) -> dict[str, Any]:
        """The line of results.jsonl, but for the name of the file."""
        return {
            "id": self.key,
            "text": self.text,
            "seconds": round(self.seconds, 3),
            "speech_seconds": round(len(self.waveform) / self.sample_rate, 3),
            "flags": list(self.flags),
            "tokens": list(self.tokens),
        }


@dataclass(frozen=True)
class Unspoken(Failure):
    """Why there is no speech in the answer to a recording, and the answer."""

    text: str
    """What is written."""


def key_of(item: Recording | Problem) -> str:
    """The id of a recording."""
    return item.key if isinstance(item, Recording) else item.id
