"""mooer-dump-latents: what a vocoder is trained on, the hidden states of a speech LLM over spoken answers."""

import click

from mooer.cli._command import command
from mooer.cli._report import finish, progress_bar


@command
@click.option("--model_dir", required=True, type=click.Path(), help="Trained speech LLM: run folder or model directory.")
@click.option("--data_list", required=True, type=click.Path(), help="What it is asked, with the labels of its answers.")
@click.option("--target_dir", required=True, type=click.Path(), help="Data directory of their recordings, by the same ids.")
@click.option("--task", type=click.Choice(["s2s_trans", "s2s_chat"]), default="s2s_trans", show_default=True)
@click.option(
    "--label", "labels", multiple=True, help="Label of the answer, audio tokens last; repeatable. [default: the task's]"
)
@click.option("--instruction", help="What the LLM was asked in training, in place of the task's own words.")
@click.option("--spk_encoder_path", type=click.Path(), help="Speaker encoder, for voices. [default: none are written]")
@click.option("--batch_size", type=click.IntRange(min=1), default=16, show_default=True, help="Utterances shown together.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "musa"]), default="auto", show_default=True)
@click.option("--resume", is_flag=True, help="Go on with what a run that was killed has left.")
@click.option("--output_dir", required=True, type=click.Path(), help="Gets latents_*.ark, voices_*.ark and data.list.")
def main(
    model_dir: str,
    data_list: str,
    target_dir: str,
    task: str,
    labels: tuple[str, ...],
    instruction: str | None,
    spk_encoder_path: str | None,
    batch_size: int,
    device: str,
    resume: bool,
    output_dir: str,
) -> None:
    """Show a speech LLM the answers that it was trained to give, and write its last hidden states over their audio tokens.

    mooer-train trains a vocoder on OUTPUT_DIR/data.list (`data.input: latents`). Utterances without latents are listed in
    OUTPUT_DIR/failed.jsonl; the exit status is then 1.
    """
    from mooer.data.config import TaskConfig
    from mooer.pipeline.speech_latents import LatentModels, LatentsConfig, dump_latents, find_targets

    config = LatentsConfig(
        model_dir=model_dir,
        task=TaskConfig(task=task, labels=labels, instruction=instruction),
        speaker_encoder=spk_encoder_path,
        batch_size=batch_size,
        device=device,
    )
    targets, problems = find_targets(data_list, target_dir, config.task)
    count, failed = dump_latents(LatentModels(config), targets, output_dir, resume, progress_bar)
    finish(output_dir, count, [*problems, *failed])
