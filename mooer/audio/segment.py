"""Cutting by time. Seconds become sample positions in one way everywhere: rounded to the nearest sample of the source."""

import math
from typing import TYPE_CHECKING

from mooer.common.errors import AudioError
from mooer.common.lengths import SAMPLE_RATE

if TYPE_CHECKING:
    from torch import Tensor

# Ends in segment lists are often rounded up; Kaldi's extract-segments allows the same overshoot.
MAX_OVERSHOOT_SECONDS = 0.5


def frame_range(name: str, num_frames: int, sample_rate: int, start: float | None, end: float | None) -> tuple[int, int]:
    """First sample and the one after the last of the part from `start` to `end` seconds.

    Args:
        name: the recording, for messages.
        num_frames: samples a channel of the whole recording.
        start, end: seconds; None is the recording's own. An end up to half a second too late is moved to the recording's.

    Raises:
        AudioError: empty (nothing between start and end, or the recording ends before start), truncated (the recording ends
            more than half a second before `end`).
    """
    check_times(name, start, end)
    seconds = num_frames / sample_rate
    if end is not None and end > seconds + MAX_OVERSHOOT_SECONDS:
        raise AudioError(f"{name}: the segment ends at {end:g} s but the recording at {seconds:.3f} s", "truncated")
    first = 0 if start is None else round(start * sample_rate)
    stop = num_frames if end is None else min(round(end * sample_rate), num_frames)
    if first >= stop:
        wanted = "" if start is None and end is None else f" between {start or 0:g} s and {'the end' if end is None else end}"
        raise AudioError(f"{name}: there are no samples{wanted}", "empty")
    return first, stop


def check_times(name: str, start: float | None, end: float | None) -> None:
    """Raise AudioError unsupported unless both are None or times in seconds."""
    for label, value in (("start", start), ("end", end)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise AudioError(f"{name}: segment {label} {value} is not a time in seconds", "unsupported")


def cut(waveform: "Tensor", start: float | None, end: float | None) -> "Tensor":
    """The part of a 16 kHz waveform [S] from `start` to `end` seconds, as a view. Raises AudioError as `frame_range` does."""
    first, stop = frame_range("waveform", waveform.numel(), SAMPLE_RATE, start, end)
    return waveform[first:stop]
