"""What runs in a loading process: entries of an epoch in, a batch out."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mooer.data.augment import Augmenter
from mooer.data.config import DataConfig
from mooer.data.index import UtteranceIndex
from mooer.data.mixture import occasion_of
from mooer.data.reader import FrameReader
from mooer.data.tasks import Item, Samples, draw_task
from mooer.data.utterance import Problem, Utterance
from mooer.features.cmvn import read_cmvn
from mooer.features.frontend import Frontend

# A tensor of up to so many bytes is sent through a pipe.
_COPIED_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class LoadedBatch:
    """A batch, None if nothing of it could be loaded, and what could not."""

    batch: Any
    problems: list[Problem]

    def __reduce__(self) -> tuple[Callable[..., "LoadedBatch"], tuple[Any, ...]]:
        """How it goes to another process: a tensor through memory that both share, which a small one is copied faster than."""
        if self.batch is None:
            return LoadedBatch, (None, self.problems)
        values = {item.name: _packed(getattr(self.batch, item.name)) for item in dataclasses.fields(self.batch)}
        return _unpacked, (type(self.batch), values, self.problems)


def _packed(value: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) and value.nbytes <= _COPIED_BYTES else value


def _unpacked(kind: type, values: dict[str, Any], problems: list[Problem]) -> LoadedBatch:
    tensors = {name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for name, value in values.items()}
    return LoadedBatch(kind(**tensors), problems)


class BatchDataset(Dataset):
    """Loads the batch for a key (epoch, entries of it); entries None are a batch that only evens out the ranks.

    What an entry is says `mooer.data.mixture`; without a mixture it is the position in the index.
    """

    def __init__(self, config: DataConfig, index: UtteranceIndex, samples: Samples, augment: bool) -> None:
        self._config, self._index, self._samples = config, index, samples
        self._augmenter = Augmenter(config.augment, config.seed, config.frontend.num_mel_bins) if augment else None
        cmvn = None if config.cmvn_path is None else read_cmvn(config.cmvn_path)
        self._reader = FrameReader(Frontend(config.frontend, cmvn))
        self._cache: dict[int, Tensor] | None = {} if config.cache_features else None

    def __getitem__(self, key: tuple[int, list[int] | None]) -> LoadedBatch:
        epoch, entries = key
        if entries is None:
            return LoadedBatch(None, [])
        utterances = {entry: self._index[entry % len(self._index)] for entry in entries}
        frames, problems = self._frames(utterances, epoch)
        items = []
        for entry, utterance in utterances.items():
            if entry not in frames:
                continue
            item = self._item(utterance, frames[entry], self._occasion(epoch, entry))
            if item is None:
                problems.append(_problem(utterance, "no_label"))
            else:
                items.append(item)
        samples = []
        for item, made in zip(items, self._samples.make(items), strict=True):
            if isinstance(made, str):
                problems.append(_problem(item.utterance, made))
            else:
                samples.append(made)
        return LoadedBatch(self._samples.collate(samples) if samples else None, problems)

    def _occasion(self, epoch: int, entry: int) -> str:
        return occasion_of(epoch, entry // len(self._index))

    def _frames(self, utterances: dict[int, Utterance], epoch: int) -> tuple[dict[int, Tensor], list[Problem]]:
        """Frames before SpecAugment by entry, from memory where they are kept."""
        if self._cache is None:
            return self._reader.read(utterances, None if self._augmenter is None else self._change(utterances, epoch))
        position = {entry: entry % len(self._index) for entry in utterances}
        missing = {position[entry]: item for entry, item in utterances.items() if position[entry] not in self._cache}
        frames, problems = self._reader.read(missing)
        # They are views of one tensor for the whole batch: a copy lets that go.
        self._cache.update({number: item.clone() for number, item in frames.items()})
        return {entry: self._cache[position[entry]] for entry in utterances if position[entry] in self._cache}, problems

    def _change(self, utterances: dict[int, Utterance], epoch: int) -> Callable[[Tensor, int], Tensor]:
        def change(waveform: Tensor, entry: int) -> Tensor:
            return self._augmenter.waveform(waveform, utterances[entry].id, self._occasion(epoch, entry))

        return change

    def _item(self, utterance: Utterance, frames: Tensor, occasion: str) -> Item | None:
        """What a sample is made of; None for an utterance without a label of any task."""
        task = draw_task(self._config.tasks, utterance, self._config.seed, occasion)
        if task is None:
            return None
        if self._augmenter is not None:
            frames = self._augmenter.frames(frames, utterance.id, occasion)
        return Item(utterance, task, frames)


def _problem(utterance: Utterance, reason: str) -> Problem:
    return Problem(utterance.id, reason, f"{utterance.id} is {reason.replace('_', ' ')}")
