#!/usr/bin/env python3
"""Make the bilingual speech of this recipe: Kaldi data directories train, dev, test_en and test_zh.

Every utterance is one sentence of the grammar, spoken in English or Mandarin. Sentences and voices of the test sets occur in
no other set. Work is cut into parts that are synthesised in a fresh process each, so the result depends neither on the
number of processes nor on interruptions; finished parts are not made again. Beside the usual tables each directory has `ctm`,
which tells when each word is said: `ID CHANNEL START DURATION WORD` a line, in seconds.
"""

import itertools
import json
import multiprocessing
import random
import wave
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from espeak import Espeak, SpokenWord
from grammar import SentencePair, sentences
from tqdm import tqdm

from mooer.common.files import atomic_write
from mooer.common.lengths import SAMPLE_RATE
from mooer.common.seed import derived_seed

TEST_VOICES = ("f4", "f5", "m7", "m8")
TRAIN_VOICES = (
    *("f1", "f2", "f3", "m1", "m2", "m3", "m4", "m5", "m6"),
    *("Andy", "Annie", "Denis", "Gene", "Jacky", "Lee", "Mario", "Michael", "Mike", "aunty", "belinda", "boris", "ed"),
    *("edward", "grandma", "gustave", "ian", "john", "linda", "max", "michel", "pablo", "paul", "quincy", "robert"),
    *("shelby", "steph"),
)
LANGUAGES = {"en": "en-us", "zh": "cmn"}
PART_SIZE = 250
NATURAL_BLOCK = 320
# Speeds from 1.1 to 0.9, in numbers whose Fourier transform is quick.
TRAIN_BLOCKS = (288, 294, 300, 308, 315, 320, 324, 330, 336, 343, 350)
GAIN_FREQUENCIES = (0, 500, 1000, 1500, 2500, 4000, 8000)
MAX_GAIN_DB = 12.0


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """One utterance to be made."""

    id: str
    language: str
    """Which of the two texts is spoken: en or zh."""
    voice: str
    texts: dict[str, str]
    """The sentence by language."""
    varied: bool
    """Whether speed, loudness and noise vary, as in the training set."""


# Makes samples, at whatever rate, and lines of ctm of a synthesiser, an utterance and a seed.
Speak = Callable[[Espeak, Spoken, int], tuple[np.ndarray, list[str]]]


def plan(name: str, language: str, count: int, seed: int) -> list[Spoken]:
    """The utterances of the set `name` (train, dev or test) in one language; in the test sets no sentence occurs twice."""
    if name == "test":
        voices, pairs = TEST_VOICES, _unique(sentences(derived_seed(seed, "test"), held_out=True))
    else:
        voices, pairs = TRAIN_VOICES, sentences(derived_seed(seed, name, language), held_out=False)
    spoken = []
    for index, pair in enumerate(itertools.islice(pairs, count)):
        voice = voices[index % len(voices)]
        spoken.append(
            Spoken(
                id=f"{language}_{voice}_{name}_{index:05d}",
                language=language,
                voice=voice,
                texts={"en": pair.english, "zh": pair.chinese},
                varied=name == "train",
            )
        )
    return spoken


def _unique(pairs: Iterable[SentencePair]) -> Iterator[SentencePair]:
    seen = set()
    for pair in pairs:
        if pair not in seen:
            seen.add(pair)
            yield pair


def speak(espeak: Espeak, spoken: Spoken, seed: int) -> tuple[np.ndarray, list[str]]:
    """The utterance's samples [S] at 16 kHz, float in [-1, 1], and its lines of ctm."""
    draw = random.Random(derived_seed(seed, spoken.id))
    voice = f"{LANGUAGES[spoken.language]}+{spoken.voice}"
    text = spoken.texts[spoken.language]
    samples = espeak.say(
        text,
        voice,
        words_per_minute=draw.randint(160, 210),
        pitch=draw.randint(30, 70),
        pitch_range=draw.randint(35, 65),
    )
    words = espeak.words_of(text)
    samples = samples.astype(np.float32) / 32768
    if spoken.varied:
        gains = [draw.uniform(-MAX_GAIN_DB, MAX_GAIN_DB) for _ in GAIN_FREQUENCIES]
        block = draw.choice(TRAIN_BLOCKS)
        samples = resample(samples, block, gains)
        samples *= 10 ** (draw.uniform(-20, -1) / 20) / np.abs(samples).max()
        snr = draw.uniform(15, 40)
    else:
        block, snr = NATURAL_BLOCK, 30.0
        samples = resample(samples, block)
    generator = np.random.default_rng(derived_seed(seed, spoken.id, "noise"))
    noise = generator.standard_normal(len(samples), dtype=np.float32)
    level = np.sqrt(np.mean(samples**2)) * 10 ** (-snr / 20)
    return np.clip(samples + level * noise, -1.0, 1.0), ctm_lines(spoken.id, words, block / 441 / SAMPLE_RATE)


def ctm_lines(identity: str, words: Sequence[SpokenWord], sample_seconds: float) -> list[str]:
    """A line for each word; `sample_seconds` is what a sample of the synthesiser's lasts in the utterance."""
    return [
        f"{identity} 1 {word.start * sample_seconds:.3f} {(word.end - word.start) * sample_seconds:.3f} {word.text}"
        for word in words
    ]


