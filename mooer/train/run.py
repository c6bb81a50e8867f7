"""A training run from its configuration to `final/`: builds the parts, resumes, trains, exports.

A run folder holds config.yaml, run.json, train.jsonl, tensorboard/, checkpoints/step_N/ and, at the end, final/, a model
directory. The main process holds a lock on it, so that two jobs never write into one.
"""

import contextlib
import functools
import json
import logging
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mooer.common import dist, provenance
from mooer.common.config import dump_yaml, load_yaml
from mooer.common.errors import ConfigError, PathError, TrainingError
from mooer.common.files import atomic_write, locked, require_file, sha256
from mooer.common.log import get_logger
from mooer.common.seed import seed_everything
from mooer.data.dataset import Loader
from mooer.models.checkpointing import checkpoint_blocks
from mooer.models.encoder_cache import EncoderCache
from mooer.models.shared_experts import share_experts
from mooer.models.weights import checksums
from mooer.train.checkpoint import Checkpoint, CheckpointFolder, Layout, Progress, load_own_state
from mooer.train.config import RunConfig, TrainingConfig, differences
from mooer.train.engine import Engine, processes
from mooer.train.export import export_final
from mooer.train.families.base import Batch, Family
from mooer.train.families.choice import family_of
from mooer.train.loop import ErrorRate, Run, train
from mooer.train.monitor import Monitor
from mooer.train.optim import build_optimizer
from mooer.train.precision import attention_kept
from mooer.train.step import Stepper

CONFIG_FILE = "config.yaml"
RECORD_FILE = "run.json"
LOCK_FILE = "run.lock"
CHECKPOINT_DIR = "checkpoints"
FINAL_DIR = "final"

log = get_logger(__name__)


def run_training(
    config: RunConfig,
    output_dir: Path,
    *,
    resume: bool = False,
    device: torch.device | None = None,
    error_rate: ErrorRate | None = None,
) -> None:
    """Train, and write the run folder `output_dir`; called in every process of a torchrun job.

    Args:
        resume: go on after the newest checkpoint if there is one.
        error_rate: see `mooer.train.loop.Run`.

    Raises:
        PathError: the folder holds a run and `resume` is off, another process trains in it, or a file of the config is missing.
        ConfigError: the folder's run has another configuration, or the number of ranks does not fit.
        TrainingError: a loss that is not finite, or a checkpoint that does not fit.
    """
    device = device or torch.device("cpu")
    config.training.check_ranks(dist.world_size())
    # Before the processes meet, so that none sees the files that the main one writes then.
    check_run_folder(config, output_dir, resume)
    if config.training.num_threads is not None:
        torch.set_num_threads(config.training.num_threads)
    if not dist.is_main():
        get_logger("mooer").setLevel(logging.WARNING)
    with _sole_writer(output_dir), processes(device):
        _train_and_export(config, output_dir, device, error_rate)


@contextlib.contextmanager
def _sole_writer(output_dir: Path) -> Iterator[None]:
    """Nobody else trains in the folder meanwhile: a rank that outlived its launcher, say, or the same command typed twice."""
    if not dist.is_main():
        yield
        return
    output_dir.mkdir(parents=True, exist_ok=True)
    lock = output_dir / LOCK_FILE
    with locked(lock, f"run folder {output_dir}"):
        try:
            yield
        finally:
            # A run that was refused before it began leaves nothing behind.
            if list(output_dir.iterdir()) == [lock]:
                lock.unlink()
                output_dir.rmdir()


def check_run_folder(config: RunConfig, output_dir: Path, resume: bool) -> None:
    """Refuse to mix two runs in one folder. Raises PathError or ConfigError."""
    if output_dir.is_file():
        raise PathError(f"output_dir {output_dir} is a file")
    if not (output_dir / CONFIG_FILE).exists():
        if any((output_dir / CHECKPOINT_DIR).glob("step_*")):
            raise PathError(f"{output_dir} holds checkpoints but no {CONFIG_FILE}, so it is no run to go on with; name another")
        return
    if not resume:
        raise PathError(f"{output_dir} already holds a run; add --resume to go on with it, or name another folder")
    changed = differences(load_yaml(output_dir / CONFIG_FILE, RunConfig), config)
    if changed:
        raise ConfigError(f"the run in {output_dir} cannot be resumed with other values of {', '.join(changed)}")
    lists = json.loads((output_dir / RECORD_FILE).read_text(encoding="utf-8"))["data_lists"]
    if lists != _list_checksums(family_of(config)):
        raise ConfigError(f"the data lists are no longer those that the run in {output_dir} began with: {', '.join(lists)}")


def _list_checksums(family: Family) -> dict[str, str]:
    return {path: sha256(require_file(path, "data list")) for path in family.data_files()}


