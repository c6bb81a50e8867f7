#!/usr/bin/env python3
"""Decode several data directories with one model, which is opened once.

A set of which every utterance was decoded before, with the same weights and settings, is not decoded again.
"""

import json
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from mooer.cli._command import command
from mooer.common.errors import ConfigError, DataError, PartialFailure
from mooer.common.log import get_logger
from mooer.data.directory import DataDir, read_data_dir
from mooer.data.lists import read_table
from mooer.decode.hypothesis import Failure
from mooer.decode.recognizer import DecodeConfig, Recognizer
from mooer.decode.writer import TEXT_DIR, ResultFolder

RECORD_NAME = "run.json"

log = get_logger(__name__)


@command
@click.option("--set", "sets", multiple=True, required=True, metavar="NAME=DATA_DIR", help="Repeatable.")
@click.option("--output_dir", type=click.Path(file_okay=False, path_type=Path), required=True, help="Gets a folder NAME a set.")
@click.option("--model_dir", type=click.Path(), required=True, help="As mooer-decode takes it.")
@click.option(
    "--task", type=click.Choice(["asr", "ast", "mtl"]), default="asr", help="Translations are English. [default: asr]"
)
@click.option("--beam_size", type=click.IntRange(1, 64), default=4, help="1 is greedy search. [default: 4]")
@click.option("--batch_seconds", type=click.FloatRange(min=1), default=120, help="Audio decoded together. [default: 120]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "musa"]), default="auto", help="[default: auto]")
def main(sets: tuple[str, ...], output_dir: Path, model_dir: str, **settings: Any) -> None:
    """Write for each set what mooer-decode writes."""
    data = {name: read_set(folder) for name, folder in map(parse_set, sets)}
    recognizer = Recognizer.from_model_dir(model_dir, DecodeConfig(**settings))
    # As it is read back.
    record = json.loads(json.dumps(recognizer.record()))
    failures = {}
    for name, found in data.items():
        if is_decoded(found, output_dir / name, record):
            log.info("%s is decoded already", output_dir / name)
        else:
            failures[name] = decode(recognizer, found, output_dir / name, record)
    failed = ", ".join(f"{count} of {name}" for name, count in failures.items() if count)
    if failed:
        raise PartialFailure(f"{failed} failed, the others are done; failed.jsonl in each folder below {output_dir} lists them")


def parse_set(value: str) -> tuple[str, str]:
    """Name and data directory of `NAME=DATA_DIR`. Raises ConfigError."""
    name, _, folder = value.partition("=")
    if not name or not folder or "/" in name:
        raise ConfigError(f"--set {value!r} must be NAME=DATA_DIR, with no / in the name")
    return name, folder


def read_set(folder: str) -> DataDir:
    """The utterances of a data directory. Raises PathError or DataError, also if there is none."""
    found = read_data_dir(folder, labels=())
    if not found.utterances:
        raise DataError(f"{folder} has no utterance that can be decoded")
    return found


def is_decoded(data: DataDir, folder: Path, record: dict[str, Any]) -> bool:
    """Whether a folder of results has all utterances, from the model and with the settings of `record`."""
    if not (folder / RECORD_NAME).is_file():
        return False
    before = json.loads((folder / RECORD_NAME).read_text(encoding="utf-8"))
    is_same = all(before.get(key) == record[key] for key in ("decode", "model"))
    wanted = {item.id for item in (*data.utterances, *data.problems)}
    return is_same and read_table(folder / TEXT_DIR / "text", allow_empty=True).keys() == wanted


def decode(recognizer: Recognizer, data: DataDir, folder: Path, record: dict[str, Any]) -> int:
    """Write the results of a set; returns how many utterances failed, each of which is named."""
    utterances = [*data.utterances, *data.problems]
    failures = 0
    with ResultFolder(folder, record) as results:
        decoded = recognizer.recognize_utterances(utterances)
        for result in tqdm(decoded, folder.name, total=len(utterances), unit="utt", disable=None):
            results.add(result)
            if isinstance(result, Failure):
                failures += 1
                log.error("%s failed (%s): %s", result.id, result.reason, result.message)
    return failures


if __name__ == "__main__":
    main()
