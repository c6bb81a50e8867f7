"""Recordings to labels of audio tokens: sounds are learnt from some of them, then each is written as a row of sounds.

What is labelled is kept part by part in FILE.parts while the work goes on, so that a run that was killed goes on where it was.
"""

import functools
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mooer.audio.io import load_audio
from mooer.common.errors import AudioError, DataError
from mooer.common.files import sha256
from mooer.common.seed import derived_seed
from mooer.data.lists import write_table
from mooer.data.packing import Progress
from mooer.data.parallel import chunks, map_in_order
from mooer.data.utterance import Problem, Utterance
from mooer.decode.hypothesis import Failure
from mooer.models.audio_tokens import AudioTokenConfig, AudioTokenizer, load_audio_tokenizer, write_audio_tokenizer
from mooer.pipeline.part_store import open_stage
from mooer.text.speech_tokens import token_names

PART_SIZE = 250


@dataclass(frozen=True, kw_only=True)
class SpokenLabel:
    """An utterance as audio tokens."""

    id: str
    tokens: str
    """`<|audio_5|> <|audio_0|> ...`."""


def read_speech(utterance: Utterance, rate: int) -> Tensor:
    """The recording [S] of an utterance at `rate` Hz. Raises AudioError."""
    audio = utterance.audio
    if audio is None or audio.offset is not None:
        raise AudioError("a recording in a file of its own is needed, not features or a shard", "unsupported")
    try:
        return load_audio(audio.path, start=audio.start, end=audio.end, target_rate=rate)
    except AudioError as error:
        raise AudioError(f"{audio.path}: {error}", error.reason) from error


def learn_sounds(utterances: Sequence[Utterance], path: str | Path, config: AudioTokenConfig, count: int) -> float:
    """Learn sounds from `count` utterances, drawn by the config's seed, and write them; those that cannot be read are left out.

    Returns:
        The mean squared distance that `AudioTokenizer.learn` tells.

    Raises:
        DataError: not one can be read.
        ConfigError: fewer different stretches than sounds.
    """
    ordered = sorted(utterances, key=lambda utterance: utterance.id)
    generator = random.Random(derived_seed(config.seed, "learn sounds"))
    drawn = generator.sample(ordered, min(count, len(ordered)))
    tokenizer = AudioTokenizer(config)
    waveforms = list(_usable(drawn, tokenizer))
    if not waveforms:
        raise DataError(f"none of the {len(drawn)} recordings that sounds were to be learnt from can be used")
    error = tokenizer.learn(waveforms)
    write_audio_tokenizer(path, tokenizer)
    return error


def _usable(utterances: Sequence[Utterance], tokenizer: AudioTokenizer) -> Iterator[Tensor]:
    for utterance in utterances:
        try:
            waveform = read_speech(utterance, tokenizer.config.sampling_rate)
            tokenizer.stretches(waveform)
        except AudioError:
            continue  # it is named when it is to be labelled
        yield waveform


def tokenize_speech(
    utterances: Sequence[Utterance],
    tokenizer_path: str | Path,
    output_file: str | Path,
    num_workers: int = 1,
    resume: bool = False,
    progress: Progress = lambda items, _: items,
) -> tuple[int, list[Problem]]:
    """Write the label file of the utterances' audio tokens, `ID <|audio_5|> <|audio_0|> ...` a line.

    Returns:
        How many have a label, and those that cannot be read.

    Raises:
        ConfigError: a killed run left parts, and `resume` is not asked for; or they are of other recordings or sounds.
        PathError, WeightsError: `tokenizer_path`.
        DataError: not one utterance has a label.
    """
    load_audio_tokenizer(tokenizer_path)
    parts = chunks(utterances, PART_SIZE)
    folder, model = Path(f"{output_file}.parts"), {"sounds": sha256(tokenizer_path)}
    stage = open_stage(folder, SpokenLabel, utterances, PART_SIZE, model=model, resume=resume)
    missing = stage.missing()
    work = functools.partial(tokenize_part, tokenizer_path=tokenizer_path)
    results = map_in_order(work, [parts[number] for number in missing], num_workers)
    for number, result in zip(missing, progress(results, len(missing)), strict=True):
        stage.sweep(number)
        stage.write(number, result)
    labels, problems = {}, []
    for number in range(len(parts)):
        for result in stage.read(number):
            if isinstance(result, Failure):
                problems.append(Problem(result.id, result.reason, result.message))
            else:
                labels[result.id] = result.tokens
    if not labels:
        raise DataError(
            f"not one of {len(utterances)} recordings can be used" + (f": {problems[0].message}" if problems else "")
        )
    write_table(output_file, labels)
    shutil.rmtree(folder)
    return len(labels), problems


def tokenize_part(utterances: Sequence[Utterance], tokenizer_path: str | Path) -> list[SpokenLabel | Failure]:
    """The label of each utterance, or why it has none."""
    tokenizer = load_audio_tokenizer(tokenizer_path)
    results: list[SpokenLabel | Failure] = []
    for utterance in utterances:
        try:
            ids = tokenizer.encode(read_speech(utterance, tokenizer.config.sampling_rate)).tolist()
            results.append(SpokenLabel(id=utterance.id, tokens=" ".join(token_names(ids))))
        except AudioError as error:
            results.append(Failure(utterance.id, error.reason, f"{utterance.id}: {error}"))
    return results
