"""The training loader: an index of all utterances, a plan of each epoch, and workers that only load.

The plan is the same on all ranks, so every rank has the same number of batches whatever the shards are like, the batches do
not depend on the number of workers, and going on in the middle of an epoch is starting later in the plan.
"""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader, Sampler

from mooer.common.errors import ConfigError, DataError
from mooer.common.log import get_logger
from mooer.data.batch import CtcBatch, SpeechLlmBatch
from mooer.data.config import AugmentConfig, DataConfig, TaskConfig
from mooer.data.index import UtteranceIndex
from mooer.data.sampler import BatchRules, EpochPlan, plan_epoch
from mooer.data.survey import survey
from mooer.data.tasks import FAMILIES, CtcSamples, SpeechLlmSamples
from mooer.data.utterance import Problem
from mooer.data.worker import BatchDataset, begin_worker

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["AugmentConfig", "DataConfig", "Loader", "TaskConfig", "build_loader"]

SPLITS = ("train", "dev")

log = get_logger(__name__)


def build_loader(
    config: DataConfig,
    split: str,
    family: str,
    tokenizer: "PreTrainedTokenizerBase",
    rank: int = 0,
    world_size: int = 1,
    downsample_rate: int = 2,
) -> "Loader":
    """The loader of a rank.

    Args:
        split: `train` (shuffled, augmented, with limits of length) or `dev` (neither; every epoch alike).
        family: `speech_llm` (SpeechLlmBatch) or `ctc` (CtcBatch).
        downsample_rate: encoder frames that the adapter makes one embedding of; CTC does not use it.

    Raises:
        ConfigError: an unknown split or family, no list for the split.
        PathError, DataError: what `iterate_data_list` raises; DataError too if no utterance can be used.
    """
    if split not in SPLITS or family not in FAMILIES:
        raise ConfigError(f"split {split!r} of family {family!r}: allowed are {', '.join(SPLITS)} of {', '.join(FAMILIES)}")
    training = split == "train"
    path = config.train_list if training else config.dev_list
    if path is None:
        raise ConfigError(f"data.{split}_list is not set")
    samples = SpeechLlmSamples(tokenizer, downsample_rate) if family == "speech_llm" else CtcSamples(tokenizer)
    index, problems = survey(path, config, limit_lengths=training)
    loader = Loader(config, index, BatchDataset(config, index, samples, augment=training), training, (rank, world_size))
    for problem in problems:
        loader.note(problem)
    hours = sum(index.num_frames.tolist()) / 360_000
    log.info("%s: %d utterances, %.2f h, %d skipped %s", path, len(index), hours, len(problems), dict(loader.skipped) or "")
    return loader


class Loader:
    """Batches of one rank, epoch by epoch. Made by `build_loader`."""

    def __init__(
        self, config: DataConfig, index: UtteranceIndex, dataset: BatchDataset, training: bool, place: tuple[int, int]
    ) -> None:
        self._config, self._index, self._training = config, index, training
        self._rank, self._world_size = place
        self._plan: tuple[int, EpochPlan] | None = None
        self._skipped: dict[str, dict[str, None]] = {}
        self._keys = _Keys()
        self._batches = DataLoader(
            dataset,
            batch_size=None,
            sampler=self._keys,
            num_workers=config.num_workers,
            prefetch_factor=config.prefetch if config.num_workers else None,
            persistent_workers=config.num_workers > 0,
            worker_init_fn=begin_worker,
            # Its own generator: torch's global one must not depend on how often a loader was started.
            generator=torch.Generator(),
        )

    @property
    def num_utterances(self) -> int:
        """Utterances of an epoch over all ranks."""
        return len(self._index)

    @property
    def skipped(self) -> Counter[str]:
        """How many utterances (or shards) were not used, by reason; each counts once however many epochs there are."""
        return Counter({reason: len(ids) for reason, ids in self._skipped.items()})

    @property
    def skipped_ids(self) -> dict[str, list[str]]:
        """Ids of the utterances (or paths of the shards) that were not used, by reason."""
        return {reason: list(ids) for reason, ids in self._skipped.items()}

    def note(self, problem: Problem) -> None:
        """Count an utterance that is not used; the first of each reason is logged with its message."""
        if problem.reason not in self._skipped:
            log.warning("skipped as %s: %s; others are counted in silence", problem.reason, problem.message)
        self._skipped.setdefault(problem.reason, {})[problem.id] = None

    def batches_in_epoch(self, epoch: int) -> int:
        """How many batches each rank gets in an epoch, None batches included."""
        return self._plan_of(epoch).steps(self._world_size)

    def epoch(self, epoch: int, skip_batches: int = 0) -> Iterator[SpeechLlmBatch | CtcBatch | None]:
        """This rank's batches of an epoch after the first `skip_batches`, which are not loaded.

        A None is a step all the same: nothing of that batch could be loaded, or there are fewer batches left than ranks. Only
        one iteration may be under way at a time.

        Raises:
            DataError: not one utterance of the whole epoch could be loaded (noticed in a single process only).
        """
        plan = self._plan_of(epoch)
        self._keys.start(epoch if self._training else 0, plan.of_rank(self._rank, self._world_size, skip_batches))
        found = skip_batches > 0 or self._world_size > 1
        for loaded in self._batches:
            for problem in loaded.problems:
                self.note(problem)
            found = found or loaded.batch is not None
            yield loaded.batch
        if not found:
            raise DataError(f"not one utterance of the epoch could be loaded: {dict(self.skipped)}")

    def close(self) -> None:
        """End the workers; the loader cannot be used any more."""
        self._batches = iter(())

    def _plan_of(self, epoch: int) -> EpochPlan:
        epoch = epoch if self._training else 0
        if self._plan is None or self._plan[0] != epoch:
            config = self._config
            rules = BatchRules(
                max_batch_frames=config.max_batch_frames,
                max_batch_size=config.max_batch_size,
                num_buckets=config.num_buckets,
                shuffle_buffer=config.shuffle_buffer,
            )
            index = self._index
            self._plan = (epoch, plan_epoch(index.num_frames, index.groups, rules, config.seed, epoch, shuffle=self._training))
        return self._plan[1]


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
