"""Data directories out of what a corpus holds: the part of the preparation that all corpora share.

A script that knows a corpus's layout yields its utterances in any order, and a Problem for each that cannot be used. Here
they are checked, sorted and written; whatever is left out is counted, named in the directory's failed.jsonl, and makes the
exit status 1, unless the published corpus is known for it.
"""

import functools
import itertools
import operator
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mooer.common.errors import DataError, PartialFailure
from mooer.common.log import get_logger
from mooer.data.directory import AUDIO_TABLE, SEGMENT_TABLE, SPEAKER_TABLE
from mooer.data.lists import write_failures, write_table
from mooer.data.utterance import TRANSCRIPT, Problem

TRANSLATION_TABLE = f"{TRANSCRIPT}.en"
TABLES = (TRANSCRIPT, TRANSLATION_TABLE, SPEAKER_TABLE, SEGMENT_TABLE, AUDIO_TABLE)

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ufffe\ufeff]")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Segment:
    """The stretch of a long recording that an utterance is."""

    recording: str
    """The recording's id."""
    start: float
    """In seconds."""
    end: float
    """In seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusUtterance:
    """What a corpus knows of an utterance."""

    id: str
    """As published, so that results can be compared."""
    audio: str
    """Path of its recording, or of the long recording that it is a segment of."""
    text: str
    """Transcript."""
    english: str | None = None
    """Translation into English, where the corpus has translations."""
    speaker: str | None = None
    """None where nobody knows."""
    segment: Segment | None = None
    """None where the recording is one utterance."""


Entries = Iterable[CorpusUtterance | Problem]


def write_sets(
    output_dir: str | Path, sets: Mapping[str, Entries], known: Collection[str] = (), common: Iterable[Problem] = ()
) -> None:
    """A data directory below `output_dir` for each set of a corpus.

    Args:
        sets: what is found of each set, by the name that its directory gets.
        known: reasons for which the published corpus itself has utterances that cannot be used. They are counted and listed
            like the others, but they are no failure.
        common: problems of files that belong to all sets; they are listed with the first.

    Raises:
        DataError: a set of which nothing can be used.
        PartialFailure: something was left out for a reason that is not in `known`; everything else is written.
    """
    failed: Counter[str] = Counter()
    for number, (name, entries) in enumerate(sets.items()):
        problems = write_directory(Path(output_dir) / name, entries if number else itertools.chain(common, entries))
        failed.update(problem.reason for problem in problems if problem.reason not in known)
    if failed:
        raise PartialFailure(
            f"{failed.total()} left out ({_counted(failed)}), the rest is written; "
            f"failed.jsonl in each directory below {output_dir} lists them"
        )


def write_directory(folder: Path, entries: Entries) -> list[Problem]:
    """One data directory, sorted by utterance id; returns what was left out, which is listed in its failed.jsonl.

    wav.scp and text are always written; text.en, utt2spk and segments where the corpus has translations, where all speakers
    are known, and where recordings are longer than utterances.

    Raises:
        DataError: not one utterance can be used.
    """
    utterances, problems = _sort_out(entries)
    reasons = _counted(Counter(problem.reason for problem in problems))
    if not utterances:
        example = f"; for example: {problems[0].message}" if problems else ""
        raise DataError(f"{folder.name}: not one utterance can be used ({reasons or 'there is none'}){example}")
    utterances.sort(key=operator.attrgetter("id"))
    write_failures(folder, problems)
    for name, table in _tables(utterances):
        if table:
            write_table(folder / name, table)
        else:
            (folder / name).unlink(missing_ok=True)
    log.info("%s: %d utterances%s", folder.name, len(utterances), f"; left out: {reasons}" if problems else "")
    return problems


def _counted(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))


def _tables(utterances: list[CorpusUtterance]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each of TABLES, one at a time because those of a large corpus are large."""
    yield TRANSCRIPT, {item.id: item.text for item in utterances}
    yield TRANSLATION_TABLE, {item.id: item.english for item in utterances if item.english is not None}
    speakers_known = all(item.speaker for item in utterances)
    yield SPEAKER_TABLE, {item.id: item.speaker for item in utterances} if speakers_known else {}
    cut = {item.id: item.segment for item in utterances if item.segment}
    yield SEGMENT_TABLE, {name: f"{segment.recording} {segment.start} {segment.end}" for name, segment in cut.items()}
    recordings = {item.segment.recording if item.segment else item.id: item.audio for item in utterances}
    yield AUDIO_TABLE, dict(sorted(recordings.items()))


def _sort_out(entries: Entries) -> tuple[list[CorpusUtterance], list[Problem]]:
    """The utterances that can be used, and what cannot."""
    intake = _Intake()
    utterances, problems = [], []
    for entry in entries:
        fault = entry if isinstance(entry, Problem) else intake.fault(entry)
        if fault is not None:
            problems.append(fault)
        else:
            utterances.append(entry)
    return utterances, problems


class _Intake:
    """Checks utterances one after another; remembers which ids have gone by."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.recordings: dict[str, str] = {}
        # Neighbouring segments have the same recording.
        self.is_file = functools.lru_cache(maxsize=16)(os.path.isfile)

    def fault(self, utterance: CorpusUtterance) -> Problem | None:
        """Why the utterance cannot be used; None takes it in."""
        for reason, message in self._faults(utterance):
            return Problem(utterance.id, reason, f"{utterance.id}: {message}")
        self.ids.add(utterance.id)
        if utterance.segment:
            self.recordings[utterance.segment.recording] = utterance.audio
        return None

    def _faults(self, utterance: CorpusUtterance) -> Iterator[tuple[str, str]]:
        if utterance.id.split() != [utterance.id]:
            yield "bad_id", "an id must be one word"
        if utterance.id in self.ids:
            yield "duplicate_id", "the id was there before; the first one is kept"
        for text in (utterance.text, utterance.english):
            if text is not None and not text.strip():
                yield "empty_text", "the transcript or the translation is empty"
            if text is not None and _CONTROL.search(text):
                yield "bad_text", f"{text!r} holds a control character"
        if utterance.segment:
            yield from self._segment_faults(utterance.segment, utterance.audio)
        if not self.is_file(utterance.audio):
            yield "missing_audio", f"{utterance.audio} does not exist"

    def _segment_faults(self, segment: Segment, audio: str) -> Iterator[tuple[str, str]]:
        if segment.recording.split() != [segment.recording]:
            yield "bad_id", f"recording id {segment.recording!r} must be one word"
        if not 0 <= segment.start < segment.end < float("inf"):
            yield "bad_segment", f"{segment.start} to {segment.end} s is no stretch of a recording"
        if self.recordings.get(segment.recording, audio) != audio:
            yield "duplicate_id", f"recording {segment.recording} is {self.recordings[segment.recording]}, and {audio} too"
