#!/usr/bin/env python3
"""Finds the settings of clustering that suit a model, on conversations of speakers held out of training.

The published settings suit the published model, trained on far more speakers: a small one gives other cosines.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from known_speech import KnownSpeech, known_speech

from mooer.cli._command import command
from mooer.common.config import dump_yaml
from mooer.common.files import atomic_write
from mooer.pipeline.diarization import CLUSTERING_FILE, DiarizationConfig, Diarizer, cut_windows
from mooer.pipeline.speaker_clustering import ClusteringConfig, cluster_speakers, with_neighbours
from mooer.pipeline.speaker_turns import Turn, Window, speaker_turns
from mooer.score.der import score_diarization
from mooer.text.rttm import TimedTurn

# Those nearest to the defaults come first.
REACHES = (0, 1, 2, 3)
MIN_KEPT = (6, 10, 16)
MAX_LIKENESSES = (0.65, 0.6, 0.7, 0.55, 0.75, 0.5, 0.8)
# Percent by which settings must be better than those nearer to the defaults: sixty conversations tell no less apart.
LEAST_GAIN = 1.0


@dataclass(frozen=True)
class Embedded:
    """A conversation whose windows have been embedded."""

    known: KnownSpeech
    windows: list[Window]
    embeddings: np.ndarray
    """[N, D]."""

    def turns(self, config: ClusteringConfig, count_given: bool) -> list[TimedTurn]:
        """The turns that these settings find."""
        embeddings = with_neighbours(self.embeddings, self.windows, config.reach)
        labels = cluster_speakers(embeddings, self.known.num_speakers if count_given else None, config)
        return timed(speaker_turns(self.windows, labels.tolist()))


@command
@click.option("--model_dir", type=click.Path(), required=True, help="A published or trained CAM++.")
@click.option("--data_dir", type=click.Path(path_type=Path), required=True, help="Conversations with known turns.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "musa"]), default="cpu", show_default=True)
def main(model_dir: str, data_dir: Path, device: str) -> None:
    """Write settings with a low diarization error rate to clustering.yaml in the model's folder.

    Every use of the model finds them there. What groups windows is chosen with the number of speakers given, and then what
    finds the number.
    """
    diarizer = Diarizer.from_folder(model_dir, DiarizationConfig(device=device))
    conversations = []
    for known in known_speech(data_dir):
        windows, pieces = cut_windows(known.waveform, known.segments)
        conversations.append(Embedded(known, windows, diarizer.embed(pieces)))

    def percent(config: ClusteringConfig, count_given: bool = False) -> float:
        found = {item.known.id: item.turns(config, count_given) for item in conversations}
        return score_diarization({item.known.id: item.known.turns for item in conversations}, found).time.percent

    published = ClusteringConfig()
    pairs = itertools.product(REACHES, MIN_KEPT)
    ways = [replace(published, count="likeness", reach=reach, min_kept=kept) for reach, kept in pairs]
    grouping = first_good(ways, lambda config: percent(config, count_given=True))
    best = first_good([replace(grouping, max_likeness=value) for value in MAX_LIKENESSES], percent)
    given = percent(best, count_given=True)
    click.echo(
        f"DER of {data_dir}: published settings {percent(published):.2f} %; reach {best.reach}, min_kept {best.min_kept}, "
        f"max_likeness {best.max_likeness} {percent(best):.2f} %, with the number given {given:.2f} %",
        err=True,
    )
    with atomic_write(Path(model_dir) / CLUSTERING_FILE) as stream:
        stream.write(dump_yaml(best))


def first_good(ways: Sequence[ClusteringConfig], percent: Callable[[ClusteringConfig], float]) -> ClusteringConfig:
    """The first settings that none of the others betters by `LEAST_GAIN`."""
    rates = [percent(config) for config in ways]
    return next(config for config, rate in zip(ways, rates, strict=True) if rate <= min(rates) + LEAST_GAIN)


def timed(turns: list[Turn]) -> list[TimedTurn]:
    """Turns as the scorer reads them."""
    return [TimedTurn(1000 * turn.start, 1000 * turn.end, f"spk{turn.speaker}") for turn in turns]


if __name__ == "__main__":
    main()
