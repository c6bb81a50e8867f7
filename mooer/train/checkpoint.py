"""Checkpoints of a run: written whole or not at all, the newest and the best kept, averaged for the export.

checkpoints/step_N/
    weights.safetensors             all weights but the frozen ones of parts that are read from files of their own
    optimizer.safetensors           moments of Adam of the trained weights
    state.json                      where the run was, and how good the weights are

Weights and moments are whole, by parameter, so a run may go on with another ZeRO stage or number of ranks. The learning rate
and all random draws follow from the step and the place in the epoch: nothing more is needed to go on exactly. A folder gets
its name when everything in it is on disk; folders whose name starts with a point are leftovers of a killed process.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from mooer.common import dist
from mooer.common.errors import TrainingError
from mooer.common.log import get_logger
from mooer.models.weights import State, check_names, own_tensors, read_state, write_safetensors
from mooer.train.engine import Engine

WEIGHTS_FILE = "weights.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run is."""

    step: int = 0
    """Optimizer steps done."""
    epoch: int = 0
    """The epoch under way, from 0."""
    batches: int = 0
    """Micro-batches of this epoch that all ranks together are done with."""
    best: float | None = None
    """The lowest metric of any validation so far."""
    stale: int = 0
    """Validations since then."""

    def after_validation(self, metric: float | None) -> "Progress":
        """The same place, with a validation's metric taken note of; None is one that was not finite."""
        if metric is not None and (self.best is None or metric < self.best):
            return dataclasses.replace(self, best=metric, stale=0)
        return dataclasses.replace(self, stale=self.stale + 1)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a run is spread over processes."""

    world_size: int
    zero_stage: int
    accumulation: int = 1
    expert_parallel: int = 1

    @property
    def batches_in_step(self) -> int:
        """Micro-batches of all ranks that make one optimizer step."""
        return self.world_size * self.accumulation

    def __str__(self) -> str:
        ranks = "1 rank" if self.world_size == 1 else f"{self.world_size} ranks"
        experts = "" if self.expert_parallel == 1 else f", experts over {self.expert_parallel}"
        return f"{ranks} with ZeRO {self.zero_stage}{experts}"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A complete checkpoint on disk."""

    folder: Path
    progress: Progress
    layout: Layout
    metric: float | None
    """Loss or error rate on the development set, lower is better; None if it was not measured."""

    @classmethod
    def read(cls, folder: Path) -> "Checkpoint":
        """Read a checkpoint's state. Raises TrainingError if it is damaged."""
        try:
            state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
            progress, layout = Progress(**state["progress"]), Layout(**state["layout"])
            return cls(folder=folder, progress=progress, layout=layout, metric=state["metric"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TrainingError(f"checkpoint {folder} has no readable {STATE_FILE}: {error}; remove the folder") from error

    def weights(self) -> State:
        """The weights that are the run's own."""
        return read_state(self.folder / WEIGHTS_FILE, "checkpoint")

    def optimizer_state(self) -> State:
        """What `Engine.load_optimizer_state` takes."""
        return read_state(self.folder / OPTIMIZER_FILE, "optimizer state")


class CheckpointFolder:
    """The checkpoints of a run.

    Args:
        parts_from_files: parts of the model whose frozen weights need not be saved.
        keep_last: newest checkpoints that stay.
        keep_best: best checkpoints that stay, of those with a metric.
    """

    def __init__(self, folder: Path, parts_from_files: Set[str], keep_last: int = 1, keep_best: int = 0) -> None:
        self._folder = folder
        self._parts_from_files = parts_from_files
        self._keep_last = keep_last
        self._keep_best = keep_best

    def exists(self, step: int) -> bool:
        """Whether there is a complete checkpoint of this step."""
        return (self._folder / f"step_{step}").exists()

    def all(self) -> list[Checkpoint]:
        """Every complete checkpoint, oldest first."""
        checkpoints = [Checkpoint.read(folder) for folder in self._folder.glob("step_*") if folder.is_dir()]
        return sorted(checkpoints, key=lambda checkpoint: checkpoint.progress.step)

    def last(self, count: int = 1) -> list[Checkpoint]:
        """The newest `count` checkpoints, oldest first."""
        return self.all()[-count:]

    def best(self, count: int = 1) -> list[Checkpoint]:
        """The best `count` checkpoints, best first; of equal ones the later."""
        measured = [checkpoint for checkpoint in self.all() if checkpoint.metric is not None]
        return sorted(measured, key=lambda checkpoint: (checkpoint.metric, -checkpoint.progress.step))[:count]

    def remove_leftovers(self) -> None:
        """Remove what a process killed in the middle of saving or removing left behind."""
        for leftover in self._folder.glob(".step_*"):
            log.info("removing the incomplete checkpoint %s", leftover)
            shutil.rmtree(leftover)

    def save(self, engine: Engine, progress: Progress, layout: Layout, metric: float | None) -> None:
        """Write a checkpoint and remove those that need not stay; every rank must call it."""
        final = self._folder / f"step_{progress.step}"
        staging = self._folder / f".{final.name}.tmp"
        if dist.is_main():
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
        dist.barrier()
        weights = engine.weights(own_names(engine.model, self._parts_from_files))
        optimizer = engine.optimizer_state()
        if dist.is_main():
            write_safetensors(staging / WEIGHTS_FILE, weights)
            write_safetensors(staging / OPTIMIZER_FILE, optimizer)
            state = {"progress": dataclasses.asdict(progress), "layout": dataclasses.asdict(layout), "metric": metric}
            (staging / STATE_FILE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
            _sync_to_disk(staging)
            staging.rename(final)
            self._prune()
        dist.barrier()

    def _prune(self) -> None:
        kept = {checkpoint.folder for checkpoint in (*self.last(self._keep_last), *self.best(self._keep_best))}
        for checkpoint in self.all():
            if checkpoint.folder not in kept:
                doomed = self._folder / f".{checkpoint.folder.name}.old"
                checkpoint.folder.rename(doomed)
                shutil.rmtree(doomed)


def own_names(model: nn.Module, parts_from_files: Set[str]) -> list[str]:
    """Names of the model's tensors without the frozen weights of the named parts, each tied one once."""
    elsewhere = {
        name
        for name, parameter in model.named_parameters()
        if not parameter.requires_grad and name.split(".")[0] in parts_from_files
    }
    return [name for name in own_tensors(model) if name not in elsewhere]


def load_own_state(model: nn.Module, state: State, parts_from_files: Set[str], source: str) -> None:
    """Put the tensors of `own_names` back. Raises WeightsError if they are not exactly the model's."""
    tensors = own_tensors(model)
    expected = {name: tuple(tensors[name].shape) for name in own_names(model, parts_from_files)}
    check_names(expected, state, source)
    model.load_state_dict(state, strict=False)


def average(checkpoints: list[Checkpoint]) -> State:
    """The mean of the checkpoints' weights; integers are taken from the first.

    Raises:
        TrainingError: no checkpoint, or checkpoints of different models.
    """
    if not checkpoints:
        raise TrainingError("there is no checkpoint to average")
    first = checkpoints[0].weights()
    total = {name: tensor.double() for name, tensor in first.items() if tensor.is_floating_point()}
    for checkpoint in checkpoints[1:]:
        state = checkpoint.weights()
        if {name: tensor.shape for name, tensor in state.items()} != {name: tensor.shape for name, tensor in first.items()}:
            raise TrainingError(f"{checkpoint.folder} and {checkpoints[0].folder} are not of the same model")
        for name in total:
            total[name] += state[name]
    return {name: _mean(tensor, total.get(name), len(checkpoints)) for name, tensor in first.items()}


def _mean(tensor: Tensor, total: Tensor | None, count: int) -> Tensor:
    return tensor if total is None else (total / count).to(tensor.dtype)


def _sync_to_disk(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
