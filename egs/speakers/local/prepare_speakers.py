#!/usr/bin/env python3
"""Data directories train, dev (speakers held out of training) and test (other speakers, and all trials of theirs)."""

from pathlib import Path

import click
from voice_corpus import TEST_DIR, TRAIN_DIR, hold_out, list_recordings, write_directory, write_trials

from mooer.cli._command import command
from mooer.common.errors import DataError


@command
@click.option("--recordings", type=click.Path(path_type=Path), required=True, help="Has the folders train and test.")
@click.option("--num_dev_speakers", type=click.IntRange(min=1), required=True, help="Held out of training.")
@click.option("--output_dir", type=click.Path(path_type=Path), required=True, help="Gets train, dev and test.")
def main(recordings: Path, num_dev_speakers: int, output_dir: Path) -> None:
    """Write the data directories."""
    train, dev = hold_out(list_recordings(recordings / TRAIN_DIR), num_dev_speakers)
    test = list_recordings(recordings / TEST_DIR)
    both = {recording.speaker for recording in train + dev} & {recording.speaker for recording in test}
    if both:
        raise DataError(f"speakers are in {TRAIN_DIR} and in {TEST_DIR}: {', '.join(sorted(both))}")
    for name, part in (("train", train), ("dev", dev), ("test", test)):
        write_directory(output_dir / name, part)
    write_trials(output_dir / "test" / "trials", test)


if __name__ == "__main__":
    main()
