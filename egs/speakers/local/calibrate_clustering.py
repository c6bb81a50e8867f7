#!/usr/bin/env python3
"""Finds the settings of clustering that suit a model, on conversations of speakers held out of training.

The published settings suit the published model, trained on far more speakers: a small one gives other cosines.
"""

import itertools
from collections.abc import Sequence
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
from mooer.score.der import DerReport, score_diarization
from mooer.text.rttm import TimedTurn

# Those that are preferred come first. Of the grouping, the defaults. Of likeness, the lowest: pieces of one utterance are more
# alike than a voice in several, so that conversations of pieces ask for more speakers than others have.
REACHES = (0, 1, 2, 3)
MIN_KEPT = (6, 10, 16)
MAX_LIKENESSES = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8)


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

    def report(config: ClusteringConfig, count_given: bool = False) -> DerReport:
        found = {item.known.id: item.turns(config, count_given) for item in conversations}
        return score_diarization({item.known.id: item.known.turns for item in conversations}, found)

    published = ClusteringConfig()
    pairs = itertools.product(REACHES, MIN_KEPT)
    ways = [replace(published, count="likeness", reach=reach, min_kept=kept) for reach, kept in pairs]
    grouping = first_good(ways, [report(config, count_given=True) for config in ways])
    ways = [replace(grouping, max_likeness=value) for value in MAX_LIKENESSES]
    best = first_good(ways, [report(config) for config in ways])
    given = report(best, count_given=True)
    click.echo(
        f"DER of {data_dir}: published settings {report(published).time.percent:.2f} %; reach {best.reach}, min_kept "
        f"{best.min_kept}, max_likeness {best.max_likeness} {report(best).time.percent:.2f} %, with the number given "
        f"{given.time.percent:.2f} %",
        err=True,
    )
    with atomic_write(Path(model_dir) / CLUSTERING_FILE) as stream:
        stream.write(dump_yaml(best))


def first_good(ways: Sequence[ClusteringConfig], reports: Sequence[DerReport]) -> ClusteringConfig:
    """The first settings whose rate is within one standard error of the lowest (Breiman et al. 1984): that much is chance."""
    lowest = min(reports, key=lambda report: report.time.percent)
    limit = lowest.time.percent + standard_error(lowest)
    return next(config for config, report in zip(ways, reports, strict=True) if report.time.percent <= limit)


def standard_error(report: DerReport) -> float:
    """Of the mean rate of recordings, in percent; 0 of a single one."""
    rates = [item.time.percent for item in report.recordings]
    return float(np.std(rates, ddof=1) / len(rates) ** 0.5) if len(rates) > 1 else 0.0


def timed(turns: list[Turn]) -> list[TimedTurn]:
    """Turns as the scorer reads them."""
    return [TimedTurn(1000 * turn.start, 1000 * turn.end, f"spk{turn.speaker}") for turn in turns]


if __name__ == "__main__":
    main()
