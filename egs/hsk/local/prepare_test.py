#!/usr/bin/env python3
"""A data directory of a further folder of recordings, all of them."""

from pathlib import Path

import click
from word_directories import write_words
from word_recordings import list_recordings

from mooer.cli._command import command


@command
@click.option("--recordings", type=click.Path(), required=True, help="Has mp3/ID.mp3 and words.txt.")
@click.option("--output_dir", type=click.Path(path_type=Path), required=True, help="The data directory.")
def main(recordings, output_dir) -> None:
    """Write the data directory."""
    write_words(output_dir, list_recordings(recordings))


if __name__ == "__main__":
    main()
