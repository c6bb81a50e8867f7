"""Diarization error rate: how much of the speech has the wrong speaker, or none, and how much speech there never was.

The rule is that of NIST's md-eval and of pyannote.metrics: time within a collar of any border of a reference turn is not
scored, each stretch of time counts as often as reference speakers talk in it, and hypothesis speakers are mapped one to one to
those of the reference so that they share the most scored time. All of a recording is scored, before and after the reference's
turns too, as pyannote.metrics does where no map of scored regions is given.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import mooer
from mooer.common.errors import ConfigError, DataError
from mooer.score.assignment import best_assignment
from mooer.text.rttm import SECOND, TimedTurn

DEFAULT_COLLAR = 0.25


@dataclass(frozen=True, kw_only=True)
class DerConfig:
    """What is scored."""

    collar: float = DEFAULT_COLLAR
    """Seconds on either side of each border of a reference turn that are not scored: md-eval's `-c 0.25`, which
    pyannote.metrics calls a collar of 0.5."""
    skip_overlap: bool = False
    """Leave out where several reference speakers talk at once: md-eval's `-1`."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.collar < 1e6:
            raise ConfigError(f"collar is a number of seconds, not negative; found {self.collar}")


@dataclass(frozen=True)
class SpeakerTime:
    """Scored time in microseconds, that of several speakers at once counted for each; it adds up over recordings."""

    speech: int = 0
    """Of the reference."""
    missed: int = 0
    """Reference speech without a hypothesis."""
    false_alarm: int = 0
    """Hypothesis speech without a reference."""
    confusion: int = 0
    """Speech of a speaker who is not the one mapped to that of the reference."""

    @property
    def errors(self) -> int:
        """All that is wrong; more than `speech` is possible."""
        return self.missed + self.false_alarm + self.confusion

    @property
    def percent(self) -> float:
        """100 * errors / speech; 0 by definition where the reference holds no speech, whatever false alarm there is."""
        return 100.0 * self.errors / self.speech if self.speech else 0.0

    def __add__(self, other: "SpeakerTime") -> "SpeakerTime":
        return SpeakerTime(
            self.speech + other.speech,
            self.missed + other.missed,
            self.false_alarm + other.false_alarm,
            self.confusion + other.confusion,
        )


@dataclass(frozen=True, kw_only=True)
class RecordingScore:
    """One recording's time, and who was taken for whom."""

    id: str
    time: SpeakerTime
    mapping: dict[str, str]
    """Speaker of the hypothesis by speaker of the reference; those who share no scored time with anybody are not in it."""
    num_speakers: tuple[int, int]
    """In the reference and in the hypothesis."""


@dataclass(frozen=True, kw_only=True)
class DerReport:
    """Diarization error rates of a set of recordings: what was counted, and how."""

    config: DerConfig
    recordings: tuple[RecordingScore, ...]
    """In the references' order."""
    missing: tuple[str, ...]
    """References without a hypothesis: counted as all missed."""
    extra: tuple[str, ...]
    """Hypotheses without a reference: not counted."""
    metric: Literal["der", "vad"] = "der"
    """vad where all speech is of one speaker, so that nothing is confused."""

    @cached_property
    def time(self) -> SpeakerTime:
        """The totals."""
        return sum((recording.time for recording in self.recordings), SpeakerTime())

    @property
    def signature(self) -> str:
        """All that a figure depends on besides the turns, in one line."""
        overlap = "skipped" if self.config.skip_overlap else "scored"
        rule = f"metric:{self.metric}|collar:{self.config.collar:g}s-each-side|overlap:{overlap}|mapping:optimal"
        return f"{rule}|missing:missed|version:mooer-{mooer.__version__}"


def score_diarization(
    references: Mapping[str, Sequence[TimedTurn]],
    hypotheses: Mapping[str, Sequence[TimedTurn]],
    config: DerConfig | None = None,
) -> DerReport:
    """Score the turns of recordings.

    Args:
        references: turns by recording; those without a hypothesis count as all missed.
        hypotheses: turns by recording; those without a reference are named in the report and not counted.

    Raises:
        DataError: no references at all.
    """
    if not references:
        raise DataError("there are no references to score against")
    config = config or DerConfig()
    return DerReport(
        config=config,
        recordings=tuple(_recording(name, turns, hypotheses.get(name, ()), config) for name, turns in references.items()),
        missing=tuple(name for name in references if name not in hypotheses),
        extra=tuple(name for name in hypotheses if name not in references),
    )


def _recording(name: str, reference: Sequence[TimedTurn], hypothesis: Sequence[TimedTurn], config: DerConfig) -> RecordingScore:
    speech = missed = false_alarm = paired = 0
    shared: dict[tuple[str, str], int] = defaultdict(int)
    for duration, speakers, guesses in _stretches(reference, hypothesis, config):
        speech += duration * len(speakers)
        missed += duration * max(0, len(speakers) - len(guesses))
        false_alarm += duration * max(0, len(guesses) - len(speakers))
        paired += duration * min(len(speakers), len(guesses))
        for speaker in speakers:
            for guess in guesses:
                shared[speaker, guess] += duration
    mapping = _mapping(shared)
    confusion = paired - sum(shared[pair] for pair in mapping.items())
    return RecordingScore(
        id=name,
        time=SpeakerTime(speech, missed, false_alarm, confusion),
        mapping=mapping,
        num_speakers=(len(_speakers(reference)), len(_speakers(hypothesis))),
    )


def _speakers(turns: Iterable[TimedTurn]) -> set[str]:
    return {turn.speaker for turn in turns if turn.end > turn.start}


def _mapping(shared: Mapping[tuple[str, str], int]) -> dict[str, str]:
    """The hypothesis' speaker of each of the reference's, so that they share the most time."""
    speakers, guesses = (sorted({pair[side] for pair in shared}) for side in (0, 1))
    weights = [[shared.get((speaker, guess), 0) for guess in guesses] for speaker in speakers]
    return {speakers[row]: guesses[column] for row, column in best_assignment(weights)}


def _stretches(
    reference: Sequence[TimedTurn], hypothesis: Sequence[TimedTurn], config: DerConfig
) -> Iterator[tuple[int, set[str], set[str]]]:
    """Scored stretches in which nobody begins or ends: their duration, and who speaks in reference and hypothesis."""
    collar = round(config.collar * SECOND)
    events: list[tuple[int, str, str, int]] = []
    for turn in reference:
        if turn.end > turn.start:
            events += _events("reference", turn.speaker, turn.start, turn.end)
            events += [
                event for border in (turn.start, turn.end) for event in _events("collar", "", border - collar, border + collar)
            ]
    for turn in hypothesis:
        events += _events("hypothesis", turn.speaker, turn.start, turn.end)
    open_turns = {side: Counter[str]() for side in ("reference", "hypothesis", "collar")}
    before = 0
    for time, side, speaker, change in sorted(events):
        speakers, guesses, collars = (set(+open_turns[name]) for name in ("reference", "hypothesis", "collar"))
        if time > before and not collars and not (config.skip_overlap and len(speakers) > 1):
            yield time - before, speakers, guesses
        open_turns[side][speaker] += change
        before = time


def _events(side: str, speaker: str, start: int, end: int) -> list[tuple[int, str, str, int]]:
    return [(start, side, speaker, 1), (end, side, speaker, -1)]
