#!/usr/bin/env python3
"""A data directory with silence of the same length in the place of every recording: what a model answers without hearing."""

import wave
from pathlib import Path

import click

from mooer.data.lists import read_table, write_table


@click.command()
@click.option("--data_dir", type=click.Path(path_type=Path), required=True, help="Has wav.scp.")
@click.option("--output_dir", type=click.Path(path_type=Path), required=True, help="Gets wav.scp and the recordings.")
def main(data_dir: Path, output_dir: Path) -> None:
    """Write silent copies of the recordings of DATA_DIR."""
    folder = (output_dir / "wav").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    table = read_table(data_dir / "wav.scp")
    for name, path in table.items():
        with wave.open(path, "rb") as recording, wave.open(str(folder / f"{name}.wav"), "wb") as silent:
            silent.setparams(recording.getparams())
            silent.writeframes(bytes(recording.getnframes() * recording.getsampwidth() * recording.getnchannels()))
    write_table(output_dir / "wav.scp", {name: str(folder / f"{name}.wav") for name in table})


if __name__ == "__main__":
    main()
