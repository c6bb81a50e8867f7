#!/usr/bin/env python3
"""Speak sentences to train on: clean ones for voice activity detection, or with silence and noise for a recogniser.

The library keeps state from call to call, so all is made in one order, in a process of its own.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from marked_sentences import LANGUAGES, Sentences
from other_sounds import background
from spoken import TRAIN_VOICES, Espeak, Speaker, silence, with_level, write_recordings
from tqdm import tqdm

from mooer.cli._command import command
from mooer.common.seed import derived_seed

# Seconds before and after a sentence, from and to.
BEFORE, AFTER = (0.0, 0.6), (0.0, 0.4)
SPEECH_DB, NOISE_SNR_DB = (-30.0, -16.0), (12.0, 40.0)


def spoken_sentences(count: int, seed: int, texts: dict[str, str]) -> Iterator[tuple[str, np.ndarray]]:
    """Ids and samples [S] of sentences in the training voices; their words are put into `texts`."""
    espeak, draw = Espeak(seed), random.Random(seed)
    sources = {language: Sentences(language, derived_seed(seed, language), held_out=False) for language in LANGUAGES}
    for number in tqdm(range(count), desc="sentences", unit="utt", disable=None):
        language, voice = LANGUAGES[number % len(LANGUAGES)], draw.choice(TRAIN_VOICES)
        clauses = sources[language].said().clauses
        name = f"{language}_{voice}_{number:05d}"
        texts[name] = (" " if language == "en" else "").join(clauses)
        yield name, np.concatenate(Speaker(espeak, voice, draw, varied=True).say_all(clauses, language))


def surrounded(samples: np.ndarray, seed: int) -> np.ndarray:
    """A sentence [S] with silence before and after it and noise over all, as in a segment that was found in a recording."""
    draw, generator = random.Random(seed), np.random.default_rng(seed)
    level = 10 ** (draw.uniform(*SPEECH_DB) / 20)
    whole = np.concatenate([silence(BEFORE, draw), with_level(samples, level), silence(AFTER, draw)])
    noise = level * 10 ** (-draw.uniform(*NOISE_SNR_DB) / 20)
    return whole + np.float32(noise) * background(len(whole), generator)


@command
@click.option("--output_dir", type=click.Path(path_type=Path), required=True, help="Data directory to write.")
@click.option("--num_sentences", type=click.IntRange(1), required=True, help="In both languages together.")
@click.option("--surround", is_flag=True, help="With silence around each sentence and noise over it.")
@click.option("--seed", type=int, required=True)
def main(output_dir: Path, num_sentences: int, surround: bool, seed: int) -> None:
    """Write a recording a sentence, and what is said."""
    texts: dict[str, str] = {}
    recordings = spoken_sentences(num_sentences, seed, texts)
    if surround:
        recordings = ((name, surrounded(samples, derived_seed(seed, name))) for name, samples in recordings)
    write_recordings(output_dir, recordings, {"text": texts})


if __name__ == "__main__":
    main()
