"""From the segments of a recording, in time order, to all that is said about it."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace

from mooer.common.lengths import SAMPLE_RATE
from mooer.pipeline.journal import Journal
from mooer.pipeline.long_models import LongModels
from mooer.pipeline.long_speakers import turns_of
from mooer.pipeline.punctuated_words import punctuate, sentences_of_segments, words_of
from mooer.pipeline.speaker_turns import Rule, Turn, speaker_of
from mooer.pipeline.speech_segments import SpeechSegment
from mooer.pipeline.transcription import DecodedSegment, SegmentFailure, Sentence, Transcription, Word
from mooer.text.cjk import join_texts


def assemble(key: str, journal: Journal, models: LongModels, num_speakers: int | None) -> Transcription:
    """The result for a recording whose journal is complete."""
    segments = journal.segments
    words = [words_of(segment) for segment in segments]
    raw_text = _raw_text(segments, words)
    text = raw_text if models.style == "published" else _joined(segments)
    sentences = sentences_of_segments(segments)
    if models.punctuator is not None:
        text, sentences = punctuate(segments, models.punctuator)
    turns = None
    if models.diarizer is not None:
        turns = turns_of(segments, num_speakers, models.diarizer.clustering)
        sentences = with_speakers(sentences, turns, "published" if models.style == "published" else "longest")
    is_timed = all(own is not None for own in words)
    return Transcription(
        key=key,
        text=text,
        raw_text=raw_text,
        segments=tuple(SpeechSegment(segment.start, segment.end) for segment in segments),
        sentences=tuple(sentences),
        words=tuple(word for own in words for word in own) if is_timed else (),
        turns=None if turns is None else tuple(turns),
        score=sum(segment.score for segment in segments),
        flags=tuple(dict.fromkeys(flag for segment in segments for flag in segment.flags)),
        failures=tuple(
            SegmentFailure(segment.start, segment.end, *segment.failure) for segment in segments if segment.failure is not None
        ),
        seconds=journal.num_samples / SAMPLE_RATE,
        elapsed_seconds=journal.elapsed_seconds,
    )


def _raw_text(segments: Sequence[DecodedSegment], words: Sequence[tuple[Word, ...] | None]) -> str:
    """A space between words with times, as the reference has it; texts as they are where there are none."""
    if all(own is not None for own in words):
        return " ".join(word.text for own in words for word in own)
    return _joined(segments)


def _joined(segments: Sequence[DecodedSegment]) -> str:
    """The texts as the recogniser wrote them, in one line."""
    return join_texts([" ".join(segment.text.split()) for segment in segments])


def with_speakers(sentences: Sequence[Sentence], turns: Sequence[Turn], rule: Rule) -> list[Sentence]:
    """The sentences with the speaker of each, as `speaker_of` chooses it. Both are in time order."""
    starts, ends = [turn.start for turn in turns], [turn.end for turn in turns]
    found = []
    for sentence in sentences:
        near = turns[bisect_right(ends, sentence.start) : bisect_left(starts, sentence.end)]
        found.append(replace(sentence, speaker=speaker_of(near, sentence.start, sentence.end, rule)))
    return found
