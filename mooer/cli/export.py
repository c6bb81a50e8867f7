"""mooer-export: make a model directory of a run's checkpoints."""

import click

from mooer.cli._command import command


@command
@click.option("--run_dir", required=True, type=click.Path(), metavar="DIR", help="Folder that mooer-train wrote.")
@click.option("--output_dir", required=True, type=click.Path(), metavar="DIR", help="Model directory to write.")
@click.option(
    "--format",
    "form",
    default="safetensors",
    type=click.Choice(["safetensors", "int8", "released"]),
    help="Float32 weights, int8 matrices, or the released layout. Default: safetensors.",
)
@click.option("--average", "count", default=1, type=click.IntRange(min=1), help="Checkpoints to average. Default: 1.")
@click.option(
    "--by",
    default="last",
    type=click.Choice(["last", "best"]),
    help="The newest checkpoints, or the best on the development set. Default: last.",
)
@click.option(
    "--task", default="asr", type=click.Choice(["asr", "ast", "mtl"]), help="Folder in the released layout. Default: asr."
)
def main(run_dir: str, output_dir: str, form: str, count: int, by: str, task: str) -> None:
    """Write the mean of a run's checkpoints as a model that mooer-decode opens."""
    from pathlib import Path

    from mooer.train.export import export_run

    used = export_run(Path(run_dir), Path(output_dir), form=form, count=count, by=by, task=task)
    click.echo(f"{output_dir}: {form}, from {', '.join(folder.name for folder in used)}", err=True)
