"""Stretches of recordings with the latents that they are to be made of, for a model that speaks them.

An utterance of the list has a recording, `feats` (a Kaldi matrix [T, D]: its latents) and, where the model takes voices, a
label `voice` (`ARK:OFFSET` of a Kaldi matrix [1, V]). A draw depends on the seed, the epoch, the utterance and the stretch's
number alone.

The entries of an epoch are numbered `stretch * N + position` for N utterances.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from mooer.audio.io import load_audio
from mooer.common.errors import AudioError, ConfigError, DataError
from mooer.common.log import get_logger
from mooer.common.seed import derived_seed
from mooer.data.archives import read_matrix
from mooer.data.dataset import Loader
from mooer.data.latent_config import LatentConfig
from mooer.data.lists import iterate_data_list
from mooer.data.sampler import EpochPlan
from mooer.data.utterance import Problem, Utterance, resolve_path
from mooer.data.worker import LoadedBatch

VOICE_LABEL = "voice"
FRAMES_A_SECOND = 100
SAMPLES_AN_HOUR = 3600 * 16_000
# How far a recording's length may be from that of its latents.
MISFIT_LATENTS = 2

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class LatentSizes:
    """What the model takes and makes."""

    width: int
    """D of a latent."""
    voice_width: int
    """V of a voice; 0 for a model without."""
    samples: int
    """Samples that a latent becomes."""
    sample_rate: int
    """Of the waveform, in Hz."""

    def frames(self, num_latents: int) -> int:
        """Frames of 10 ms that latents last."""
        return num_latents * self.samples * FRAMES_A_SECOND // self.sample_rate


@dataclass(frozen=True)
class LatentBatch:
    """A batch for training a vocoder."""

    ids: list[str]
    latents: Tensor
    """[B, T, D] float32."""
    waveforms: Tensor
    """[B, T x samples of a latent] float32, full scale 1."""
    voices: Tensor
    """[B, V] float32."""

    def to(self, device: torch.device | str) -> "LatentBatch":
        """The same batch with its tensors on `device`."""
        return LatentBatch(self.ids, self.latents.to(device), self.waveforms.to(device), self.voices.to(device))


@dataclass(frozen=True)
class _Recording:
    """A recording and its latents, as long as each other."""

    latents: Tensor
    waveform: Tensor
    voice: Tensor


class LatentDataset(Dataset):
    """Makes the batch for a key (epoch, entries of it); entries None are a batch that only evens out the ranks."""

    def __init__(self, utterances: Sequence[Utterance], config: LatentConfig, sizes: LatentSizes, folder: Path) -> None:
        self._utterances, self._config, self._sizes, self._folder = utterances, config, sizes, folder
        self._kept: dict[int, _Recording] = {}
        self._room_left = int(config.cached_hours * SAMPLES_AN_HOUR)

    def __getitem__(self, key: tuple[int, list[int] | None]) -> LoadedBatch:
        epoch, entries = key
        if entries is None:
            return LoadedBatch(None, [])
        stretches: dict[int, _Recording] = {}
        problems = []
        for entry in entries:
            utterance = self._utterances[entry % len(self._utterances)]
            try:
                stretches[entry] = self._stretch(epoch, entry)
            except AudioError as error:
                problems.append(Problem(utterance.id, error.reason, f"{utterance.id}: {error}"))
        return LoadedBatch(self._batch(stretches) if stretches else None, problems)

    def _batch(self, stretches: dict[int, _Recording]) -> LatentBatch:
        return LatentBatch(
            ids=[self._utterances[entry % len(self._utterances)].id for entry in stretches],
            latents=torch.stack([item.latents for item in stretches.values()]),
            waveforms=torch.stack([item.waveform for item in stretches.values()]),
            voices=torch.stack([item.voice for item in stretches.values()]),
        )

    def _stretch(self, epoch: int, entry: int) -> _Recording:
        number, place = divmod(entry, len(self._utterances))
        whole, length, samples = self._recording(place), self._config.stretch_latents, self._sizes.samples
        generator = torch.Generator().manual_seed(
            derived_seed(self._config.seed, epoch, self._utterances[place].id, number, "stretch")
        )
        start = int(torch.randint(len(whole.latents) - length + 1, (1,), generator=generator))
        waveform = whole.waveform[start * samples : (start + length) * samples]
        return _Recording(whole.latents[start : start + length], waveform, whole.voice)

    def _recording(self, place: int) -> _Recording:
        kept = self._kept.get(place)
        if kept is None:
            kept = self._read(self._utterances[place])
            if kept.waveform.numel() <= self._room_left:
                self._room_left -= kept.waveform.numel()
                self._kept[place] = kept
        return kept

    def _read(self, utterance: Utterance) -> _Recording:
        """Raises AudioError, also for a recording and latents that do not belong together."""
        sizes, audio = self._sizes, utterance.audio
        latents = read_matrix(utterance.feats)
        if latents.shape[1] != sizes.width:
            raise AudioError(f"latents of {latents.shape[1]} values; the vocoder takes {sizes.width}", "unsupported")
        waveform = load_audio(audio.path, start=audio.start, end=audio.end, target_rate=sizes.sample_rate)
        missing = len(latents) * sizes.samples - len(waveform)
        if abs(missing) > MISFIT_LATENTS * sizes.samples:
            given = f"{len(latents)} latents make {len(latents) * sizes.samples} samples"
            raise AudioError(f"{given}, the recording has {len(waveform)} at {sizes.sample_rate} Hz", "misaligned")
        # An LLM's last latents may say what comes after the recording: silence.
        waveform = F.pad(waveform, (0, max(0, missing)))
        num_latents = len(latents)
        if num_latents < self._config.stretch_latents:
            raise AudioError(f"{num_latents} latents; a stretch has {self._config.stretch_latents}", "too_short")
        return _Recording(latents[:num_latents], waveform[: num_latents * sizes.samples], self._voice(utterance))

    def _voice(self, utterance: Utterance) -> Tensor:
        """[V]; zeros, nobody's voice in particular, for an utterance without one."""
        named, width = utterance.labels.get(VOICE_LABEL), self._sizes.voice_width
        if named is None or not width:
            return torch.zeros(width)
        archive, _, offset = named.rpartition(":")
        voice = read_matrix(f"{resolve_path(archive, self._folder)}:{offset}" if archive else named)
        if tuple(voice.shape) != (1, width):
            raise AudioError(f"a voice {list(voice.shape)}; the vocoder takes [1, {width}]", "unsupported")
        return voice[0]


