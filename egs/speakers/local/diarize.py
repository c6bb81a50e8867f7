#!/usr/bin/env python3
"""Who speaks when in conversations whose stretches of speech are known: an RTTM file."""

from pathlib import Path

import click
from known_speech import known_speech

from mooer.cli._command import command
from mooer.common.config import load_yaml
from mooer.pipeline.diarization import DiarizationConfig, Diarizer
from mooer.pipeline.speaker_clustering import ClusteringConfig
from mooer.pipeline.speaker_turns import write_rttm


@command
@click.option("--model_dir", type=click.Path(), required=True, help="A published or trained CAM++.")
@click.option("--data_dir", type=click.Path(path_type=Path), required=True, help="Conversations with known turns.")
@click.option("--clustering", type=click.Path(), help="Settings of clustering (YAML) in place of the model's own.")
@click.option("--count_given", is_flag=True, help="Tell how many speakers there are.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "musa"]), default="cpu", show_default=True)
@click.option("--output_file", type=click.Path(path_type=Path), required=True)
def main(model_dir: str, data_dir: Path, clustering: str | None, count_given: bool, device: str, output_file: Path) -> None:
    """Write the turns."""
    settings = None if clustering is None else load_yaml(clustering, ClusteringConfig)
    diarizer = Diarizer.from_folder(model_dir, DiarizationConfig(clustering=settings, device=device))
    turns = {
        recording.id: diarizer(recording.waveform, recording.segments, recording.num_speakers if count_given else None)
        for recording in known_speech(data_dir)
    }
    write_rttm(output_file, turns)


if __name__ == "__main__":
    main()
