"""Sounds that are no speech: noises to speak over, and what is heard between sentences. Shapes: S samples at 16 kHz."""

import numpy as np
import torch
from spoken import SAMPLE_RATE, samples_of, with_level

from mooer.audio.surroundings import coloured_noise

_SECONDS = (0.2, 1.5)
_SEMITONE = 2 ** (1 / 12)
# Steps of a major and of a minor chord, in semitones.
_CHORDS = ((0, 4, 7), (0, 3, 7))


def background(length: int, generator: np.random.Generator) -> np.ndarray:
    """Noise [length] of root mean square 1: hiss, rumble or hum, each with some of the others."""
    noise = with_level(_coloured(length, generator), 1.0)
    if generator.random() < 0.3:
        hum = sum(np.sin(2 * np.pi * 50 * part * _seconds(length) + part) / part for part in (1, 2, 3, 5))
        noise = noise + with_level(hum.astype(np.float32), generator.uniform(0.2, 1.0))
    return with_level(noise, 1.0)


def event(generator: np.random.Generator) -> np.ndarray:
    """A sound [S] of root mean square 1: a tone, a little music, a burst of noise, or clicks."""
    length = samples_of(generator.uniform(*_SECONDS))
    kinds = (_tone, _music, _burst, _clicks)
    return with_level(kinds[int(generator.integers(len(kinds)))](length, generator).astype(np.float32), 1.0)


def _seconds(length: int) -> np.ndarray:
    return np.arange(length) / SAMPLE_RATE


def _coloured(length: int, generator: np.random.Generator) -> np.ndarray:
    """Noise between white and brown."""
    draws = torch.Generator().manual_seed(int(generator.integers(1 << 62)))
    return coloured_noise(length, generator.uniform(0.0, 1.0), draws).numpy()


def _tone(length: int, generator: np.random.Generator) -> np.ndarray:
    """A beep, or a sweep from one pitch to another."""
    start, end = generator.uniform(200, 3000, 2)
    pitch = np.linspace(start, end if generator.random() < 0.5 else start, length)
    return np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE) * _faded(length)


def _music(length: int, generator: np.random.Generator) -> np.ndarray:
    """Chords one after another, each of decaying tones with overtones."""
    sound = np.zeros(length)
    beat = samples_of(generator.uniform(0.12, 0.4))
    for start in range(0, length, beat):
        size = length - start
        times = _seconds(size)
        root = generator.uniform(110, 440)
        for step in _CHORDS[int(generator.integers(len(_CHORDS)))]:
            pitch = root * _SEMITONE**step
            tones = (np.sin(2 * np.pi * pitch * part * times) / part**1.5 for part in (1, 2, 3, 4))
            sound[start:] += sum(tones) * np.exp(-times / generator.uniform(0.1, 0.6))
    return sound * _faded(length)


def _burst(length: int, generator: np.random.Generator) -> np.ndarray:
    """Noise that swells and goes, as of a passing car or of paper."""
    return _coloured(length, generator) * np.sin(np.linspace(0.0, np.pi, length)) ** 2


def _clicks(length: int, generator: np.random.Generator) -> np.ndarray:
    """Knocks, or keys that are pressed."""
    sound = np.zeros(length)
    for start in generator.integers(0, length, max(2, length // samples_of(0.15))):
        size = min(length - int(start), samples_of(0.05))
        decay = np.exp(-_seconds(size) / generator.uniform(0.002, 0.012))
        sound[start : start + size] += generator.standard_normal(size) * decay
    return sound


def _faded(length: int) -> np.ndarray:
    """1 with 20 ms of fading at both ends."""
    ramp = np.minimum(1.0, np.arange(length) / samples_of(0.02))
    return ramp * ramp[::-1]
