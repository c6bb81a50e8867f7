"""Clauses spoken by espeak-ng, and how recordings and tables of them are written.

Shapes: S samples at 16 kHz, float in [-1, 1].
"""

import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mooer.common.lengths import SAMPLE_RATE
from mooer.data.lists import write_table

# The recipe mini has the synthesiser, the names of its voices and the change of rate.
sys.path.append(str(Path(__file__).resolve().parents[2] / "mini" / "local"))
from espeak import Espeak
from synthesize import (
    GAIN_FREQUENCIES,
    LANGUAGES,
    MAX_GAIN_DB,
    NATURAL_BLOCK,
    TEST_VOICES,
    TRAIN_BLOCKS,
    TRAIN_VOICES,
    resample,
    write_wav,
)

__all__ = [
    "SAMPLE_RATE",
    "TEST_VOICES",
    "TRAIN_VOICES",
    "Espeak",
    "Speaker",
    "level_of",
    "samples_of",
    "silence",
    "with_level",
    "write_recordings",
]

# Seconds between two clauses of a sentence, from and to.
CLAUSE_PAUSE = (0.15, 0.3)


class Speaker:
    """Somebody with a voice, a rate and a pitch of their own.

    Args:
        voice: of espeak-ng.
        varied: whether speed and colour are changed besides, as in the training sets.
    """

    def __init__(self, espeak: Espeak, voice: str, draw: random.Random, varied: bool = False) -> None:
        self.voice = voice
        self._espeak, self._draw = espeak, draw
        self._rate, self._pitch, self._range = draw.randint(165, 205), draw.randint(35, 65), draw.randint(35, 65)
        self._block, self._gains = NATURAL_BLOCK, None
        if varied:
            self._block = draw.choice(TRAIN_BLOCKS)
            self._gains = [draw.uniform(-MAX_GAIN_DB, MAX_GAIN_DB) for _ in GAIN_FREQUENCIES]

    def say(self, text: str, language: str) -> np.ndarray:
        """The samples [S] of a clause."""
        rate, pitch = self._rate + self._draw.randint(-5, 5), self._pitch + self._draw.randint(-5, 5)
        samples = self._espeak.say(text, f"{LANGUAGES[language]}+{self.voice}", rate, pitch, self._range)
        return resample(samples.astype(np.float32) / 32768, self._block, self._gains)

    def say_all(self, clauses: Sequence[str], language: str) -> list[np.ndarray]:
        """The samples of clauses and of the pauses between them, in turn."""
        pieces = [self.say(clauses[0], language)]
        for clause in clauses[1:]:
            pieces += [silence(CLAUSE_PAUSE, self._draw), self.say(clause, language)]
        return pieces


def silence(seconds: tuple[float, float], draw: random.Random) -> np.ndarray:
    """Zeros [S] of some length between two bounds."""
    return np.zeros(samples_of(draw.uniform(*seconds)), np.float32)


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


def write_recordings(
    directory: Path, recordings: Iterable[tuple[str, np.ndarray]], tables: Mapping[str, Mapping[str, str]]
) -> None:
    """Write wav files, wav.scp and further tables of a data directory, all sorted by id.

    Args:
        recordings: ids and samples [S], of which one is in memory at a time.
        tables: by file name; they are read when all recordings are written, and may be filled by what makes those.
    """
    (directory / "wav").mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, samples in recordings:
        paths[name] = f"wav/{name}.wav"
        write_wav(directory / paths[name], np.clip(samples, -1.0, 1.0))
    for table, values in {"wav.scp": paths, **tables}.items():
        write_table(directory / table, {name: values[name] for name in sorted(values)})
