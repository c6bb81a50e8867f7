#!/usr/bin/env python3
"""Embeds the recordings of a data directory and scores its trials by the cosine: `ID1 ID2 SCORE` lines."""

from pathlib import Path

import click
import numpy as np

from mooer.audio.io import load_audio
from mooer.cli._command import command
from mooer.common.files import atomic_write
from mooer.data.directory import read_data_dir
from mooer.pipeline.diarization import DiarizationConfig, Diarizer
from mooer.score.eer import read_trials


@command
@click.option("--model_dir", type=click.Path(), required=True, help="A published or trained CAM++.")
@click.option("--data_dir", type=click.Path(path_type=Path), required=True, help="Has wav.scp and trials.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "musa"]), default="cpu", show_default=True)
@click.option("--output_file", type=click.Path(path_type=Path), required=True)
def main(model_dir: str, data_dir: Path, device: str, output_file: Path) -> None:
    """Write the scores."""
    # One at a time: recordings of many seconds need no company.
    diarizer = Diarizer.from_folder(model_dir, DiarizationConfig(batch_size=1, device=device))
    utterances = read_data_dir(data_dir, ()).utterances
    embeddings = diarizer.embed([load_audio(utterance.audio.path) for utterance in utterances])
    directions = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    place = {utterance.id: number for number, utterance in enumerate(utterances)}
    with atomic_write(output_file) as stream:
        for first, second in read_trials(data_dir / "trials"):
            score = float(directions[place[first]] @ directions[place[second]])
            stream.write(f"{first} {second} {score:.6f}\n")


if __name__ == "__main__":
    main()
