"""Conversations to diarize: their waveforms, and where speech is, by their known turns in place of a detector's answer."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mooer.audio.io import load_audio
from mooer.common.errors import DataError
from mooer.data.directory import read_data_dir
from mooer.data.lists import read_table
from mooer.text.rttm import SECOND, TimedTurn, read_rttm

# Shorter pauses are within a stretch of speech, as for a voice activity detector.
SHORTEST_PAUSE_MS = 500


@dataclass(frozen=True)
class KnownSpeech:
    """A recording whose turns are known."""

    id: str
    waveform: Tensor
    """[S]."""
    segments: list[tuple[int, int]]
    """Start and end of each stretch of speech in ms, whoever speaks."""
    num_speakers: int
    turns: list[TimedTurn]
    """Those that are known."""


def known_speech(data_dir: Path) -> Iterator[KnownSpeech]:
    """The conversations of a folder that `write_conversations.py` wrote. Raises PathError, DataError or AudioError."""
    turns, numbers = read_rttm(data_dir / "rttm"), read_table(data_dir / "num_speakers")
    for utterance in read_data_dir(data_dir, ()).utterances:
        if utterance.id not in turns or utterance.id not in numbers:
            raise DataError(f"{data_dir}: recording {utterance.id} is not in rttm and num_speakers")
        known = turns[utterance.id]
        waveform = load_audio(utterance.audio.path)
        yield KnownSpeech(utterance.id, waveform, speech_segments(known), int(numbers[utterance.id]), known)


def speech_segments(turns: Iterable[TimedTurn], shortest_pause: int = SHORTEST_PAUSE_MS) -> list[tuple[int, int]]:
    """The stretches of turns in ms, joined over pauses shorter than `shortest_pause`."""
    segments: list[tuple[int, int]] = []
    for start, end in sorted((turn.start * 1000 // SECOND, turn.end * 1000 // SECOND) for turn in turns):
        if segments and start - segments[-1][1] < shortest_pause:
            segments[-1] = (segments[-1][0], max(end, segments[-1][1]))
        else:
            segments.append((start, end))
    return segments
