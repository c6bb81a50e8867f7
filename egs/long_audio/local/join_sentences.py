#!/usr/bin/env python3
"""Join sentences to recordings with pauses, noise and other sounds, and label where there is speech.

The labels are those of the clean sentences (text.speech), moved to where the sentence stands. A few recordings have no speech.
"""

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import soundfile
from other_sounds import background, event
from spoken import SAMPLE_RATE, level_of, samples_of, with_level, write_recordings

from mooer.cli._command import command
from mooer.common.seed import derived_seed
from mooer.common.speech_times import Stretch, format_speech_times, join_stretches, parse_speech_times
from mooer.data.lists import read_table

SECONDS = (8.0, 18.0)
SILENT_SHARE = 0.08
PAUSE_SECONDS = 0.7
EVENT_SHARE = 0.35
SPEECH_DB, NOISE_SNR_DB, EVENT_DB = (-32.0, -14.0), (3.0, 40.0), (-15.0, 6.0)


class Recording:
    """A recording as it is put together; sounds are added one after another."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._length = samples_of(generator.uniform(*SECONDS))
        self._level = 10 ** (generator.uniform(*SPEECH_DB) / 20)
        self._samples = np.zeros(self._length, np.float32)
        self._position = 0
        self.speech: list[Stretch] = []

    @property
    def has_room(self) -> bool:
        """Whether there is time left."""
        return self._position < self._length

    def add_pause(self) -> None:
        """Go on in time; now and then there is a sound in a pause."""
        length = samples_of(0.1 + self._generator.exponential(PAUSE_SECONDS))
        if self._generator.random() < EVENT_SHARE:
            sound = event(self._generator)
            self._put(with_level(sound, self._level * 10 ** (self._generator.uniform(*EVENT_DB) / 20)))
        self._position += length

    def add_speech(self, samples: np.ndarray, stretches: list[Stretch]) -> bool:
        """Add a sentence with its label; False if there is no room for it."""
        if self._position + len(samples) > self._length:
            return False
        start_ms = 1000 * self._position // SAMPLE_RATE
        self.speech += [(start + start_ms, end + start_ms) for start, end in stretches]
        self._put(with_level(samples, self._level * 10 ** (self._generator.uniform(-3, 3) / 20)))
        return True

    def _put(self, samples: np.ndarray) -> None:
        room = self._samples[self._position : self._position + len(samples)]
        room += samples[: len(room)]
        self._position += len(samples)

    def finished(self) -> np.ndarray:
        """All sounds, with noise over the whole of it."""
        level = self._level * 10 ** (-self._generator.uniform(*NOISE_SNR_DB) / 20)
        return self._samples + np.float32(level) * background(self._length, self._generator)


def joined(
    sentences: list[tuple[np.ndarray, list[Stretch]]], count: int, seed: int, speech: dict[str, str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Ids and samples [S] of recordings; where each holds speech is put into `speech`."""
    for number in range(count):
        generator = np.random.default_rng(derived_seed(seed, number))
        recording = Recording(generator)
        is_silent = generator.random() < SILENT_SHARE
        recording.add_pause()
        while recording.has_room and (is_silent or recording.add_speech(*sentences[int(generator.integers(len(sentences)))])):
            recording.add_pause()
        name = f"joined_{number:05d}"
        speech[name] = format_speech_times(join_stretches(recording.speech))
        yield name, recording.finished()


@command
@click.option("--sentence_dir", type=click.Path(path_type=Path), required=True, help="Data directory with text.speech.")
@click.option("--output_dir", type=click.Path(path_type=Path), required=True, help="Data directory to write.")
@click.option("--num_recordings", type=click.IntRange(1), required=True)
@click.option("--seed", type=int, required=True)
def main(sentence_dir: Path, output_dir: Path, num_recordings: int, seed: int) -> None:
    """Write the recordings and text.speech; a sentence comes as often as it is drawn."""
    labels = {name: parse_speech_times(label) for name, label in read_table(sentence_dir / "text.speech").items()}
    sentences = [(_read(sentence_dir, name), stretches) for name, stretches in labels.items() if stretches]
    speech: dict[str, str] = {}
    write_recordings(output_dir, joined(sentences, num_recordings, seed, speech), {"text.speech": speech})


def _read(directory: Path, name: str) -> np.ndarray:
    samples, _ = soundfile.read(directory / "wav" / f"{name}.wav", dtype="float32")
    return samples / np.float32(level_of(samples))


if __name__ == "__main__":
    main()
