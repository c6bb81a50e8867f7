#!/usr/bin/env python3
"""Make the speech of this recipe: Mandarin as in egs/mini (train, dev, test), and its English translations (NAME_target).

The sentences, voices and the way of making them are those of egs/mini. All translations are said by one voice, at 22,050 Hz;
each word is stretched or shortened to the nearest whole number of audio tokens, so that it has nearly the same tokens wherever
it stands.
"""

import dataclasses
import functools
import sys
from pathlib import Path

import click
import numpy as np

from mooer.common.seed import derived_seed
from mooer.models.audio_tokens import AudioTokenConfig

sys.path.append(str(Path(__file__).resolve().parents[2] / "mini" / "local"))

from espeak import Espeak, SpokenWord
from synthesize import LANGUAGES, Spoken, ctm_lines, make_part, make_sets, plan

TARGET_VOICE = "m3"
WORDS_A_MINUTE, PITCH, PITCH_RANGE = 185, 50, 50
# Faint noise: the logarithm of digital silence would be what a vocoder learns first.
NOISE = 1e-3
TOKENS = AudioTokenConfig()


def speak_target(espeak: Espeak, spoken: Spoken, seed: int) -> tuple[np.ndarray, list[str]]:
    """The utterance's samples [S] at the rate of audio tokens, float in [-1, 1], and its lines of ctm."""
    text, voice = spoken.texts[spoken.language], f"{LANGUAGES[spoken.language]}+{spoken.voice}"
    samples = espeak.say(text, voice, WORDS_A_MINUTE, PITCH, PITCH_RANGE).astype(np.float32) / 32768
    said, words, end = [], [], 0
    for word in espeak.words_of(text):
        said.append(stretch(samples[word.start : word.end], TOKENS.samples_of_a_token))
        words.append(SpokenWord(word.text, end, end + len(said[-1])))
        end = words[-1].end
    samples = np.concatenate(said)
    generator = np.random.default_rng(derived_seed(seed, spoken.id, "target"))
    noise = NOISE * generator.standard_normal(len(samples), dtype=np.float32)
    return np.clip(samples + noise, -1.0, 1.0), ctm_lines(spoken.id, words, 1 / TOKENS.sampling_rate)


def stretch(samples: np.ndarray, unit: int) -> np.ndarray:
    """Samples [S], at least one, as the nearest multiple of `unit` samples that is not 0; the pitch moves with it."""
    wanted = max(1, round(len(samples) / unit)) * unit
    places = np.linspace(0, len(samples) - 1, wanted)
    return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)


def translations(spoken: list[Spoken]) -> list[Spoken]:
    """What is to be said in English for each utterance, under its id."""
    return [dataclasses.replace(item, language="en", voice=TARGET_VOICE, varied=False) for item in spoken]


@click.command()
@click.option("--output_dir", type=click.Path(path_type=Path), required=True, help="Gets the data directories.")
@click.option("--num_train", type=int, default=5000, show_default=True, help="Training utterances.")
@click.option("--num_test", type=int, default=200, show_default=True, help="Test utterances.")
@click.option("--num_jobs", type=int, default=2, show_default=True, help="Processes.")
@click.option("--seed", type=int, default=1, show_default=True)
def main(output_dir: Path, num_train: int, num_test: int, num_jobs: int, seed: int) -> None:
    """Write train, dev and test, and train_target, dev_target and test_target, below OUTPUT_DIR."""
    sizes = {"train": num_train, "dev": max(1, num_test // 4), "test": num_test}
    sources = {name: plan(name, "zh", size, seed) for name, size in sizes.items()}
    targets = {f"{name}_target": translations(spoken) for name, spoken in sources.items()}
    make_sets(output_dir, sources, num_jobs, seed)
    say = functools.partial(make_part, speak=speak_target, sample_rate=TOKENS.sampling_rate)
    make_sets(output_dir, targets, num_jobs, seed, say)


if __name__ == "__main__":
    main()
