#!/usr/bin/env python3
"""Data directories from LibriSpeech as it is published.

LibriSpeech/PART/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac
LibriSpeech/PART/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt     ID TRANSCRIPT
"""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from mooer.cli._command import command
from mooer.common.errors import ConfigError, DataError
from mooer.common.files import require_dir
from mooer.data.lists import read_table

# What the preparation of all corpora shares lies with the recipe that uses them all.
sys.path.append(str(Path(__file__).resolve().parents[2] / "mt5k" / "local"))
from corpus_directory import CorpusUtterance, write_sets


@command
@click.option("--corpus_dir", type=click.Path(), required=True, help="The folder LibriSpeech, or the one that holds it.")
@click.option("--set", "sets", multiple=True, required=True, help="NAME=PART[,PART...], or a PART by itself; repeatable.")
@click.option("--output_dir", type=click.Path(file_okay=False), required=True, help="Gets a data directory for each NAME.")
def main(corpus_dir: str, sets: tuple[str, ...], output_dir: str) -> None:
    """Write wav.scp, text and utt2spk for each set, a set being one or more parts of the corpus."""
    corpus = find_corpus(corpus_dir)
    parts = {name: [require_dir(corpus / part, "part of the corpus") for part in named] for name, named in map(parse_set, sets)}
    write_sets(output_dir, {name: itertools.chain.from_iterable(map(read_part, found)) for name, found in parts.items()})


def parse_set(value: str) -> tuple[str, list[str]]:
    """Name and parts of `NAME=PART[,PART...]`, or of `PART` alone. Raises ConfigError."""
    name, _, parts = value.partition("=")
    parts = (parts if "=" in value else name).split(",")
    if "," in name or "/" in value or not all((name, *parts)):
        raise ConfigError(f"--set {value!r} is neither PART nor NAME=PART[,PART...]")
    return name, parts


def find_corpus(folder: str | Path) -> Path:
    """The folder LibriSpeech in `folder`, or `folder` itself. Raises PathError."""
    folder = require_dir(folder, "corpus folder").resolve()
    return folder / "LibriSpeech" if (folder / "LibriSpeech").is_dir() else folder


def read_part(part: Path) -> Iterator[CorpusUtterance]:
    """The utterances of a part.

    Raises:
        DataError: a part without utterances, or recordings and transcripts that do not match.
    """
    files = sorted(part.glob("*/*/*.trans.txt"))
    if not files:
        raise DataError(f"{part} holds no SPEAKER/CHAPTER/*.trans.txt; is it unpacked as published?")
    for file in files:
        transcripts = read_table(file)
        recordings = {path.stem: path for path in file.parent.glob("*.flac")}
        if recordings.keys() != transcripts.keys():
            odd = min(recordings.keys() ^ transcripts.keys())
            missing = "recording" if odd in transcripts else "transcript"
            raise DataError(f"{file}: {odd} has no {missing}; is the part unpacked completely?")
        for name, transcript in transcripts.items():
            yield CorpusUtterance(id=name, audio=str(recordings[name]), text=transcript, speaker=file.parent.parent.name)


if __name__ == "__main__":
    main()
