#!/usr/bin/env python3
"""Single digits spoken by espeak-ng in many voices, kinds of English and foreign accents, as further speakers to train on.

Written as DIGIT_SPEAKER_INDEX.wav in a folder a speaker, like the recordings. The library keeps state from call to call, so the
result is the same for a seed because all is made in one order, in a process of its own.
"""

import itertools
import random
import sys
from pathlib import Path

import click
import numpy as np
import soundfile
import torch
from accents import SPELLINGS
from digit_recordings import DIGITS, SAMPLE_RATE, SYNTHETIC
from digit_strings import ENGLISH
from tqdm import tqdm

from mooer.audio.resample import resample
from mooer.cli._command import command

# The recipe mini has the synthesiser and the names of its voices.
sys.path.append(str(Path(__file__).resolve().parents[2] / "mini" / "local"))
from espeak import Espeak
from synthesize import TEST_VOICES, TRAIN_VOICES

ENGLISH_ACCENTS = ("en-us", "en-029", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-x-rp")
ACCENTS_A_VOICE = 14
VOICES = tuple(sorted((*TRAIN_VOICES, *TEST_VOICES)))
MAX_SPEAKERS = ACCENTS_A_VOICE * len(VOICES)
TAKES = 2
PEAK = 0.7
# What is lower than that share of the peak at either end is silence.
_SILENCE = 0.01


@command
@click.option("--output_dir", type=click.Path(path_type=Path), required=True, help="Gets a folder for each speaker.")
@click.option("--seed", type=int, required=True)
@click.option("--num_speakers", type=click.IntRange(1, MAX_SPEAKERS), default=MAX_SPEAKERS, show_default=True)
def main(output_dir: Path, seed: int, num_speakers: int) -> None:
    """Speak the ten digits in every voice."""
    espeak, draw = Espeak(seed), random.Random(seed)
    speakers = draw_speakers(draw, num_speakers)
    for voice, accent in tqdm(speakers, desc="synthesis", unit="voice", disable=None):
        name = f"{SYNTHETIC}{voice}-{accent}"
        (output_dir / name).mkdir(parents=True, exist_ok=True)
        for digit, take in itertools.product(range(DIGITS), range(TAKES)):
            waveform = speak(espeak, SPELLINGS.get(accent, ENGLISH)[digit].lower(), f"{accent}+{voice}", draw)
            soundfile.write(output_dir / name / f"{digit}_{name}_{take}.wav", waveform, SAMPLE_RATE, subtype="PCM_16")


def draw_speakers(draw: random.Random, count: int) -> list[tuple[str, str]]:
    """`count` pairs of a voice and an accent, spread evenly over the voices: all `MAX_SPEAKERS`, or some of them."""
    accents = (*ENGLISH_ACCENTS, *SPELLINGS)
    speakers = [(voice, accent) for voice in VOICES for accent in draw.sample(accents, ACCENTS_A_VOICE)]
    return [speakers[number * MAX_SPEAKERS // count] for number in range(count)]


def speak(espeak: Espeak, word: str, voice: str, draw: random.Random) -> np.ndarray:
    """A word [S] at 8 kHz at a rate and pitch of its own, without silence around it."""
    rate, pitch, pitch_range = draw.randint(110, 200), draw.randint(15, 85), draw.randint(20, 90)
    samples = espeak.say(word, voice, words_per_minute=rate, pitch=pitch, pitch_range=pitch_range).astype(np.float32)
    heard = np.flatnonzero(np.abs(samples) > _SILENCE * np.abs(samples).max())
    waveform = resample(torch.from_numpy(samples[heard[0] : heard[-1] + 1]), espeak.sample_rate, SAMPLE_RATE).numpy()
    return waveform * (PEAK / np.abs(waveform).max())


if __name__ == "__main__":
    main()
