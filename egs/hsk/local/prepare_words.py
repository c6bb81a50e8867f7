#!/usr/bin/env python3
"""Data directories train, dev and test of spoken words: training strings, and words that are in none of them."""

from pathlib import Path

import click
from word_directories import write_strings, write_words
from word_recordings import list_recordings, split_recordings
from word_strings import StringConfig

from mooer.cli._command import command
from mooer.common.config import load_yaml


@command
@click.option("--recordings", type=click.Path(), required=True, help="Has mp3/ID.mp3 and words.txt.")
@click.option("--strings", type=click.Path(path_type=Path), required=True, help="How training strings are made (YAML).")
@click.option("--seed", type=int, required=True)
@click.option("--output_dir", type=click.Path(path_type=Path), required=True, help="Gets train, dev and test.")
@click.option("--num_workers", type=click.IntRange(min=1), default=2, show_default=True)
def main(recordings, strings, seed, output_dir, num_workers) -> None:
    """Write the data directories."""
    config = load_yaml(strings, StringConfig)
    split = split_recordings(list_recordings(recordings))
    write_words(output_dir / "dev", split.dev)
    write_words(output_dir / "test", split.test)
    write_strings(output_dir / "train", split.train, config, seed=seed, num_workers=num_workers)


if __name__ == "__main__":
    main()