def resample(samples: np.ndarray, block: int, gains_db: Sequence[float] | None = None) -> np.ndarray:
    """Samples [S] at 22.05 kHz with `block` samples in the place of 441, by cutting or extending the spectrum.

    NATURAL_BLOCK gives 16 kHz; another block changes speed and pitch together. `gains_db` at GAIN_FREQUENCIES colour the
    sound, as other voices and microphones would.
    """
    blocks = -(-len(samples) // (8 * 441)) * 8
    wanted = blocks * block
    spectrum = np.zeros(wanted // 2 + 1, np.complex64)
    kept = np.fft.rfft(samples, blocks * 441)[: len(spectrum)]
    spectrum[: len(kept)] = kept
    if gains_db is not None:
        places = np.asarray(GAIN_FREQUENCIES) * 2 / SAMPLE_RATE * len(spectrum)
        spectrum *= 10 ** (np.interp(np.arange(len(spectrum)), places, gains_db).astype(np.float32) / 20)
    return np.fft.irfft(spectrum, wanted)[: len(samples) * block // 441] * np.float32(block / 441)


def write_wav(path: Path, samples: np.ndarray, sample_rate: int = SAMPLE_RATE) -> None:
    """Write samples [S] as 16-bit PCM."""
    with wave.open(str(path), "wb") as stream:
        stream.setparams((1, 2, sample_rate, 0, "NONE", ""))
        stream.writeframes((samples * 32767).astype("<i2").tobytes())


def make_part(job: tuple[Path, int, list[Spoken], int], speak: Speak = speak, sample_rate: int = SAMPLE_RATE) -> int:
    """Synthesise one part into wav files and mark it as finished; returns the number of utterances."""
    directory, index, part, seed = job
    marker = part_file(directory, index, "json")
    manifest = json.dumps([seed, [asdict(spoken) for spoken in part]], ensure_ascii=False)
    times = part_file(directory, index, "ctm")
    if times.is_file() and marker.is_file() and marker.read_text(encoding="utf-8") == manifest:
        return len(part)
    espeak = Espeak(seed)
    lines = []
    for spoken in part:
        samples, own_lines = speak(espeak, spoken, seed)
        write_wav(directory / "wav" / f"{spoken.id}.wav", samples, sample_rate)
        lines += own_lines
    with atomic_write(times) as stream:
        stream.writelines(f"{line}\n" for line in lines)
    with atomic_write(marker) as stream:
        stream.write(manifest)
    return len(part)


def part_file(directory: Path, index: int, ending: str) -> Path:
    """A file of a part: `json`, which is its mark of being finished, and `ctm`."""
    return directory / "parts" / f"{index:04d}.{ending}"


def write_tables(directory: Path, utterances: list[Spoken]) -> None:
    """wav.scp, text, utt2spk, ctm and, for each target language, the translations of what is not in that language."""
    ordered = sorted(utterances, key=lambda spoken: spoken.id)
    tables = {
        "wav.scp": {spoken.id: str(directory / "wav" / f"{spoken.id}.wav") for spoken in ordered},
        "text": {spoken.id: spoken.texts[spoken.language] for spoken in ordered},
        "utt2spk": {spoken.id: f"{spoken.language}_{spoken.voice}" for spoken in ordered},
    }
    for target in LANGUAGES:
        tables[f"text.{target}"] = {spoken.id: spoken.texts[target] for spoken in ordered if spoken.language != target}
    for name, table in tables.items():
        if table:
            with atomic_write(directory / name) as stream:
                stream.writelines(f"{key} {value}\n" for key, value in table.items())
    write_ctm(directory, -(-len(utterances) // PART_SIZE))


def write_ctm(directory: Path, num_parts: int) -> None:
    """Put the times of the parts together, in the order of the other tables."""
    lines = [line for index in range(num_parts) for line in part_file(directory, index, "ctm").read_text("utf-8").splitlines()]
    with atomic_write(directory / "ctm") as stream:
        stream.writelines(f"{line}\n" for line in sorted(lines, key=lambda line: line.split(maxsplit=1)[0]))


def make_sets(
    output_dir: Path,
    sets: dict[str, list[Spoken]],
    num_jobs: int,
    seed: int,
    make: Callable[[tuple[Path, int, list[Spoken], int]], int] = make_part,
) -> None:
    """Write a data directory for each set of utterances, in processes of which `make` makes one part each."""
    jobs = []
    for name, utterances in sets.items():
        (output_dir / name / "wav").mkdir(parents=True, exist_ok=True)
        parts = [utterances[start : start + PART_SIZE] for start in range(0, len(utterances), PART_SIZE)]
        jobs += [((output_dir / name).absolute(), index, part, seed) for index, part in enumerate(parts)]
    with (
        multiprocessing.get_context("fork").Pool(num_jobs, maxtasksperchild=1) as pool,
        tqdm(total=sum(map(len, sets.values())), desc="synthesis", unit="utt", mininterval=2) as progress,
    ):
        for count in pool.imap_unordered(make, jobs):
            progress.update(count)
    for name, utterances in sets.items():
        write_tables((output_dir / name).absolute(), utterances)


@click.command()
@click.option("--output_dir", type=click.Path(path_type=Path), required=True, help="Gets the data directories.")
@click.option("--num_train", type=int, default=6000, show_default=True, help="Training utterances in each language.")
@click.option("--num_test", type=int, default=200, show_default=True, help="Test utterances in each language.")
@click.option("--num_jobs", type=int, default=2, show_default=True, help="Processes.")
@click.option("--seed", type=int, default=1, show_default=True)
def main(output_dir: Path, num_train: int, num_test: int, num_jobs: int, seed: int) -> None:
    """Write train, dev, test_en and test_zh below OUTPUT_DIR."""
    sets = {
        "train": [*plan("train", "en", num_train, seed), *plan("train", "zh", num_train, seed)],
        "dev": [*plan("dev", "en", num_test // 4, seed), *plan("dev", "zh", num_test // 4, seed)],
        "test_en": plan("test", "en", num_test, seed),
        "test_zh": plan("test", "zh", num_test, seed),
    }
    make_sets(output_dir, sets, num_jobs, seed)


if __name__ == "__main__":
    main()
