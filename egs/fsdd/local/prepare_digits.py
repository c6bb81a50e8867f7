#!/usr/bin/env python3
"""Data directories train, dev and test of connected digits, no recording of the test speaker in the first two."""

from pathlib import Path

import click
from digit_directories import write_directory
from digit_recordings import list_recordings, split_recordings
from digit_strings import StringConfig

from mooer.cli._command import command
from mooer.common.config import load_yaml

SETS = ("train", "dev", "test")


@command
@click.option("--recordings", type=click.Path(), required=True, help="Folder of DIGIT_SPEAKER_INDEX.wav, or of such folders.")
@click.option("--synthetic", type=click.Path(), help="Folder of synthetic recordings in the same naming, for train alone.")
@click.option("--test_speaker", required=True, help="Held out; none to train on all.")
@click.option("--set", "names", type=click.Choice(SETS), multiple=True, default=SETS, help="What to write; all if left out.")
@click.option(
    "--conf_dir", type=click.Path(path_type=Path), required=True, help="Has strings_train.yaml and strings_test.yaml."
)
@click.option("--num_train", type=click.IntRange(min=1), required=True, help="Strings to train on.")
@click.option("--num_test", type=click.IntRange(min=1), required=True, help="Strings of dev, and of test.")
@click.option("--seed", type=int, required=True)
@click.option("--output_dir", type=click.Path(path_type=Path), required=True, help="Gets a folder a set.")
@click.option("--num_workers", type=click.IntRange(min=1), default=2, show_default=True)
def main(recordings, synthetic, test_speaker, names, conf_dir, num_train, num_test, seed, output_dir, num_workers) -> None:  # noqa: PLR0913
    """Write train (recordings from the fifth on), dev (the first five) and test (all recordings of the test speaker)."""
    split = split_recordings(list_recordings(recordings), None if test_speaker == "none" else test_speaker)
    further = [] if synthetic is None else list_recordings(synthetic)
    changed = load_yaml(conf_dir / "strings_train.yaml", StringConfig)
    plain = load_yaml(conf_dir / "strings_test.yaml", StringConfig)
    sets = {
        "train": (split.train + further, changed, num_train),
        "dev": (split.dev, plain, num_test),
        "test": (split.test, plain, num_test),
    }
    for name in names:
        chosen, config, count = sets[name]
        if chosen:
            write_directory(output_dir / name, chosen, config, count, seed=seed, num_workers=num_workers)


if __name__ == "__main__":
    main()
