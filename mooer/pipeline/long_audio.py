"""Transcripts of recordings of any length: cut at pauses, recognised, punctuated, cut to sentences, given speakers.

The recording passes once. In memory are a piece of it, the segments that are recognised together, and what is known of those
before: text, times and, where speakers are asked for, an embedding for each 0.75 s of speech.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from mooer.audio.io import Source
from mooer.audio.stream import stream_audio
from mooer.common.errors import DataError
from mooer.common.lengths import SAMPLE_RATE
from mooer.decode.hypothesis import Failure, Hypothesis, Word
from mooer.decode.writer import one_line
from mooer.pipeline.journal import Journal
from mooer.pipeline.long_models import LongModels
from mooer.pipeline.long_result import assemble
from mooer.pipeline.speech_cutter import CountedPieces, SpokenSegment, speech_of, whole_recording
from mooer.pipeline.transcriber_config import TranscriberConfig
from mooer.pipeline.transcription import DecodedSegment, Transcription


class Transcriber:
    """Transcribes recordings, one after another.

    Args:
        progress: told, after each window of segments, up to which second of the recording they reach.

    Raises:
        PathError, ConfigError, WeightsError, DataError: a model cannot be opened, or does not fit the settings.
    """

    def __init__(self, config: TranscriberConfig, progress: Callable[[float], object] = lambda seconds: None) -> None:
        self.config, self._progress = config, progress
        self.models = LongModels(config)

    def __call__(
        self,
        source: Source,
        *,
        key: str = "recording",
        sample_rate: int | None = None,
        start: float | None = None,
        end: float | None = None,
        journal: Journal | None = None,
    ) -> Transcription:
        """Transcribe a recording, or the part of it from `start` to `end` seconds, from which times then count.

        Args:
            source: path; bytes of an audio file; `RawPcm`; numpy array or tensor with its `sample_rate`.
            key: its name in the result.
            journal: where what is recognised is kept, or was by a run that was killed.

        Raises:
            AudioError: the recording cannot be read, or is too long to be recognised without a detector.
            DataError: the journal is of another recording.
        """
        journal = Journal() if journal is None else journal
        if journal.num_samples is None:
            with contextlib.closing(stream_audio(source, sample_rate=sample_rate, start=start, end=end)) as pieces:
                self._recognise_all(pieces, journal)
        return assemble(key, journal, self.models, self.config.num_speakers)

    def _recognise_all(self, pieces: Iterable[Tensor], journal: Journal) -> None:
        """Bring the journal to the end of the recording."""
        counted, started, done = CountedPieces(pieces), time.perf_counter(), 0
        for window in windows_of_segments(self._segments(counted), self.config.batch_seconds):
            if done < len(journal.windows):
                _check_same(window, journal.windows[done])
            else:
                decoded, now = self._recognise(window), time.perf_counter()
                journal.add(decoded, now - started)
                started = now
            done += 1
            self._progress(window[-1].end / 1000)
        _check_same([], journal.windows[done] if done < len(journal.windows) else [])
        journal.finish(counted.num_samples, time.perf_counter() - started)

    def _segments(self, pieces: CountedPieces) -> Iterator[SpokenSegment]:
        if self.models.detector is None:
            return whole_recording(pieces, self.models.whole_ms)
        return speech_of(pieces, self.models.detector, self.models.speech)

    def _recognise(self, window: Sequence[SpokenSegment]) -> list[DecodedSegment]:
        """The results of segments that are recognised together; one that fails leaves the others alone."""
        results = self.models.recognizer.recognize((f"{item.start}-{item.end}", item.samples) for item in window)
        decoded = [self._decoded(item, result) for item, result in zip(window, results, strict=True)]
        if self.models.diarizer is None:
            return decoded
        embeddings = self.models.diarizer.embed_segments([item.samples for item in window])
        return [replace(item, embeddings=rows) for item, rows in zip(decoded, embeddings, strict=True)]

    def _decoded(self, segment: SpokenSegment, result: Hypothesis | Failure) -> DecodedSegment:
        decoded = DecodedSegment(start=segment.start, end=segment.end, num_samples=len(segment.samples), text="", words=())
        if isinstance(result, Failure):
            return replace(decoded, failure=(result.reason, result.message))
        answer, text = result.answer, one_line(result.answer.text).strip()
        words = self._words(segment, text, answer.words)
        return replace(decoded, text=text, words=words, score=answer.score, flags=answer.flags)

    def _words(self, segment: SpokenSegment, text: str, words: tuple[Word, ...] | None) -> tuple[Word, ...] | None:
        """The words of a segment with their times in the recording; None where nobody knows them."""
        if words is None and not text:
            return ()
        if words is None and self.models.aligner is not None:
            words = self.models.aligner(segment.samples, text)
        if words is None:
            return None
        shift = segment.start
        return tuple(replace(word, start=word.start + shift, end=word.end + shift) for word in words)


def windows_of_segments(segments: Iterable[SpokenSegment], seconds: float) -> Iterator[list[SpokenSegment]]:
    """The segments in windows, of which each is complete when it holds so many seconds."""
    window: list[SpokenSegment] = []
    for segment in segments:
        window.append(segment)
        if sum(len(item.samples) for item in window) >= seconds * SAMPLE_RATE:
            yield window
            window = []
    if window:
        yield window


def _check_same(window: Sequence[SpokenSegment], kept: Sequence[DecodedSegment]) -> None:
    if [(item.start, item.end) for item in window] != [(item.start, item.end) for item in kept]:
        raise DataError("the journal is of a recording with other segments; remove it, or name another --output_dir")
