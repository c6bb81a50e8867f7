"""The training loader: an index of all utterances, a plan of each epoch, and workers that only load.

The plan is the same on all ranks, so every rank has the same number of batches whatever the shards are like, the batches depend
neither on the number of workers nor on that of the ranks, and going on in the middle of an epoch is starting later in the plan.
"""

import dataclasses
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from mooer.common.config import load_yaml
from mooer.common.errors import ConfigError, DataError
from mooer.common.log import get_logger
from mooer.data.columns import ColumnCounts
from mooer.data.config import AugmentConfig, DataConfig, TaskConfig
from mooer.data.index import UtteranceIndex
from mooer.data.latent_config import LatentConfig
from mooer.data.mixture import FRAMES_AN_HOUR, Mixture, MixtureConfig, SourceConfig
from mooer.data.sampler import BatchRules, EpochPlan, Sizes, plan_epoch
from mooer.data.survey import survey
from mooer.data.tasks import Samples, SpeechLlmSamples
from mooer.data.text_config import TextDataConfig
from mooer.data.utterance import Problem
from mooer.data.voice_config import VoiceConfig
from mooer.data.worker import BatchDataset

__all__ = ["AugmentConfig", "DataConfig", "Loader", "TaskConfig", "build_loader"]

SPLITS = ("train", "dev")

log = get_logger(__name__)


def build_loader(
    config: DataConfig,
    split: str,
    samples: Samples,
    rank: int = 0,
    world_size: int = 1,
) -> "Loader":
    """The loader of a rank.

    Args:
        split: `train` (shuffled, augmented, with limits of length) or `dev` (neither; every epoch alike).
        samples: what is made of the utterances; `SpeechLlmSamples.of(config, ...)` and its like.

    Raises:
        ConfigError: an unknown split, no list for the split, a mixture that asks for more than there is.
        PathError, DataError: what `iterate_data_list` raises; DataError too if no utterance can be used.
    """
    if split not in SPLITS:
        raise ConfigError(f"split {split!r} is unknown; allowed: {', '.join(SPLITS)}")
    training = split == "train"
    if not isinstance(samples, SpeechLlmSamples):
        _refuse_columns(config)
    sources = train_sources(config) if training else dev_sources(config)
    found = survey([source.list for source in sources], config, limit_lengths=training)
    index = found.index
    mixture = Mixture(sources, found.sizes, index.num_frames, config.seed)
    counts = ColumnCounts(config.tasks, index, samples, config.frontend) if _counts_columns(config) else None
    dataset = BatchDataset(config, index, samples, augment=training)
    rules = BatchRules(**{item.name: getattr(config, item.name) for item in dataclasses.fields(BatchRules)})
    planner = EpochPlanner(EpochSizes(index, mixture, counts, config.seed), rules, config.seed, training)
    loader = Loader(config, planner, dataset, (rank, world_size))
    for problem in found.problems:
        loader.note(problem)
    what = config.mixture if training and config.mixture is not None else sources[0].list
    hours = int(index.num_frames.sum()) / FRAMES_AN_HOUR
    skipped = dict(loader.skipped) or ""
    log.info("%s: %d utterances, %.2f h, %d skipped %s", what, len(index), hours, len(found.problems), skipped)
    if training and config.mixture is not None:
        log.info("the mixture:\n%s", mixture.table())
    return loader


def train_sources(config: DataConfig) -> tuple[SourceConfig, ...]:
    """The lists to train on. Raises PathError or ConfigError for a mixture that cannot be read, or where none is set."""
    if config.mixture is not None:
        return load_yaml(config.mixture, MixtureConfig).sources
    if config.train_list is None:
        raise ConfigError("data.train_list is not set")
    return (SourceConfig(name="train", list=config.train_list),)


def dev_sources(config: DataConfig) -> tuple[SourceConfig, ...]:
    """The list to validate on. Raises ConfigError if none is set."""
    if config.dev_list is None:
        raise ConfigError("data.dev_list is not set")
    return (SourceConfig(name="dev", list=config.dev_list),)


def list_files(config: DataConfig) -> list[str]:
    """The paths of all lists that are trained and validated on, and of the mixture's file."""
    sources = train_sources(config) + (() if config.dev_list is None else dev_sources(config))
    return [source.list for source in sources] + ([] if config.mixture is None else [config.mixture])


def _counts_columns(config: DataConfig) -> bool:
    return config.max_batch_tokens is not None or config.num_token_buckets > 1


def _refuse_columns(config: DataConfig) -> None:
    if _counts_columns(config) or config.packing:
        raise ConfigError("max_batch_tokens, num_token_buckets and packing are of an LLM's columns; this model has no LLM")


class EpochSizes:
    """What planning knows of the utterances of an epoch."""

    def __init__(self, index: UtteranceIndex, mixture: Mixture, counts: ColumnCounts | None, seed: int) -> None:
        self._index, self._mixture, self._counts, self._seed = index, mixture, counts, seed

    def __call__(self, epoch: int) -> Sizes:
        """Those of an epoch."""
        index, entries = self._index, self._mixture.entries(epoch)
        positions = entries % len(index)
        columns = None if self._counts is None else self._counts.of_epoch(entries, self._seed, epoch)
        return Sizes(num_frames=index.num_frames[positions], groups=index.groups[positions], columns=columns, entries=entries)


