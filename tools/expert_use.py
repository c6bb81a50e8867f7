#!/usr/bin/env python3
"""Which experts of a Conformer with a mixture of experts the frames of some recordings go to: a table, JSON and a picture."""

import json
from pathlib import Path

import click
import torch

from mooer.audio.io import load_audio
from mooer.cli._command import command
from mooer.common.config import load_yaml
from mooer.common.errors import ConfigError
from mooer.common.files import atomic_write
from mooer.data.lists import read_table
from mooer.features.cmvn import read_cmvn
from mooer.features.frontend import Frontend, FrontendConfig
from mooer.models.conformer_builder import num_active_parameters
from mooer.models.model_dir import LoadedModel, load_model_dir

COLUMN_INCHES, ROW_INCHES = 0.45, 0.5


@command
@click.option("--model_dir", required=True, help="Run folder or model directory of a Conformer with experts.")
@click.option("--wav_scp", type=click.Path(), required=True, help="Table of recordings, `ID PATH` a line.")
@click.option("--output_dir", type=click.Path(path_type=Path), required=True, help="Gets expert_use.json and expert_use.png.")
def main(model_dir: str, wav_scp: str, output_dir: Path) -> None:
    """Count the frames of each expert in each block; names the experts that got none."""
    loaded = load_model_dir(model_dir)
    if loaded.config.family != "conformer" or loaded.config.moe is None:
        raise ConfigError(f"{model_dir} has no experts")
    counts = count_frames(loaded, wav_scp)
    total, active = sum(p.numel() for p in loaded.model.parameters()), num_active_parameters(loaded.model)
    shares = counts / counts.sum(dim=1, keepdim=True)
    idle = [f"block {block} expert {expert}" for block, expert in (counts == 0).nonzero().tolist()]
    values = {"parameters": total, "active_parameters": active, "frames": counts.tolist(), "idle": idle}
    with atomic_write(output_dir / "expert_use.json") as stream:
        json.dump(values, stream, indent=1)
        stream.write("\n")
    write_figure(output_dir / "expert_use.png", shares)
    click.echo(f"parameters: {total:,}, of which a frame meets {active:,}")
    for block, row in enumerate(shares.tolist()):
        click.echo(f"block {block}: " + " ".join(f"{100 * share:5.1f}" for share in row) + " % of the frames")
    click.echo(f"experts without a frame: {', '.join(idle) or 'none'}")


@torch.inference_mode()
def count_frames(loaded: LoadedModel, wav_scp: str) -> torch.Tensor:
    """[blocks, experts] int64, the frames of all recordings that go to each expert."""
    settings = load_yaml(loaded.frontend_path, FrontendConfig)
    frontend = Frontend(settings, None if loaded.cmvn_path is None else read_cmvn(loaded.cmvn_path))
    num_experts = loaded.config.moe.num_experts
    counts = torch.zeros(loaded.config.encoder.num_blocks, num_experts, dtype=torch.long)
    for path in read_table(wav_scp).values():
        frames = frontend(load_audio(path))
        encoded = loaded.model.encoder.encode(frames[None], torch.tensor([len(frames)]))
        counts += torch.stack([routing.chosen.bincount(minlength=num_experts) for routing in encoded.routings])
    return counts


def write_figure(path: Path, shares: torch.Tensor) -> None:
    """A field for each expert of each block, darker for more of the frames; shares [blocks, experts]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    blocks, experts = shares.shape
    size = (2.5 + COLUMN_INCHES * max(8, experts), 1.4 + ROW_INCHES * blocks)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(100 * shares.numpy(), aspect="auto", cmap="Blues", vmin=0)
    axes.set(
        xlabel="expert", ylabel="block", xticks=range(experts), yticks=range(blocks), title="Frames that go to each expert"
    )
    for (block, expert), share in zip(torch.cartesian_prod(*map(torch.arange, shares.shape)), shares.flatten(), strict=True):
        shade = "white" if share > 0.6 * shares.max() else "black"
        axes.text(int(expert), int(block), f"{100 * share:.0f}", ha="center", va="center", color=shade, fontsize=7)
    figure.colorbar(image, ax=axes, label="% of the block's frames")
    with atomic_write(path, "wb") as stream:
        figure.savefig(stream, format="png", metadata={"Software": None})


if __name__ == "__main__":
    main()