class StretchPlanner:
    """The batches of each epoch: every utterance's stretches, in a new order."""

    def __init__(self, num_utterances: int, config: LatentConfig, sizes: LatentSizes, training: bool) -> None:
        self._num_utterances, self._config, self._sizes, self._training = num_utterances, config, sizes, training

    def number(self, epoch: int) -> int:
        """The epoch whose plan is used: validation has one for all."""
        return epoch if self._training else 0

    def plan(self, epoch: int) -> EpochPlan:
        """Batches of `batch_size` stretches."""
        generator = torch.Generator().manual_seed(derived_seed(self._config.seed, self.number(epoch), "order"))
        order = torch.randperm(self._num_utterances * self._config.stretches_an_epoch, generator=generator).tolist()
        size = self._config.batch_size
        return EpochPlan([order[start : start + size] for start in range(0, len(order), size)])

    def frames(self, epoch: int) -> int:
        """Frames of 10 ms of an epoch."""
        stretches = self._num_utterances * self._config.stretches_an_epoch
        return self._sizes.frames(stretches * self._config.stretch_latents)


def build_latent_loader(
    config: LatentConfig, split: Literal["train", "dev"], sizes: LatentSizes, rank: int = 0, world_size: int = 1
) -> Loader:
    """The loader of a rank.

    Raises:
        ConfigError: no list for the split.
        PathError, DataError: a list that is missing, breaks its format, or has not one utterance that can be used.
    """
    path = config.train_list if split == "train" else config.dev_list
    if path is None:
        raise ConfigError("data.dev_list is not set")
    utterances, problems = [], []
    for entry in iterate_data_list(path):
        if isinstance(entry, Problem):
            problems.append(entry)
        elif entry.audio is None or entry.audio.offset is not None or entry.feats is None:
            message = f"{entry.id}: a vocoder learns from a file of audio and latents (feats); one of them is missing"
            problems.append(Problem(entry.id, "no_latents", message))
        else:
            utterances.append(entry)
    if not utterances:
        raise DataError(f"{path}: not one utterance can be used" + (f"; {problems[0].message}" if problems else ""))
    training = split == "train"
    planner = StretchPlanner(len(utterances), config, sizes, training)
    loader = Loader(config, planner, LatentDataset(utterances, config, sizes, Path(path).parent), (rank, world_size))
    for problem in problems:
        loader.note(problem)
    log.info("%s: %d utterances, %d skipped", path, len(utterances), len(problems))
    return loader
