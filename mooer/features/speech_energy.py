"""Where a recording is loud enough to be speech: labels for recordings of one voice with little noise.

Shapes: S samples.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mooer.common.errors import AudioError, ConfigError
from mooer.common.lengths import SAMPLE_RATE, fbank_frames
from mooer.common.speech_times import Stretch, join_stretches, stretches_of_frames
from mooer.features.frame_stream import frame_decibels

# Percentiles of the frames' energies that stand for silence and for speech.
_QUIET, _LOUD = 5, 95


@dataclass(frozen=True, kw_only=True)
class EnergyRule:
    """What counts as speech. The threshold follows each recording: it lies between its quiet and its loud frames."""

    share: float = 0.4
    """How far the threshold is from the quiet frames on the way to the loud ones, in decibels."""
    max_depth_db: float = 35.0
    """How far it is below the loud ones at most, however quiet the silence is."""
    min_range_db: float = 12.0
    """A recording whose loud and quiet frames are nearer to each other has no speech that stands out."""
    max_pause_ms: int = 200
    """A shorter pause is a part of the speech around it."""
    min_speech_ms: int = 60
    """What is shorter, pauses included, is no speech."""
    margin_ms: int = 20
    """By how much the remaining stretches are widened."""

    def __post_init__(self) -> None:
        if not 0.0 < self.share < 1.0:
            raise ConfigError(f"share must lie between 0 and 1, found {self.share}")
        for name in ("max_depth_db", "min_range_db", "max_pause_ms", "min_speech_ms", "margin_ms"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, found {getattr(self, name)}")


def speech_by_energy(waveform: Tensor, rule: EnergyRule | None = None) -> list[Stretch]:
    """The stretches of speech of a waveform [S] (float32, 16 kHz, full scale 1), in milliseconds.

    Raises:
        AudioError: too_short, empty.
    """
    rule = rule or EnergyRule()
    num_frames = fbank_frames(len(waveform))
    if not num_frames:
        raise AudioError(f"{len(waveform)} samples are less than a frame", "too_short" if len(waveform) else "empty")
    decibels = frame_decibels(waveform, num_frames)
    quiet, loud = np.percentile(decibels, (_QUIET, _LOUD))
    if loud - quiet < rule.min_range_db:
        return []
    threshold = max(quiet + rule.share * (loud - quiet), loud - rule.max_depth_db)
    found = join_stretches(stretches_of_frames(decibels > threshold), rule.max_pause_ms)
    end_ms = 1000 * len(waveform) // SAMPLE_RATE
    kept = [(start, end) for start, end in found if end - start >= rule.min_speech_ms]
    return join_stretches((max(0, start - rule.margin_ms), min(end_ms, end + rule.margin_ms)) for start, end in kept)
