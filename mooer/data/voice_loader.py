"""The training loader of a model that tells speakers apart."""

from collections.abc import Sequence

import torch

from mooer.common.errors import ConfigError, DataError
from mooer.common.lengths import fbank_frames
from mooer.common.log import get_logger
from mooer.common.seed import derived_seed
from mooer.data.dataset import Loader
from mooer.data.lists import iterate_data_list
from mooer.data.sampler import EpochPlan
from mooer.data.utterance import Problem, Utterance
from mooer.data.voice_config import VoiceConfig
from mooer.data.voices import VoiceDataset, crop_samples, speaker_names

log = get_logger(__name__)


class CropPlanner:
    """The batches of each epoch: every utterance's crops, in a new order."""

    def __init__(self, num_utterances: int, config: VoiceConfig, training: bool) -> None:
        self._num_utterances, self._config, self._training = num_utterances, config, training

    def number(self, epoch: int) -> int:
        """The epoch whose plan is used: validation has one for all."""
        return epoch if self._training else 0

    def plan(self, epoch: int) -> EpochPlan:
        """Batches of `batch_size` crops; in training what does not fill the last one is left out, unless it is the only one."""
        generator = torch.Generator().manual_seed(derived_seed(self._config.seed, self.number(epoch), "order"))
        order = torch.randperm(self._num_utterances * self._config.crops_an_epoch, generator=generator).tolist()
        size = min(self._config.batch_size, len(order))
        last = len(order) - size + 1 if self._training else len(order)
        return EpochPlan([order[start : start + size] for start in range(0, last, size)])

    def frames(self, epoch: int) -> int:
        """Frames of 10 ms of an epoch."""
        plan = self.plan(epoch)
        crops = sum(len(plan[number]) for number in range(len(plan)))
        return crops * fbank_frames(crop_samples(self._config, self.number(epoch)))


def training_speakers(config: VoiceConfig) -> tuple[str, ...]:
    """The speakers of the training list, sorted. Raises PathError or DataError."""
    return speaker_names(_read(config.train_list)[0])


def build_voice_loader(config: VoiceConfig, split: str, rank: int = 0, world_size: int = 1) -> Loader:
    """The loader of a rank.

    Args:
        split: `train`, or `dev` (crops as they are, every epoch alike).

    Raises:
        ConfigError: no list for the split.
        PathError, DataError: a list that is missing or breaks its format, an utterance without a speaker, or one of dev_list
            whose speaker is not trained on.
    """
    path = config.train_list if split == "train" else config.dev_list
    if path is None:
        raise ConfigError("data.dev_list is not set")
    class_of = {name: number for number, name in enumerate(training_speakers(config))}
    utterances, problems = _read(path)
    for name in speaker_names(utterances):
        if name not in class_of:
            raise DataError(f"{path}: speaker {name!r} does not occur in {config.train_list}, so there is no class for it")
    training = split == "train"
    dataset = VoiceDataset(utterances, class_of, config, changed=training)
    loader = Loader(config, CropPlanner(len(utterances), config, training), dataset, (rank, world_size))
    for problem in problems:
        loader.note(problem)
    log.info("%s: %d utterances of %d speakers, %d skipped", path, len(utterances), len(class_of), len(problems))
    return loader


def _read(path: str) -> tuple[Sequence[Utterance], list[Problem]]:
    """The utterances of a list that have a recording, and the problems of the others."""
    utterances, problems = [], []
    for entry in iterate_data_list(path):
        if isinstance(entry, Utterance) and entry.audio is not None:
            utterances.append(entry)
        elif isinstance(entry, Utterance):
            problems.append(Problem(entry.id, "no_audio", f"{entry.id}: voices are cut from recordings, not from features"))
        else:
            problems.append(entry)
    if not utterances:
        raise DataError(f"{path}: not one utterance can be used")
    return utterances, problems
