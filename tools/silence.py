#!/usr/bin/env python3
"""Digital silence as long as each recording of a data directory: what a model answers without hearing."""

from pathlib import Path

import click
import numpy as np
import soundfile

from mooer.cli._command import command
from mooer.data.lists import read_table, write_table
from mooer.data.utterance import resolve_path


@command
@click.option("--data_dir", type=click.Path(path_type=Path), required=True, help="Has wav.scp.")
@click.option("--output_dir", type=click.Path(path_type=Path), required=True, help="Gets wav.scp and the recordings.")
def main(data_dir: Path, output_dir: Path) -> None:
    """Write silent copies of the recordings."""
    (output_dir / "wav").mkdir(parents=True, exist_ok=True)
    names = read_table(data_dir / "wav.scp")
    for name, value in names.items():
        length = soundfile.info(resolve_path(value, data_dir))
        soundfile.write(output_dir / "wav" / f"{name}.wav", np.zeros(length.frames, np.int16), length.samplerate)
    write_table(output_dir / "wav.scp", {name: f"wav/{name}.wav" for name in names})


if __name__ == "__main__":
    main()
