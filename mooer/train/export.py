"""From a run's checkpoints to a model that decoding opens."""

from pathlib import Path
from typing import Any, Literal

from torch import nn

from mooer.common import provenance
from mooer.common.config import load_yaml
from mooer.common.errors import PathError
from mooer.common.files import require_dir, require_file
from mooer.common.log import get_logger
from mooer.train.checkpoint import Checkpoint, CheckpointFolder, average, load_own_state
from mooer.train.config import RunConfig
from mooer.train.families.base import Family, Form
from mooer.train.families.choice import family_of

FORMATS = ("safetensors", "int8", "released")

log = get_logger(__name__)


def export_final(config: RunConfig, checkpoints: CheckpointFolder, directory: Path, record: dict[str, Any]) -> None:
    """Write the model directory at the end of a run: the last checkpoint, or the mean of the best ones (average_best).

    It is made of the checkpoints on disk as `export_run` makes it, so it is the same however the run was spread over ranks.
    """
    count = config.training.average_best
    chosen = checkpoints.best(count) if count else checkpoints.last()
    family = family_of(config)
    model, taken = _model_of(family, chosen)
    family.export(model, directory, record | taken, "safetensors", "asr")


def export_run(
    run_dir: Path,
    directory: Path,
    *,
    form: Form = "safetensors",
    count: int = 1,
    by: Literal["last", "best"] = "last",
    task: str = "asr",
) -> list[Path]:
    """Write the mean of a run's checkpoints as a model.

    Args:
        form: a model directory of ours, in float32 or with int8 matrices, or the released layout, where the family has it.
        count: how many checkpoints to average.
        by: the newest ones, or the best on the development set.
        task: which of the released layout's folders the checkpoint goes to.

    Returns:
        The checkpoints' folders.

    Raises:
        PathError: no run, or fewer checkpoints than asked for.
        ConfigError, WeightsError: the run's files changed, or the layout cannot hold the model.
    """
    config = load_yaml(require_file(require_dir(run_dir, "run folder") / "config.yaml", "the run's configuration"), RunConfig)
    family = family_of(config)
    checkpoints = CheckpointFolder(run_dir / "checkpoints", family.parts_from_files())
    chosen = checkpoints.last(count) if by == "last" else checkpoints.best(count)
    if len(chosen) < count:
        raise PathError(f"{run_dir} has {len(chosen)} checkpoints to choose from ({by}), {count} were asked for")
    model, taken = _model_of(family, chosen)
    record = provenance.record() | {"run_dir": str(run_dir)} | taken
    family.export(model, directory, record, form, task)
    return [checkpoint.folder for checkpoint in chosen]


def _model_of(family: Family, checkpoints: list[Checkpoint]) -> tuple[nn.Module, dict[str, Any]]:
    """The run's model with the mean of the checkpoints' weights, and what to record of them."""
    model = family.build_model()
    steps = [checkpoint.progress.step for checkpoint in checkpoints]
    if len(checkpoints) == 1:
        state, source = checkpoints[0].weights(), str(checkpoints[0].folder)
    else:
        state, source = average(checkpoints), "the mean of the checkpoints"
        log.info("weights are the mean of the checkpoints of steps %s", ", ".join(map(str, steps)))
    load_own_state(model, state, family.parts_from_files(), source)
    return model, {
        "step": max(steps),
        "averaged_steps": steps,
        "dev_metrics": [checkpoint.metric for checkpoint in checkpoints],
    }
