#!/usr/bin/env python3
"""Log mel spectrograms of a few sentences in a picture each: reference, copy synthesis and translation, one below the other."""

from pathlib import Path

import click
import torch

from mooer.audio.io import load_audio
from mooer.cli._command import command
from mooer.common.errors import DataError
from mooer.common.files import atomic_write
from mooer.data.lists import read_table
from mooer.data.utterance import resolve_path
from mooer.models.audio_tokens import AudioTokenConfig
from mooer.models.vocoder_losses import SHIFT, LogMel

QUIETEST, LOUDEST = -9.0, 1.0  # of the colours, in units of the natural logarithm
WIDTH, ROW_HEIGHT, DPI = 9.0, 2.2, 100


@command
@click.argument("tables", nargs=-1, required=True, metavar="NAME=WAV_SCP...")
@click.option("--text", required=True, type=click.Path(), help="What is said, `ID TEXT` a line.")
@click.option("--count", type=click.IntRange(min=1), default=3, show_default=True, help="Sentences that are drawn.")
@click.option("--output_dir", required=True, type=click.Path(path_type=Path), help="Gets ID.png.")
def main(tables: tuple[str, ...], text: str, count: int, output_dir: Path) -> None:
    """Draw the first sentences that all tables have."""
    paths = dict(item.split("=", maxsplit=1) for item in tables)
    recordings = {name: read_table(path) for name, path in paths.items()}
    texts = read_table(text)
    drawn = [key for key in texts if all(key in table for table in recordings.values())][:count]
    if not drawn:
        raise DataError("there is no sentence that all tables have a recording of")
    for key in drawn:
        rows = {name: resolve_path(table[key], Path(paths[name]).parent) for name, table in recordings.items()}
        draw(output_dir / f"{key}.png", f"{key}: {texts[key]}", rows)


def draw(path: Path, title: str, recordings: dict[str, str]) -> None:
    """Write a picture with a row a recording, all of one time axis."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rate = AudioTokenConfig().sampling_rate
    log_mel = LogMel(rate)
    figure = Figure(figsize=(WIDTH, 0.6 + ROW_HEIGHT * len(recordings)), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    rows = figure.subplots(len(recordings), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, recording) in zip(rows, recordings.items(), strict=True):
        waveform = load_audio(recording, target_rate=rate)
        with torch.inference_mode():
            mels = log_mel(waveform[None, : len(waveform) // SHIFT * SHIFT])[0].numpy()  # [M, T]
        seconds = mels.shape[1] * SHIFT / rate
        extent = (0.0, seconds, 0.0, mels.shape[0])
        axes.imshow(mels, origin="lower", aspect="auto", extent=extent, vmin=QUIETEST, vmax=LOUDEST, cmap="magma")
        axes.set_ylabel("mel bin (80 to 11,025 Hz)")
        axes.set_title(name, fontsize=10, loc="left")
    rows[-1].set_xlabel("time (s)")
    with atomic_write(path, "wb") as stream:
        figure.savefig(stream, format="png", metadata={"Software": None})


if __name__ == "__main__":
    main()
