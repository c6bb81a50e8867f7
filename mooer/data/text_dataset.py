"""The training loader of text: the same plan, workers and promises as for recordings, with lines in place of utterances.

Every usable line comes once in an epoch, over all ranks together; the batches depend on the seed and the epoch alone, and going
on in the middle of an epoch is starting later in its plan.
"""

from collections.abc import Iterator, Sequence, Sized
from itertools import islice
from typing import Any, Protocol

import numpy as np
from torch.utils.data import Dataset

from mooer.common.errors import ConfigError
from mooer.common.log import get_logger
from mooer.data.dataset import SPLITS, EpochPlanner, Loader
from mooer.data.sampler import BatchRules, Sizes
from mooer.data.survey import require_some
from mooer.data.text_config import TextDataConfig
from mooer.data.text_lines import TextIndex, TextLine, iterate_text
from mooer.data.utterance import Problem
from mooer.data.worker import LoadedBatch

_AT_ONCE = 1000

log = get_logger(__name__)


class TextSamples(Protocol):
    """What a kind of model is given to learn from: a sample of each line, a batch of samples."""

    def make(self, lines: Sequence[TextLine]) -> list[Sized | str]:
        """The sample of each line, or, as a string of a word or two for counting, the reason why it cannot be used.

        `len` of a sample is the columns that it takes in a batch. What is made of a line must follow from the line alone.
        """

    def collate(self, samples: Sequence[Any]) -> Any:
        """Their batch (at least one): a frozen dataclass of `ids`, tensors and a method `to(device)`."""


class TextBatches(Dataset):
    """Loads the batch for a key (epoch, positions in the index); positions None are a batch that only evens out the ranks."""

    def __init__(self, index: TextIndex, samples: TextSamples) -> None:
        self._index, self._samples = index, samples

    def __getitem__(self, key: tuple[int, list[int] | None]) -> LoadedBatch:
        _, positions = key
        if positions is None:
            return LoadedBatch(None, [])
        return LoadedBatch(self._samples.collate(self._samples.make([self._index[place] for place in positions])), [])


def build_text_loader(config: TextDataConfig, split: str, samples: TextSamples, rank: int = 0, world_size: int = 1) -> Loader:
    """The loader of a rank.

    Args:
        split: `train` (shuffled, with limits of length) or `dev` (neither; every epoch alike).

    Raises:
        ConfigError: an unknown split, or no file for the split.
        PathError: no such file.
        DataError: no line of it can be used.
    """
    if split not in SPLITS:
        raise ConfigError(f"split {split!r} is unknown; allowed: {', '.join(SPLITS)}")
    training = split == "train"
    path = config.train_list if training else config.dev_list
    if path is None:
        raise ConfigError(f"data.{split}_list is not set")
    problems: list[Problem] = []
    index = TextIndex(_usable(path, config, samples, training, problems))
    require_some(path, len(index), problems, "line")
    planner = EpochPlanner(lambda _epoch: _sizes(index), _rules(config, len(index)), config.seed, training)
    loader = Loader(config, planner, TextBatches(index, samples), (rank, world_size))
    for problem in problems:
        loader.note(problem)
    skipped = dict(loader.skipped) or ""
    log.info("%s: %d lines, %d tokens, %d skipped %s", path, len(index), index.lengths.sum(), len(problems), skipped)
    return loader


def _usable(
    path: str, config: TextDataConfig, samples: TextSamples, limit_lengths: bool, problems: list[Problem]
) -> Iterator[tuple[TextLine, int]]:
    """The lines that can be used, each with its length; the others are added to `problems`."""
    entries = iterate_text(path, config.lines)
    while some := list(islice(entries, _AT_ONCE)):
        lines = [entry for entry in some if isinstance(entry, TextLine)]
        problems += [entry for entry in some if isinstance(entry, Problem)]
        for line, made in zip(lines, samples.make(lines), strict=True):
            reason = made if isinstance(made, str) else _wrong_length(len(made), config) if limit_lengths else None
            if reason is None:
                yield line, len(made)
            else:
                problems.append(Problem(line.id, reason, f"{line.id} is {reason.replace('_', ' ')}: {line.text[:80]!r}"))


def _wrong_length(length: int, config: TextDataConfig) -> str | None:
    if length < config.min_tokens:
        return "too_short"
    return "too_long" if length > config.max_tokens else None


def _sizes(index: TextIndex) -> Sizes:
    """What planning needs; each line is a shard of its own, so that all are mixed with all."""
    return Sizes(num_frames=index.lengths, groups=np.arange(len(index)))


def _rules(config: TextDataConfig, num_lines: int) -> BatchRules:
    return BatchRules(
        max_batch_frames=config.max_batch_tokens,
        max_batch_size=config.max_batch_size,
        num_buckets=config.num_buckets,
        shuffle_buffer=num_lines,
    )
