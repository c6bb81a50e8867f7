#!/usr/bin/env python3
"""Speak sentences without any noise, as material for the training of voice activity detection: a data directory a set.

The library keeps state from call to call, so all is made in one order, in a process of its own.
"""

import random
from pathlib import Path

import click
from sentences import LANGUAGES, Sentences
from spoken import TRAIN_VOICES, Espeak, Speaker, write_recordings
from tqdm import tqdm

from mooer.cli._command import command
from mooer.common.seed import derived_seed


@command
@click.option("--output_dir", type=click.Path(path_type=Path), required=True, help="Data directory to write.")
@click.option("--num_sentences", type=click.IntRange(1), required=True, help="In both languages together.")
@click.option("--seed", type=int, required=True)
def main(output_dir: Path, num_sentences: int, seed: int) -> None:
    """Speak every sentence in one of the training voices."""
    espeak, draw = Espeak(seed), random.Random(seed)
    sources = {language: Sentences(language, derived_seed(seed, language), held_out=False) for language in LANGUAGES}
    waveforms, texts = {}, {}
    for number in tqdm(range(num_sentences), desc="sentences", unit="utt", disable=None):
        language, voice = LANGUAGES[number % len(LANGUAGES)], draw.choice(TRAIN_VOICES)
        said = " ".join(sources[language].said().clauses)
        name = f"{language}_{voice}_{number:05d}"
        waveforms[name], texts[name] = Speaker(espeak, voice, draw).say(said, language), said
    write_recordings(output_dir, waveforms, {"text": texts})


if __name__ == "__main__":
    main()
