"""A recording on its way, cut where nobody speaks: of what has passed, only the open segment is kept."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mooer.common.errors import AudioError
from mooer.common.lengths import SAMPLE_RATE, SHIFT_SAMPLES
from mooer.pipeline.speech_segments import SpeechOptions, SpeechSegment
from mooer.pipeline.voice_activity import SpeechDetector

SAMPLES_PER_MS = SAMPLE_RATE // 1000
# Frames that the detector is behind the samples it was given: those of a window and of a stacked frame, generously.
_LATE_FRAMES = 20


@dataclass(frozen=True)
class SpokenSegment:
    """A stretch of speech with its samples."""

    start: int
    """Ms from the beginning of the recording."""
    end: int
    """Ms; the samples may end earlier, with the recording."""
    samples: Tensor
    """[S] float32 at 16 kHz."""


class CountedPieces:
    """Pieces of a recording as they pass, and how many samples have passed."""

    def __init__(self, pieces: Iterable[Tensor]) -> None:
        self._pieces = pieces
        self.num_samples = 0

    def __iter__(self) -> Iterator[Tensor]:
        for piece in self._pieces:
            self.num_samples += len(piece)
            yield piece


class SpeechCutter:
    """Cuts one recording, of which at most the open segment, a piece and half a second are in memory."""

    def __init__(self, detector: SpeechDetector, options: SpeechOptions) -> None:
        self._stream, self._history = detector.stream(options), _History()
        self._behind = (options.latency_frames + _LATE_FRAMES) * SHIFT_SAMPLES

    def accept(self, piece: Tensor) -> list[SpokenSegment]:
        """The segments that end in the next samples [S]. Raises AudioError: unsupported, not_finite, as `find_speech`."""
        ended = self._stream.accept(piece)
        self._history.add(piece)
        segments = [self._history.cut(segment) for segment in ended]
        start, late = self._stream.open_start_ms, self._history.end - self._behind
        self._history.forget(late if start is None else min(start * SAMPLES_PER_MS, late))
        return segments

    @property
    def open_stretch(self) -> SpeechSegment | None:
        """The segment that has begun and not ended, as far as samples have come; None if there is none."""
        start = self._stream.open_start_ms
        return None if start is None else SpeechSegment(start, self._history.end // SAMPLES_PER_MS)

    def cut(self, stretch: SpeechSegment) -> SpokenSegment:
        """A copy of the samples of `open_stretch`."""
        return self._history.cut(stretch)

    def finish(self) -> list[SpokenSegment]:
        """The segments that the end of the recording ends."""
        return [self._history.cut(segment) for segment in self._stream.finish()]


def speech_of(pieces: Iterable[Tensor], detector: SpeechDetector, options: SpeechOptions) -> Iterator[SpokenSegment]:
    """The segments of speech of a recording that comes in pieces [S] of any lengths, each with its samples.

    Raises:
        AudioError: unsupported, not_finite, as `find_speech`.
    """
    cutter = SpeechCutter(detector, options)
    for piece in pieces:
        yield from cutter.accept(piece)
    yield from cutter.finish()


def whole_recording(pieces: Iterable[Tensor], max_ms: int) -> Iterator[SpokenSegment]:
    """The recording as one segment. Raises AudioError too_long for one of over `max_ms`."""
    history, most = _History(), max_ms * SAMPLES_PER_MS
    for piece in pieces:
        history.add(piece)
        if history.end > most:
            message = (
                f"the recording is longer than {max_ms / 1000:g} s, the most that is recognised in one piece: name a model for "
                "voice activity detection (vad_dir), which cuts it at pauses"
            )
            raise AudioError(message, "too_long")
    yield history.cut(SpeechSegment(0, -(-history.end // SAMPLES_PER_MS)))


class _History:
    """The last samples of a recording."""

    def __init__(self) -> None:
        self._pieces: list[Tensor] = []
        self._first = 0  # number of the first sample that is kept
        self.end = 0  # number of the sample that comes next

    def add(self, piece: Tensor) -> None:
        self._pieces.append(piece)
        self.end += len(piece)

    def cut(self, segment: SpeechSegment) -> SpokenSegment:
        """A copy of a segment's samples."""
        start, end = (milliseconds * SAMPLES_PER_MS - self._first for milliseconds in segment)
        assert start >= 0, "the samples of a segment are kept until it ends"
        self._pieces = [torch.cat(self._pieces)]
        return SpokenSegment(*segment, self._pieces[0][start:end].clone())

    def forget(self, number: int) -> None:
        """Drop the pieces that lie wholly before the sample with this number."""
        while self._pieces and self._first + len(self._pieces[0]) <= number:
            self._first += len(self._pieces.pop(0))
        if self._pieces and number > self._first:
            self._pieces[0] = self._pieces[0][number - self._first :].clone()
            self._first = number
