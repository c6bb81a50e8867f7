"""Clauses spoken by espeak-ng, and how recordings and tables of them are written.

Shapes: S samples at 16 kHz, float in [-1, 1].
"""

import random
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mooer.common.lengths import SAMPLE_RATE
from mooer.data.lists import write_table

# The recipe mini has the synthesiser, the names of its voices and the change of rate.
sys.path.append(str(Path(__file__).resolve().parents[2] / "mini" / "local"))
from espeak import Espeak
from synthesize import LANGUAGES, NATURAL_BLOCK, TEST_VOICES, TRAIN_VOICES, resample, write_wav

__all__ = [
    "SAMPLE_RATE",
    "TEST_VOICES",
    "TRAIN_VOICES",
    "Espeak",
    "Speaker",
    "level_of",
    "samples_of",
    "with_level",
    "write_recordings",
]


class Speaker:
    """Somebody with a voice, a rate and a pitch of their own."""

    def __init__(self, espeak: Espeak, voice: str, draw: random.Random) -> None:
        self.voice = voice
        self._espeak, self._draw = espeak, draw
        self._rate, self._pitch, self._range = draw.randint(165, 200), draw.randint(35, 65), draw.randint(35, 65)

    def say(self, text: str, language: str) -> np.ndarray:
        """The samples [S] of a clause."""
        rate, pitch = self._rate + self._draw.randint(-5, 5), self._pitch + self._draw.randint(-5, 5)
        samples = self._espeak.say(text, f"{LANGUAGES[language]}+{self.voice}", rate, pitch, self._range)
        return resample(samples.astype(np.float32) / 32768, NATURAL_BLOCK)


def samples_of(seconds: float) -> int:
    """Samples of a stretch of time."""
    return round(seconds * SAMPLE_RATE)


def level_of(samples: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(samples)))) if len(samples) else 0.0


def with_level(samples: np.ndarray, level: float) -> np.ndarray:
    """The samples with another root mean square; silence stays silence."""
    own = level_of(samples)
    return samples * np.float32(level / own) if own else samples


def write_recordings(directory: Path, waveforms: Mapping[str, np.ndarray], tables: Mapping[str, Mapping[str, str]]) -> None:
    """Write wav files, wav.scp and further tables of a data directory, all sorted by id."""
    (directory / "wav").mkdir(parents=True, exist_ok=True)
    for name, samples in waveforms.items():
        write_wav(directory / "wav" / f"{name}.wav", np.clip(samples, -1.0, 1.0))
    paths = {name: f"wav/{name}.wav" for name in waveforms}
    for table, values in {"wav.scp": paths, **tables}.items():
        write_table(directory / table, {name: values[name] for name in sorted(values)})