class EpochPlanner:
    """Makes the plan of each epoch; the one in use is kept.

    Args:
        sizes: gives the entries of an epoch.
        training: whether epochs are shuffled and differ.
    """

    def __init__(self, sizes: Callable[[int], Sizes], rules: BatchRules, seed: int, training: bool) -> None:
        self._sizes, self._rules, self._seed, self._training = sizes, rules, seed, training
        self._kept: tuple[int, EpochPlan, int] | None = None

    def number(self, epoch: int) -> int:
        """The epoch whose plan is used: validation has one for all."""
        return epoch if self._training else 0

    def plan(self, epoch: int) -> EpochPlan:
        """The plan of an epoch."""
        return self._made(epoch)[1]

    def frames(self, epoch: int) -> int:
        """Frames of 10 ms, or tokens of text, of an epoch."""
        return self._made(epoch)[2]

    def _made(self, epoch: int) -> tuple[int, EpochPlan, int]:
        epoch = self.number(epoch)
        if self._kept is None or self._kept[0] != epoch:
            sizes = self._sizes(epoch)
            plan = plan_epoch(sizes, self._rules, self._seed, epoch, self._training)
            self._kept = (epoch, plan, int(sizes.num_frames.sum()))
        return self._kept


class Planner(Protocol):
    """Tells which entries make which batch."""

    def number(self, epoch: int) -> int:
        """The epoch whose plan is used: validation has one for all."""

    def plan(self, epoch: int) -> EpochPlan:
        """The plan of an epoch."""

    def frames(self, epoch: int) -> int:
        """Frames of 10 ms, or tokens of text, of an epoch."""


class Loader:
    """Batches of one rank, epoch by epoch. Made by `build_loader` and its like for text, voices and latents.

    Args:
        config: of which `num_workers` and `prefetch` are read.
        dataset: gives the LoadedBatch for a key (epoch, entries).
        place: rank and world size.
    """

    def __init__(
        self,
        config: DataConfig | TextDataConfig | VoiceConfig | LatentConfig,
        planner: Planner,
        dataset: Dataset,
        place: tuple[int, int],
    ) -> None:
        self._planner = planner
        self._rank, self._world_size = place
        self._problems: dict[tuple[str, str], Problem] = {}
        self._keys = _Keys()
        self._batches = DataLoader(
            dataset,
            batch_size=None,
            sampler=self._keys,
            num_workers=config.num_workers,
            prefetch_factor=config.prefetch if config.num_workers else None,
            persistent_workers=config.num_workers > 0,
            # Its own generator: torch's global one must not depend on how often a loader was started.
            generator=torch.Generator(),
        )

    @property
    def problems(self) -> list[Problem]:
        """The utterances (or shards) that were not used; each counts once however many epochs there are."""
        return list(self._problems.values())

    @property
    def skipped(self) -> Counter[str]:
        """How many they are, by reason."""
        return Counter(problem.reason for problem in self._problems.values())

    def note(self, problem: Problem) -> None:
        """Remember an utterance that is not used; the first of each reason is logged with its message."""
        if problem.reason not in self.skipped:
            log.warning("skipped as %s: %s; others are counted in silence", problem.reason, problem.message)
        self._problems.setdefault((problem.reason, problem.id), problem)

    def batches_in_epoch(self, epoch: int) -> int:
        """How many batches there are in an epoch for all ranks together."""
        return len(self._planner.plan(epoch))

    def frames_in_epoch(self, epoch: int) -> int:
        """Frames of 10 ms of an epoch, or tokens of text, for all ranks together."""
        return self._planner.frames(epoch)

    def epoch(self, epoch: int, done: int = 0) -> Iterator[Any]:
        """This rank's share of the batches of an epoch after the first `done` of all ranks together, which are not loaded.

        A batch is what `Samples.collate` makes. A None is a step all the same: nothing of that batch could be loaded, or
        there are fewer batches left than ranks. Only one iteration may be under way at a time.

        Raises:
            DataError: not one utterance of the whole epoch could be loaded (noticed in a single process only).
        """
        plan = self._planner.plan(epoch)
        self._keys.start(self._planner.number(epoch), plan.of_rank(self._rank, self._world_size, done))
        found = done > 0 or self._world_size > 1
        for loaded in self._begun():
            for problem in loaded.problems:
                self.note(problem)
            found = found or loaded.batch is not None
            yield loaded.batch
        if not found:
            raise DataError(f"not one utterance of the epoch could be loaded: {dict(self.skipped)}")

    def _begun(self) -> Iterator[Any]:
        """The pass under way; in the first one, the workers are started.

        They must never destroy what they inherit: a process group of an earlier run may be left here in a reference cycle,
        whose destructor waits for threads that a forked process does not have. What is frozen when they begin, no garbage
        collection of theirs will touch.
        """
        gc.freeze()
        try:
            return iter(self._batches)
        finally:
            gc.unfreeze()

    def close(self) -> None:
        """End the workers; the loader cannot be used any more."""
        self._batches = iter(())


class _Keys(Sampler):
    """What the workers are asked for in the pass under way."""

    def __init__(self) -> None:
        self._epoch = 0
        self._positions: Iterator[list[int] | None] = iter(())

    def start(self, epoch: int, positions: Iterator[list[int] | None]) -> None:
        """Set the keys of the next pass."""
        self._epoch, self._positions = epoch, positions

    def __iter__(self) -> Iterator[tuple[int, list[int] | None]]:
        return ((self._epoch, positions) for positions in self._positions)
