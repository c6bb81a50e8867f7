"""Recognition while somebody speaks: partial texts of what is being said, and a final one at each pause.

A stream may go on for ever: in memory are the open segment and about half a second.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mooer.audio.decoding import check_range
from mooer.audio.io import full_scale
from mooer.common.errors import AudioError, ConfigError
from mooer.common.lengths import SAMPLE_RATE
from mooer.decode.hypothesis import Failure, Hypothesis
from mooer.decode.recognizer import Recognizer
from mooer.pipeline.energy_detector import EnergyDetector
from mooer.pipeline.speech_cutter import SpeechCutter, SpokenSegment
from mooer.pipeline.speech_segments import FRAME_MS, SpeechOptions, SpeechSegment
from mooer.pipeline.voice_activity import SpeechDetector

_TYPES = (np.float32, np.int16)
# Samples that are heard at once, whatever comes in one piece, so that no more than the open segment is kept.
_PIECE_SAMPLES = SAMPLE_RATE


@dataclass(frozen=True, kw_only=True)
class LiveConfig:
    """How a stream is cut, and how often one is told what is being said."""

    partial_seconds: float | None = 0.6
    """After so much more of a segment there is a partial text; None for none. Where pieces of more come, one for each piece."""
    end_silence_seconds: float | None = 0.5
    """Silence that ends a segment; None for the detector's own, which is 0.8 as a rule."""
    max_segment_seconds: float = 20.0
    """A longer segment is cut, wherever that is."""

    def __post_init__(self) -> None:
        if self.partial_seconds is not None and not self.partial_seconds > 0:
            raise ConfigError(f"partial_seconds must be positive, found {self.partial_seconds}; leave it out with None")
        if not 1 <= self.max_segment_seconds <= 300:
            raise ConfigError(f"max_segment_seconds is {self.max_segment_seconds}; allowed: 1 to 300")
        if self.end_silence_seconds is not None and not 0.15 <= self.end_silence_seconds <= 10:
            raise ConfigError(f"end_silence_seconds is {self.end_silence_seconds}; allowed: 0.15 to 10")

    def options(self, own: SpeechOptions) -> SpeechOptions:
        """A detector's own options with what is set here."""
        given = {"max_single_segment_time": round(1000 * self.max_segment_seconds)}
        if self.end_silence_seconds is not None:
            given |= {"silence_mode": "fixed", "max_end_silence_time": round(1000 * self.end_silence_seconds)}
        return dataclasses.replace(own, **given)


@dataclass(frozen=True)
class LiveEvent:
    """A text, while its segment goes on or after it."""

    kind: Literal["partial", "final"]
    """partial: the best guess so far, by greedy search. final: the text of the whole segment."""
    text: str
    """A translation beside the transcript is a second line."""
    start: float
    """Of the segment, in seconds from the beginning of the stream."""
    end: float
    """Of the segment, or of what had been heard of it."""
    failure: tuple[str, str] | None = None
    """Reason and message of a segment that could not be recognised; its text is empty."""


class LiveRecognizer:
    """Recognises one stream: `accept` samples as they come, then `finish`.

    The final texts are those of `recognizer.recognize` for the segments' samples; how the stream comes in pieces changes
    neither them nor the segments.

    Args:
        vad: finds speech; None for the energy of frames.
        partials: a faster recogniser for partial texts; None for `recognizer`.

    Raises:
        ConfigError: segments that are longer than what a recogniser reads.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        vad: SpeechDetector | None = None,
        partials: Recognizer | None = None,
        config: LiveConfig | None = None,
    ) -> None:
        self._recognizer, self._partials = recognizer, partials or recognizer
        self._config = config or LiveConfig()
        longest = min(self._recognizer.max_seconds, self._partials.max_seconds) - FRAME_MS / 1000
        if self._config.max_segment_seconds > longest:
            raise ConfigError(f"max_segment_seconds is {self._config.max_segment_seconds}; this recogniser reads {longest:g}")
        detector = vad or EnergyDetector()
        self._cutter = SpeechCutter(detector, self._config.options(detector.options))
        self._told: SpeechSegment | None = None  # the open segment, as far as there was a partial text

    def accept(self, samples: np.ndarray) -> list[LiveEvent]:
        """What is known after the next samples [S], mono at 16 kHz: float32 with full scale 1, or int16. S may be 0.

        Raises:
            AudioError: unsupported (another type or shape), not_finite; these samples are then left out.
            ValueError: the stream is finished.
        """
        pieces = _checked(samples).split(_PIECE_SAMPLES)
        events = [event for piece in pieces for event in self._final(self._cutter.accept(piece))]
        return events + self._partial()

    def finish(self) -> list[LiveEvent]:
        """The segment that the end of the stream ends, if one is open."""
        return self._final(self._cutter.finish())

    def _final(self, segments: Iterable[SpokenSegment]) -> list[LiveEvent]:
        segments = list(segments)
        results = self._recognizer.recognize((f"{item.start}-{item.end}", item.samples) for item in segments)
        return [_final_event(item, result) for item, result in zip(segments, results, strict=True)]

    def _partial(self) -> list[LiveEvent]:
        """The text of the open segment, if it has grown by enough since it was last told."""
        if self._config.partial_seconds is None:
            return []
        stretch = self._cutter.open_stretch
        if stretch is None:
            return []
        start, end = stretch
        told = self._told.end_ms if self._told is not None and self._told.start_ms == start else start
        if end - told < 1000 * self._config.partial_seconds:
            return []
        self._told = stretch
        return [self._partial_event(self._cutter.cut(stretch))]

    def _partial_event(self, segment: SpokenSegment) -> LiveEvent:
        times = _seconds(segment)
        try:
            *_, text = self._partials.stream(segment.samples)
        except AudioError as error:
            return LiveEvent("partial", "", *times, (error.reason, str(error)))
        return LiveEvent("partial", text, *times)


def _final_event(segment: SpokenSegment, result: Hypothesis | Failure) -> LiveEvent:
    times = _seconds(segment)
    if isinstance(result, Failure):
        return LiveEvent("final", "", *times, (result.reason, result.message))
    return LiveEvent("final", result.answer.full_text, *times)


def _seconds(segment: SpokenSegment) -> tuple[float, float]:
    return segment.start / 1000, segment.end / 1000


def _checked(samples: np.ndarray) -> Tensor:
    """A copy of the samples as float32 with full scale 1. Raises AudioError."""
    if not isinstance(samples, np.ndarray) or samples.ndim != 1 or samples.dtype not in _TYPES:
        found = f"{samples.dtype} {list(samples.shape)}" if isinstance(samples, np.ndarray) else type(samples).__name__
        raise AudioError(f"a stream takes arrays [S] of float32 or int16 at {SAMPLE_RATE} Hz, found {found}", "unsupported")
    values = full_scale(samples)
    if len(values):
        check_range(values, "the stream")
    return torch.from_numpy(values)
