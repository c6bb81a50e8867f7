"""What runs in a loading process: positions in, a padded batch out."""

import functools
import gc
from dataclasses import dataclass

from torch import Tensor
from torch.utils.data import Dataset

from mooer.data.augment import Augmenter
from mooer.data.batch import CtcBatch, CtcSample, SpeechLlmBatch, SpeechLlmSample
from mooer.data.config import DataConfig
from mooer.data.index import UtteranceIndex
from mooer.data.reader import FrameReader
from mooer.data.tasks import CtcSamples, SpeechLlmSamples, draw_task
from mooer.data.utterance import Problem, Utterance
from mooer.features.cmvn import read_cmvn
from mooer.features.frontend import Frontend


def begin_worker(_number: int) -> None:
    """Keep a loading process from ever destroying what it inherited from the process that it was forked from.

    A process group of an earlier run may be left there in a reference cycle; its destructor waits for threads that a forked
    process does not have, so that a garbage collection here would hang the training.
    """
    gc.freeze()


@dataclass(frozen=True, slots=True)
class LoadedBatch:
    """A batch, None if nothing of it could be loaded, and what could not."""

    batch: SpeechLlmBatch | CtcBatch | None
    problems: list[Problem]


class BatchDataset(Dataset):
    """Loads the batch for a key (epoch, positions in the index); positions None are a batch that only evens out the ranks."""

    def __init__(
        self, config: DataConfig, index: UtteranceIndex, samples: SpeechLlmSamples | CtcSamples, augment: bool
    ) -> None:
        self._config, self._index, self._samples = config, index, samples
        self._augmenter = Augmenter(config.augment, config.seed, config.frontend.num_mel_bins) if augment else None
        cmvn = None if config.cmvn_path is None else read_cmvn(config.cmvn_path)
        self._reader = FrameReader(Frontend(config.frontend, cmvn))
        self._cache: dict[int, Tensor] | None = {} if config.cache_features else None

    def __getitem__(self, key: tuple[int, list[int] | None]) -> LoadedBatch:
        epoch, positions = key
        if positions is None:
            return LoadedBatch(None, [])
        utterances = {position: self._index[position] for position in positions}
        frames, problems = self._frames(utterances, epoch)
        samples = []
        for position, utterance in utterances.items():
            if position not in frames:
                continue
            made = self._sample(utterance, frames[position], epoch)
            if isinstance(made, str):
                problems.append(Problem(utterance.id, made, f"{utterance.id} is {made.replace('_', ' ')}"))
            else:
                samples.append(made)
        return LoadedBatch(self._samples.collate(samples) if samples else None, problems)

    def _frames(self, utterances: dict[int, Utterance], epoch: int) -> tuple[dict[int, Tensor], list[Problem]]:
        """Frames before SpecAugment by position, from memory where they are kept."""
        if self._cache is None:
            change = functools.partial(self._augmenter.waveform, epoch=epoch) if self._augmenter else None
            return self._reader.read(utterances, change)
        missing = {position: utterance for position, utterance in utterances.items() if position not in self._cache}
        frames, problems = self._reader.read(missing)
        # They are views of one tensor for the whole batch: a copy lets that go.
        self._cache.update({position: item.clone() for position, item in frames.items()})
        return {position: self._cache[position] for position in utterances if position in self._cache}, problems

    def _sample(self, utterance: Utterance, frames: Tensor, epoch: int) -> SpeechLlmSample | CtcSample | str:
        task = draw_task(self._config.tasks, utterance, self._config.seed, epoch)
        if task is None:
            return "no_label"
        if self._augmenter is not None:
            frames = self._augmenter.frames(frames, utterance.id, epoch)
        return self._samples.make(utterance, task, frames)