def _train_and_export(config: RunConfig, output_dir: Path, device: torch.device, error_rate: ErrorRate | None) -> None:
    family = family_of(config)
    run, start = _prepare(config, family, output_dir, device, error_rate)
    if dist.is_main():
        _write_records(config, family, output_dir, start, device)
    with Monitor(output_dir, config.training, start, run.total_steps, family.frame_seconds, family.measures) as monitor:
        end = train(run, start, monitor)
    cache = run.engine.model.encoder_cache if config.training.encoder_cache is not None else None
    if cache is not None:
        log.info("the encoder ran for %d utterances, %d times its outputs were read", cache.misses, cache.hits)
    if dist.is_main():
        record = json.loads((output_dir / RECORD_FILE).read_text(encoding="utf-8"))
        export_final(config, run.checkpoints, output_dir / FINAL_DIR, record)
        log.info("step %d: the model is in %s", end.step, output_dir / FINAL_DIR)
    dist.barrier()


def _prepare(
    config: RunConfig, family: Family, output_dir: Path, device: torch.device, error_rate: ErrorRate | None
) -> tuple[Run, Progress]:
    """Everything that the loop needs, and where it begins; nothing is written."""
    training = config.training
    seed_everything(training.seed)
    place = (dist.rank(), dist.world_size())
    loader = family.loader("train", *place)
    dev_loader = None if config.data.dev_list is None else family.loader("dev", *place)
    model = family.build_model()
    if training.gradient_checkpointing:
        recomputing = functools.partial(attention_kept, getattr(torch, training.dtype), device.type)
        log.info("%d blocks forget their activations", checkpoint_blocks(model, recomputing))
    if training.encoder_cache is not None:
        model.encoder_cache = EncoderCache(training.encoder_cache, model.encoder)
    from_files = family.parts_from_files()
    checkpoints = CheckpointFolder(output_dir / CHECKPOINT_DIR, from_files, training.keep_last, training.keep_best)
    if dist.is_main():
        _remove_leftovers(output_dir, checkpoints)
    dist.barrier()
    newest = next(iter(checkpoints.last()), None)
    if newest is not None:
        load_own_state(model, newest.weights(), from_files, str(newest.folder))
    share_experts(model, training.expert_parallel)
    optimizer = build_optimizer(model, training.optimizer)
    engine = Engine(model, optimizer, training, device)
    layout = Layout(
        world_size=dist.world_size(),
        zero_stage=training.zero_stage,
        accumulation=training.accumulation,
        expert_parallel=training.expert_parallel,
    )
    if newest is not None:
        engine.load_optimizer_state(newest.optimizer_state())
        _report_resumption(newest, layout)
    run = Run(
        config=training,
        engine=engine,
        stepper=Stepper(engine, family, training.seed, functools.partial(_any_batch, family)),
        loader=loader,
        dev_loader=dev_loader,
        error_rate=error_rate,
        checkpoints=checkpoints,
        layout=layout,
        total_steps=_total_steps(training, loader, layout),
    )
    return run, Progress() if newest is None else newest.progress


def _report_resumption(newest: Checkpoint, layout: Layout) -> None:
    place = newest.progress
    log.info("going on after step %d of %s", place.step, newest.folder)
    if newest.layout != layout:
        log.warning(
            "the run was on %s and goes on with %s: the batches left of epoch %d, from number %d on, are dealt out anew, each "
            "once; a step takes %d of them where it took %d",
            newest.layout,
            layout,
            place.epoch,
            place.batches + 1,
            layout.batches_in_step,
            newest.layout.batches_in_step,
        )


def _any_batch(family: Family) -> Batch:
    loader = family.loader("train")
    batch = next((batch for batch in loader.epoch(0) if batch is not None), None)
    loader.close()
    if batch is None:
        raise TrainingError(f"not one batch can be loaded to train on: {dict(loader.skipped)}")
    return batch


def _remove_leftovers(output_dir: Path, checkpoints: CheckpointFolder) -> None:
    """Remove the temporary files and folders of a run that was killed while it wrote."""
    checkpoints.remove_leftovers()
    for leftover in output_dir.glob(".*.tmp"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def _total_steps(config: TrainingConfig, loader: Loader, layout: Layout) -> int:
    """Steps of the whole run; where epochs limit it, as if all were as long as the first."""
    limits = []
    if config.max_steps is not None:
        limits.append(config.max_steps)
    if config.max_epochs is not None:
        limits.append(config.max_epochs * math.ceil(loader.batches_in_epoch(0) / layout.batches_in_step))
    return min(limits)


def _write_records(config: RunConfig, family: Family, output_dir: Path, start: Progress, device: torch.device) -> None:
    """Write config.yaml and run.json; a resumed run's command is added to those before it."""
    path = output_dir / RECORD_FILE
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    record: dict[str, Any] = provenance.record() | {
        "seed": config.training.seed,
        "data_seed": config.data.seed,
        "device": str(device),
        "world_size": dist.world_size(),
        "num_threads": torch.get_num_threads(),
        "data_lists": _list_checksums(family),
        "weights_sha256": checksums(family.weight_files()),
    }
    if earlier is not None:
        resumed = {"step": start.step, "command": record["command"], "commit": record["commit"]}
        record = earlier | {"resumed": [*earlier.get("resumed", []), resumed]}
    with atomic_write(path) as stream:
        json.dump(record, stream, indent=2, ensure_ascii=False)
        stream.write("\n")
    with atomic_write(output_dir / CONFIG_FILE) as stream:
        stream.write(dump_yaml(config))
