#!/usr/bin/env python3
"""A data directory of connected digits of a further folder of recordings, all of them, made as the test set is."""

from pathlib import Path

import click
from digit_directories import write_directory
from digit_recordings import list_recordings
from digit_strings import StringConfig

from mooer.cli._command import command
from mooer.common.config import load_yaml


@command
@click.option("--recordings", type=click.Path(), required=True, help="Folder of DIGIT_SPEAKER_INDEX.wav, or of such folders.")
@click.option("--conf_dir", type=click.Path(path_type=Path), required=True, help="Has strings_test.yaml.")
@click.option("--num_test", type=click.IntRange(min=1), required=True)
@click.option("--seed", type=int, required=True)
@click.option("--num_workers", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--output_dir", type=click.Path(path_type=Path), required=True, help="The data directory.")
def main(recordings, conf_dir, num_test, seed, num_workers, output_dir) -> None:
    """Write the data directory."""
    config = load_yaml(conf_dir / "strings_test.yaml", StringConfig)
    write_directory(output_dir, list_recordings(recordings), config, num_test, seed=seed, num_workers=num_workers)


if __name__ == "__main__":
    main()
