#!/usr/bin/env python3
"""Finds the settings of clustering that suit a model, on conversations of speakers held out of training.

The published settings suit the published model, trained on far more speakers: a small one gives other cosines.
"""

import itertools
from pathlib import Path

import click
from known_speech import known_speech

from mooer.cli._command import command
from mooer.common.config import dump_yaml
from mooer.common.files import atomic_write
from mooer.pipeline.diarization import CLUSTERING_FILE, DiarizationConfig, Diarizer, cut_windows
from mooer.pipeline.speaker_clustering import ClusteringConfig, cluster_speakers, with_neighbours
from mooer.pipeline.speaker_turns import Turn, speaker_turns
from mooer.score.der import score_diarization
from mooer.text.rttm import TimedTurn

MERGE_COSINES = tuple(number / 20 for number in range(8, 20))
MIN_KEPT = (6, 10, 16)
REACHES = (0, 1, 2, 3)


@command
@click.option("--model_dir", type=click.Path(), required=True, help="A published or trained CAM++.")
@click.option("--data_dir", type=click.Path(path_type=Path), required=True, help="Conversations with known turns.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "musa"]), default="cpu", show_default=True)
def main(model_dir: str, data_dir: Path, device: str) -> None:
    """Write the settings with the lowest diarization error rate to clustering.yaml in the model's folder.

    Every use of the model finds them there. Of several, those nearest to the published ones are taken.
    """
    diarizer = Diarizer.from_folder(model_dir, DiarizationConfig(device=device))
    references, embedded = {}, {}
    for recording in known_speech(data_dir):
        windows, pieces = cut_windows(recording.waveform, recording.segments)
        references[recording.id], embedded[recording.id] = recording.turns, (windows, diarizer.embed(pieces))
    smooth = {
        (name, reach): with_neighbours(embeddings, windows, reach)
        for (name, (windows, embeddings)), reach in itertools.product(embedded.items(), REACHES)
    }

    def percent(config: ClusteringConfig) -> float:
        found = {
            name: timed(speaker_turns(windows, cluster_speakers(smooth[name, config.reach], None, config).tolist()))
            for name, (windows, _) in embedded.items()
        }
        return score_diarization(references, found).time.percent

    published = ClusteringConfig()
    tried = [
        ClusteringConfig(merge_cosine=cosine, min_kept=kept, reach=reach)
        for reach, kept, cosine in itertools.product(REACHES, MIN_KEPT, MERGE_COSINES)
    ]
    tried.sort(key=lambda config: (config.reach, config.min_kept, abs(config.merge_cosine - published.merge_cosine)))
    best = min(tried, key=percent)
    click.echo(
        f"DER of {data_dir}: published settings {percent(published):.2f} %, merge_cosine {best.merge_cosine}, min_kept "
        f"{best.min_kept} and reach {best.reach} {percent(best):.2f} %",
        err=True,
    )
    with atomic_write(Path(model_dir) / CLUSTERING_FILE) as stream:
        stream.write(dump_yaml(best))


def timed(turns: list[Turn]) -> list[TimedTurn]:
    """Turns as the scorer reads them."""
    return [TimedTurn(1000 * turn.start, 1000 * turn.end, f"spk{turn.speaker}") for turn in turns]


if __name__ == "__main__":
    main()
