"""mooer-train: train a model from a configuration file."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mooer.cli._command import command

if TYPE_CHECKING:
    import torch

    from mooer.data.config import TaskConfig
    from mooer.train.config import RunConfig
    from mooer.train.loop import ErrorRate


@command
@click.option("--config", "config_path", required=True, type=click.Path(), metavar="FILE", help="Training file (YAML).")
@click.option("--output_dir", type=click.Path(), metavar="DIR", help="Run folder to write.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one value, as training.max_steps=100.")
@click.option("--resume", is_flag=True, help="Go on with the run in output_dir, or begin it if there is none.")
@click.option("--device", default="auto", type=click.Choice(["auto", "cpu", "cuda", "musa"]), help="Default: auto.")
@click.option("--plan", is_flag=True, help="Only print parameters, memory, steps and hours; nothing is trained or written.")
@click.option("--ranks", type=click.IntRange(min=1), help="Processes that --plan reckons with. [default: 1]")
def main(
    config_path: str,
    output_dir: str | None,
    overrides: tuple[str, ...],
    resume: bool,
    device: str,
    plan: bool,
    ranks: int | None,
) -> None:
    """Train a model.

    One process needs no launcher; several are started by `torchrun --nproc_per_node N bin/train.py ...`. The run folder gets
    config.yaml, run.json, train.jsonl, tensorboard/, checkpoints/ and final/, a model directory for mooer-decode.
    """
    from mooer.common.config import load_yaml
    from mooer.common.device import select_device
    from mooer.train.config import RunConfig
    from mooer.train.run import run_training

    _check_options(output_dir, resume, plan, ranks)
    config = load_yaml(config_path, RunConfig, overrides)
    if plan:
        from mooer.train.plan import plan_run

        click.echo(plan_run(config, ranks or 1))
        return
    target = select_device(device)
    run_training(config, Path(output_dir), resume=resume, device=target, error_rate=_error_rate(config, target))


def _check_options(output_dir: str | None, resume: bool, plan: bool, ranks: int | None) -> None:
    """Exits with a message for options that cannot go together."""
    if plan and (output_dir is not None or resume):
        raise click.UsageError("--plan trains nothing: leave out --output_dir and --resume")
    if not plan and output_dir is None:
        raise click.UsageError("--output_dir is needed, or --plan")
    if ranks is not None and not plan:
        raise click.UsageError("--ranks belongs to --plan; training is spread by torchrun")


def _error_rate(config: "RunConfig", device: "torch.device") -> "ErrorRate | None":
    """What decodes the development set with a model and gives its error rate in percent; None if none was asked for.

    It decodes greedily, for the first task of the configuration that transcribes, or else for the first one.
    """
    metric = config.training.validation_error_rate
    if metric == "none":
        return None
    task = next((task for task in config.data.tasks if task.task == "asr"), config.data.tasks[0])

    def error_rate(model: "torch.nn.Module") -> float:
        import tempfile

        from mooer.common.config import dump_yaml
        from mooer.common.files import atomic_write
        from mooer.data.lists import read_data_list
        from mooer.decode.hypothesis import Hypothesis
        from mooer.score.wer import score_error_rate

        utterances = [entry for entry in read_data_list(config.data.dev_list) if task.label_names[0] in entry.labels]
        with tempfile.TemporaryDirectory() as folder:
            frontend = Path(folder) / "frontend.yaml"
            with atomic_write(frontend) as stream:
                stream.write(dump_yaml(config.data.frontend))
            recognizer = _recognizer(model, config, task, device, frontend)
            results = list(recognizer.recognize_utterances(utterances))
        references = {entry.id: entry.labels[task.label_names[0]] for entry in utterances}
        hypotheses = {result.id: result.answer.text for result in results if isinstance(result, Hypothesis)}
        return score_error_rate(references, hypotheses, metric).counts.percent

    return error_rate


def _recognizer(model: "torch.nn.Module", config: "RunConfig", task: "TaskConfig", device: "torch.device", frontend: Path):
    """A greedy recognizer with the model as it is in memory."""
    from mooer.decode.recognizer import DecodeConfig, Recognizer
    from mooer.train.families.choice import family_of

    is_speech_llm = config.model.family == "speech_llm"
    settings = DecodeConfig(
        task=task.task if is_speech_llm and task.task != "free" else "asr",
        target_language=task.target_language,
        instruction=task.instruction_text if is_speech_llm else None,
        beam_size=1,
        device=device.type,
    )
    return Recognizer(family_of(config).for_decoding(model, frontend), settings)
