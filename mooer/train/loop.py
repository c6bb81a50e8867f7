"""The training loop. Only the end of the data ends an epoch; every error ends the run.

It reads as: take micro-batches, make a step of them, now and then validate and save.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from mooer.common import dist
from mooer.common.errors import TrainingError
from mooer.data.dataset import Loader
from mooer.train.checkpoint import CheckpointFolder, Layout, Progress
from mooer.train.config import TrainingConfig
from mooer.train.engine import Engine
from mooer.train.families.base import Batch
from mooer.train.monitor import Monitor
from mooer.train.optim import learning_rate_share
from mooer.train.step import Stepper, problems_of_all_ranks

ErrorRate = Callable[[nn.Module], float]


@dataclass(frozen=True, kw_only=True)
class Run:
    """All that the loop works with."""

    config: TrainingConfig
    engine: Engine
    stepper: Stepper
    loader: Loader
    dev_loader: Loader | None
    error_rate: ErrorRate | None
    """Decodes the development set with the model and gives its error rate in percent; runs on the main rank."""
    checkpoints: CheckpointFolder
    layout: Layout
    total_steps: int
    """Steps that the learning rate's course is laid out for."""


def train(run: Run, progress: Progress, monitor: Monitor) -> Progress:
    """Train from `progress` to the configured end; returns where that is.

    Raises:
        TrainingError: on all ranks, when a loss or gradient is not finite.
    """
    config = run.config
    while not _finished(config, progress):
        first_step = progress.step
        for batches in _grouped(run.loader.epoch(progress.epoch, progress.batches), config.accumulation):
            progress = _step(run, batches, progress, monitor)
            if _finished(config, progress):
                break
            if config.checkpoint_interval and progress.step % config.checkpoint_interval == 0:
                progress = _save(run, progress, monitor)
                if _finished(config, progress):
                    break
        progress = _end_epoch(run, progress, monitor, first_step)
    return _save(run, progress, monitor, last=True)


def _end_epoch(run: Run, progress: Progress, monitor: Monitor, first_step: int) -> Progress:
    """Report what was skipped, and go to the next epoch if this one's data are used up."""
    skipped = monitor.epoch(progress, problems_of_all_ranks(run.loader.problems, run.engine.device))
    if progress.batches < run.loader.batches_in_epoch(progress.epoch):
        return progress
    if progress.step == first_step == 0:
        raise TrainingError(f"there was not one target token to train on in a whole epoch; skipped: {skipped}")
    progress = dataclasses.replace(progress, epoch=progress.epoch + 1, batches=0)
    if run.config.checkpoint_interval is None and not _finished(run.config, progress):
        progress = _save(run, progress, monitor)
    return progress


def _finished(config: TrainingConfig, progress: Progress) -> bool:
    limits = (
        (progress.step, config.max_steps),
        (progress.epoch, config.max_epochs),
        (progress.stale, config.patience),
    )
    return any(limit is not None and reached >= limit for reached, limit in limits)


def _grouped(batches: Iterator[Batch | None], size: int) -> Iterator[list[Batch | None]]:
    while group := list(itertools.islice(batches, size)):
        yield group


def _step(run: Run, batches: list[Batch | None], progress: Progress, monitor: Monitor) -> Progress:
    share = learning_rate_share(run.config.schedule, progress.step, run.total_steps)
    try:
        result = run.stepper.step(batches, (progress.epoch, progress.batches), share)
    except TrainingError as error:
        rate = share * run.config.optimizer.learning_rate
        raise TrainingError(monitor.stop(progress, f"{error}; learning rate {rate:.4g}")) from error
    progress = dataclasses.replace(progress, batches=progress.batches + len(batches) * dist.world_size())
    if result is not None:
        progress = dataclasses.replace(progress, step=progress.step + 1)
        monitor.utterances(progress.step, batches)
        monitor.step(progress, result)
    return progress


def _save(run: Run, progress: Progress, monitor: Monitor, last: bool = False) -> Progress:
    """Validate, if it is due, and save a checkpoint, unless there is one of this step."""
    if run.checkpoints.exists(progress.step):
        return progress
    interval = run.config.validation_interval
    due = last or interval is None or progress.step % interval == 0
    metric = None
    if due and run.dev_loader is not None:
        metric = _validate(run, progress, monitor)
        progress = progress.after_validation(metric)
        if progress.stale == run.config.patience:
            monitor.out_of_patience(progress)
    run.checkpoints.save(run.engine, progress, run.layout, metric)
    return progress


def _validate(run: Run, progress: Progress, monitor: Monitor) -> float | None:
    """The development set's error rate, or its loss where no rate was asked for; None if that is not finite."""
    sums = run.stepper.evaluate(run.dev_loader.epoch(0))
    error_rate = None
    if run.error_rate is not None and dist.is_main():
        with run.engine.evaluation() as model:
            error_rate = run.error_rate(model)
    dist.barrier()
    monitor.validation(progress, sums, error_rate)
    metric = sums.mean_loss if error_rate is None else error_rate
    return metric if math.isfinite(metric) else None
