#!/usr/bin/env python3
"""Writes a CAM++ whose embeddings vary alike in all directions within a speaker of the training data."""

import json
from collections import defaultdict
from pathlib import Path

import click
import numpy as np

from mooer.audio.io import load_audio
from mooer.cli._command import command
from mooer.data.directory import read_data_dir
from mooer.models.published_folder import RECORD_FILE, open_published_folder, write_published_folder
from mooer.models.speaker import MODEL_NAME, CampplusConfig, load_speaker_model, published_speaker_model
from mooer.models.speaker_whitening import DEFAULT_SHRINKAGE, whitened
from mooer.pipeline.diarization import DiarizationConfig, Diarizer


@command
@click.option("--model_dir", type=click.Path(path_type=Path), required=True, help="A trained CAM++.")
@click.option("--data_dir", type=click.Path(path_type=Path), required=True, help="Recordings with text.speaker.")
@click.option("--shrinkage", type=click.FloatRange(0, 1, min_open=True), default=DEFAULT_SHRINKAGE, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "musa"]), default="cpu", show_default=True)
@click.option("--output_dir", type=click.Path(path_type=Path), required=True)
def main(model_dir: Path, data_dir: Path, shrinkage: float, device: str, output_dir: Path) -> None:
    """Whiten by the windows of 1.5 s of all recordings."""
    diarizer = Diarizer.from_folder(model_dir, DiarizationConfig(device=device))
    speakers = defaultdict(list)
    for utterance in read_data_dir(data_dir, ("speaker",)).utterances:
        speakers[utterance.labels["speaker"]] += diarizer.embed_segments([load_audio(utterance.audio.path)])
    model = whitened(load_speaker_model(model_dir), [np.concatenate(items) for items in speakers.values()], shrinkage)
    sizes = open_published_folder(model_dir, MODEL_NAME).section("model_conf", CampplusConfig)
    record = json.loads((model_dir / RECORD_FILE).read_text(encoding="utf-8")) | {
        "whitened_by": str(data_dir),
        "shrinkage": shrinkage,
    }
    write_published_folder(output_dir, published_speaker_model(model, sizes, record))


if __name__ == "__main__":
    main()
