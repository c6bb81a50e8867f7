"""How well speech was found: what was missed of it and what was taken for it, in milliseconds.

Both are given in percent of the speech that there is, as the miss and false alarm of a diarization error rate are; their sum is
the detection error rate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import mooer
from mooer.common.errors import DataError
from mooer.common.speech_times import Stretch, join_stretches, parse_speech_times


@dataclass(frozen=True)
class SpeechTime:
    """Times in milliseconds; they add up over recordings."""

    speech: int = 0
    """Of the reference."""
    missed: int = 0
    """Speech that was not found."""
    false_alarm: int = 0
    """What was found and is no speech."""

    def percent(self, milliseconds: int) -> float:
        """In percent of the speech; 0 by definition without any."""
        return 100.0 * milliseconds / self.speech if self.speech else 0.0

    @property
    def errors(self) -> int:
        """All that is wrong; more than `speech` is possible."""
        return self.missed + self.false_alarm

    def __add__(self, other: "SpeechTime") -> "SpeechTime":
        return SpeechTime(self.speech + other.speech, self.missed + other.missed, self.false_alarm + other.false_alarm)


@dataclass(frozen=True, kw_only=True)
class SpeechActivityReport:
    """Detection errors of a set of recordings."""

    collar_ms: int
    """Time on either side of each border of reference speech that is not scored."""
    recordings: dict[str, SpeechTime]
    """In the references' order."""
    missing: tuple[str, ...]
    """References without a hypothesis: their speech counts as missed."""
    extra: tuple[str, ...]
    """Hypotheses without a reference: not counted."""

    @cached_property
    def time(self) -> SpeechTime:
        """The totals."""
        return sum(self.recordings.values(), SpeechTime())

    @property
    def signature(self) -> str:
        """All that a figure depends on besides the stretches, in one line."""
        collar = f"collar:{self.collar_ms / 1000:g}s-each-side"
        return f"metric:vad|of:reference-speech|{collar}|missing:missed|version:mooer-{mooer.__version__}"


def score_speech_activity(
    references: Mapping[str, str], hypotheses: Mapping[str, str], collar_ms: int = 0
) -> SpeechActivityReport:
    """Compare labels of speech (`mooer.common.speech_times`) by recording.

    Raises:
        DataError: no references at all, or a label that breaks the format; the message names the recording.
    """
    if not references:
        raise DataError("there are no references to score against")
    pairs = {name: (_parse(name, label), _parse(name, hypotheses.get(name))) for name, label in references.items()}
    return SpeechActivityReport(
        collar_ms=collar_ms,
        recordings={name: _compare(reference, hypothesis, collar_ms) for name, (reference, hypothesis) in pairs.items()},
        missing=tuple(name for name in references if name not in hypotheses),
        extra=tuple(name for name in hypotheses if name not in references),
    )


def _parse(name: str, label: str | None) -> list[Stretch]:
    try:
        return [] if label is None else join_stretches(parse_speech_times(label))
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


def _compare(reference: Sequence[Stretch], hypothesis: Sequence[Stretch], collar_ms: int) -> SpeechTime:
    borders = [border for stretch in reference for border in stretch] if collar_ms else []
    ignored = join_stretches((border - collar_ms, border + collar_ms) for border in borders)
    both = _common(reference, hypothesis)
    sizes = [_length(stretches) - _length(_common(stretches, ignored)) for stretches in (reference, hypothesis, both)]
    return SpeechTime(sizes[0], sizes[0] - sizes[2], sizes[1] - sizes[2])


def _length(stretches: Sequence[Stretch]) -> int:
    return sum(end - start for start, end in stretches)


def _common(left: Sequence[Stretch], right: Sequence[Stretch]) -> list[Stretch]:
    """What two rows of stretches, each in order and without overlap, have in common."""
    common, first, second = [], 0, 0
    while first < len(left) and second < len(right):
        start, end = max(left[first][0], right[second][0]), min(left[first][1], right[second][1])
        if start < end:
            common.append((start, end))
        if left[first][1] <= right[second][1]:
            first += 1
        else:
            second += 1
    return common
