"""Training strings: recordings of single words, one or a few after another, each at a speed of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from word_recordings import Recording

from mooer.audio.augment import change_gain, change_speed
from mooer.audio.io import load_audio
from mooer.common.errors import ConfigError, DataError
from mooer.common.lengths import SAMPLE_RATE
from mooer.common.seed import derived_seed

_FRAME = SAMPLE_RATE // 100


@dataclass(frozen=True, kw_only=True)
class StringConfig:
    """How training strings are made. Pairs are a lowest and a highest value, drawn anew for each word."""

    passes: int = 2
    """How often each word occurs, every time in another string."""
    length_weights: tuple[float, ...] = (3.0, 1.0, 1.0)
    """How often a string has one word, two, three and so on."""
    silence_seconds: tuple[float, float] = (0.02, 0.3)
    """Silence left before and after a word, as far as its recording has it."""
    silence_db: float = 38.0
    """What is this far below the loudest 10 ms of a recording is silence."""
    speed: tuple[float, float] = (1.0, 1.0)
    """Speed relative to the recording's, pitch and tempo together."""
    gain_db: tuple[float, float] = (0.0, 0.0)
    """Level relative to the recording's."""

    def __post_init__(self) -> None:
        if self.passes < 1:
            raise ConfigError(f"passes must be at least 1, found {self.passes}")
        if not self.length_weights or min(self.length_weights) < 0.0 or not sum(self.length_weights) > 0.0:
            raise ConfigError(f"length_weights must not be negative nor all 0, found {self.length_weights}")
        for name in ("silence_seconds", "speed", "gain_db"):
            low, high = getattr(self, name)
            if low > high:
                raise ConfigError(f"{name} must be a lowest and a highest value, found {(low, high)}")
        if self.silence_seconds[0] < 0.0 or not self.silence_db > 0.0:
            raise ConfigError("silence_seconds must not be negative, silence_db must be positive")


def plan_strings(recordings: Sequence[Recording], config: StringConfig, seed: int) -> Iterator[list[Recording]]:
    """The words of each string; every recording occurs once in a pass."""
    weights = np.array(config.length_weights) / sum(config.length_weights)
    for number in range(config.passes):
        draw = np.random.default_rng(derived_seed(seed, number, "order of words"))
        order = draw.permutation(len(recordings)).tolist()
        while order:
            length = 1 + int(draw.choice(len(weights), p=weights))
            yield [recordings[place] for place in order[:length]]
            del order[:length]


def make_string(words: Sequence[Recording], config: StringConfig, seed: int, name: str) -> np.ndarray:
    """The waveform [S] of words at 16 kHz: the same for the same words, settings, seed and name.

    Raises:
        AudioError: a recording that cannot be read.
        DataError: a recording that is silent.
    """
    draw = np.random.default_rng(derived_seed(seed, name, "word string"))
    return np.concatenate([_spoken(word, config, draw) for word in words])


def _spoken(recording: Recording, config: StringConfig, draw: np.random.Generator) -> np.ndarray:
    """A word's waveform [S] as it is put into a string."""
    waveform = load_audio(recording.path)
    first, stop = speech_bounds(waveform.numpy(), config.silence_db)
    if stop == 0:
        raise DataError(f"{recording.path} is silent")
    before, after = (int(SAMPLE_RATE * draw.uniform(*config.silence_seconds)) for _ in range(2))
    kept = waveform[max(0, first - before) : stop + after]
    changed = change_gain(change_speed(kept, draw.uniform(*config.speed)), draw.uniform(*config.gain_db))
    return changed.numpy()


def speech_bounds(waveform: np.ndarray, silence_db: float) -> tuple[int, int]:
    """First sample of [S] that is no silence and the one after the last, in steps of 10 ms; (0, 0) if all is silent."""
    frames = waveform[: len(waveform) // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    loud = np.flatnonzero(power > np.max(power, initial=0.0) * 10.0 ** (-silence_db / 10.0))
    return (int(loud[0]) * _FRAME, int(loud[-1] + 1) * _FRAME) if loud.size else (0, 0)
