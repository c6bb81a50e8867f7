"""From stretches of speech to windows, and from the speakers of windows to turns.

Times are seconds as floats while turns are being found, as in the reference, so that borders are rounded alike. Results are ms.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from mooer.common.errors import ConfigError
from mooer.common.files import atomic_write
from mooer.common.lengths import SAMPLE_RATE
from mooer.text.rttm import TimedTurn, rttm_line

WINDOW_SECONDS, SHIFT_SECONDS = 1.5, 0.75
WINDOW_SAMPLES, SHIFT_SAMPLES = int(WINDOW_SECONDS * SAMPLE_RATE), int(SHIFT_SECONDS * SAMPLE_RATE)
# Shorter turns are given to a neighbour.
SHORTEST_TURN_SECONDS = 0.7
# Overlaps up to this are rounding.
OVERLAP_SECONDS = 1e-4

Rule = Literal["longest", "published"]


@dataclass(frozen=True)
class Window:
    """A stretch of speech that gets one embedding."""

    start: float
    """Seconds from the beginning of the recording."""
    end: float
    """Seconds; for a segment shorter than a window its own end."""
    first_sample: int
    """Place of its first sample in the segment."""
    num_samples: int
    """Samples of it that are in the segment; zeros make up for the rest."""


@dataclass(frozen=True)
class Turn:
    """What one speaker says without a break."""

    start: int
    """Ms from the beginning of the recording."""
    end: int
    """Ms."""
    speaker: int
    """From 0 on, in order of appearance."""


@dataclass(frozen=True)
class _Piece:
    """A turn in the making; seconds."""

    start: float
    end: float
    speaker: int


def windows_of(start: float, num_samples: int) -> list[Window]:
    """The windows of 1.5 s every 0.75 s of a segment; the last one ends with the segment.

    Args:
        start: where the segment begins, in seconds.
        num_samples: its samples at 16 kHz.
    """
    windows, covered = [], 0
    for first in range(0, num_samples, SHIFT_SAMPLES):
        end = min(first + WINDOW_SAMPLES, num_samples)
        if end <= covered:
            break
        covered, first = end, max(0, end - WINDOW_SAMPLES)
        windows.append(Window(start + first / SAMPLE_RATE, start + end / SAMPLE_RATE, first, end - first))
    return windows


def speaker_turns(windows: Sequence[Window], labels: Sequence[int]) -> list[Turn]:
    """The turns of windows in time order, by the speaker of each.

    Windows of one speaker that touch are one turn; where two speakers' windows overlap, the middle is the border; a turn under
    0.7 s goes to the nearer of its neighbours.
    """
    numbers: dict[int, int] = {}
    speakers = [numbers.setdefault(int(label), len(numbers)) for label in labels]
    pieces = [_Piece(window.start, window.end, speaker) for window, speaker in zip(windows, speakers, strict=True)]
    pieces = _without_short(_without_overlap(_joined(pieces)))
    return [Turn(round(1000 * piece.start), round(1000 * piece.end), piece.speaker) for piece in pieces]


def _joined(pieces: Iterable[_Piece]) -> list[_Piece]:
    joined: list[_Piece] = []
    for piece in pieces:
        if joined and piece.speaker == joined[-1].speaker and piece.start <= joined[-1].end:
            joined[-1] = replace(joined[-1], end=piece.end)
        else:
            joined.append(piece)
    return joined


def _without_overlap(pieces: list[_Piece]) -> list[_Piece]:
    for place in range(1, len(pieces)):
        before, after = pieces[place - 1 : place + 1]
        if before.end > after.start + OVERLAP_SECONDS:
            middle = (after.start + before.end) / 2
            pieces[place - 1 : place + 1] = replace(before, end=middle), replace(after, start=middle)
    return pieces


def _without_short(pieces: list[_Piece]) -> list[_Piece]:
    """Borders are rounded to 10 ms, except those of a turn that is the only one."""
    if len(pieces) < 2:
        return pieces
    for place, piece in enumerate(pieces):
        pieces[place] = piece = replace(piece, start=round(piece.start, 2), end=round(piece.end, 2))
        if piece.end - piece.start < SHORTEST_TURN_SECONDS:
            pieces[place] = replace(piece, speaker=_nearer_speaker(pieces, place))
    return _joined(pieces)


def _nearer_speaker(pieces: list[_Piece], place: int) -> int:
    """That of the neighbour with the smaller pause between; the earlier one where they are equal."""
    if place == 0:
        return pieces[1].speaker
    before, piece = pieces[place - 1 : place + 1]
    after = pieces[place + 1] if place + 1 < len(pieces) else None
    if after is None or piece.start - before.end <= after.start - piece.end:
        return before.speaker
    return after.speaker


def speaker_of(turns: Iterable[Turn], start: float, end: float, rule: Rule = "longest") -> int:
    """Who speaks from `start` to `end` ms; 0 where nobody does.

    Args:
        rule: longest: who speaks most in all, the first one of those that speak as long. published: the reference's rule, in
            which a turn must beat twice what the speaker before it had, so that earlier turns win.

    Raises:
        ConfigError: another rule.
    """
    if rule not in get_args(Rule):
        raise ConfigError(f"rule is {rule!r}; allowed: {', '.join(get_args(Rule))}")
    overlaps = [(turn.speaker, max(0.0, min(end, turn.end) - max(start, turn.start))) for turn in turns]
    if rule == "longest":
        spoken = Counter[int]()
        for speaker, overlap in overlaps:
            spoken[speaker] += overlap
        most = max(spoken.values(), default=0.0)
        return next((speaker for speaker, total in spoken.items() if total == most > 0), 0)
    winner, score = 0, 0.0
    for speaker, overlap in overlaps:
        if overlap > score:
            winner, score = speaker, overlap
        if speaker == winner:
            score += overlap
    return winner


def rttm_lines(recording: str, turns: Iterable[Turn]) -> list[str]:
    """One line of NIST's rich transcription format a turn, with times in seconds.

    Raises:
        DataError: a name of a recording that would not be one field.
    """
    return [rttm_line(recording, TimedTurn(1000 * turn.start, 1000 * turn.end, f"spk{turn.speaker}")) for turn in turns]


def write_rttm(path: str | Path, recordings: Mapping[str, Sequence[Turn]]) -> None:
    """Write the turns of recordings by name as one RTTM file. Raises DataError as `rttm_lines`."""
    lines = [line for recording, turns in recordings.items() for line in rttm_lines(recording, turns)]
    with atomic_write(path) as stream:
        stream.writelines(f"{line}\n" for line in lines)
