"""Stretches of speech as a label says them: `0.310-1.250 1.600-3.020`, in seconds from the start; `-` where there is none."""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from mooer.common.errors import DataError
from mooer.common.lengths import SAMPLE_RATE, SHIFT_SAMPLES, WINDOW_SAMPLES

NO_SPEECH = "-"
SPEECH_LABEL = "speech"

FRAME_MS = 1000 * SHIFT_SAMPLES // SAMPLE_RATE
# Twice the time from the start of a frame's window to its middle, which is no whole number.
_DOUBLE_MIDDLE_MS = 1000 * WINDOW_SAMPLES // SAMPLE_RATE
# Where, after the start of a frame's window, the middle of the one before it is past and its own to come.
_BORDER_MS = (_DOUBLE_MIDDLE_MS - FRAME_MS) // 2

_NUMBER = r"(\d+(?:\.\d*)?)"
_STRETCH = re.compile(f"{_NUMBER}-{_NUMBER}")

Stretch = tuple[int, int]
"""Start and end in milliseconds from the start of the recording."""


def parse_speech_times(text: str) -> list[Stretch]:
    """The stretches that a label names, in milliseconds.

    Raises:
        DataError: not START-END in seconds with START < END, or stretches that overlap or are not in order.
    """
    if text.strip() == NO_SPEECH:
        return []
    stretches = [_parse(word) for word in text.split()]
    if not stretches:
        raise DataError(f"a label of speech is empty; write {NO_SPEECH} where there is none")
    for (_, end), (start, _) in pairwise(stretches):
        if start < end:
            raise DataError(f"a stretch of speech begins at {start / 1000} s, before the one before it ends at {end / 1000} s")
    return stretches


def _parse(word: str) -> Stretch:
    match = _STRETCH.fullmatch(word)
    start, end = (round(1000 * float(value)) for value in match.groups()) if match else (0, 0)
    if start >= end:
        raise DataError(f"{word!r} is no stretch of speech; needed is START-END in seconds, such as 0.310-1.250")
    return start, end


def format_speech_times(stretches: Sequence[Stretch]) -> str:
    """The label that names these stretches (in milliseconds, in order)."""
    return " ".join(f"{start / 1000:.3f}-{end / 1000:.3f}" for start, end in stretches) or NO_SPEECH


def join_stretches(stretches: Iterable[Stretch], max_gap_ms: int = 0) -> list[Stretch]:
    """The stretches in order, those joined that overlap or have at most `max_gap_ms` between them."""
    joined: list[Stretch] = []
    for start, end in sorted(stretches):
        if joined and start - joined[-1][1] <= max_gap_ms:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def stretches_of_frames(is_speech: Iterable[bool]) -> list[Stretch]:
    """The stretches whose frames (25 ms every 10 ms) are speech: those with their middle inside."""
    starts = (number * FRAME_MS + _BORDER_MS for number, flag in enumerate(is_speech) if flag)
    return join_stretches((start, start + FRAME_MS) for start in starts)


def frames_of_stretch(stretch: Stretch) -> range:
    """Numbers of the frames whose middle lies in a stretch, its end not included."""
    start, end = stretch
    return range(*(max(0, -((_DOUBLE_MIDDLE_MS - 2 * border) // (2 * FRAME_MS))) for border in (start, end)))
