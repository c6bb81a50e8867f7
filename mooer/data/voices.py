"""Crops of recordings for a model that tells speakers apart, each cut and changed anew in every epoch.

A draw depends on the seed, the epoch, the utterance and the crop's number alone: neither on the order nor on the worker.
Validation cuts alike every time, and changes nothing.

The entries of an epoch are numbered `crop * N + position` for N utterances.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from mooer.audio.augment import add_noise, change_gain, change_speed
from mooer.audio.surroundings import coloured_noise, limit_band, reverberate
from mooer.common.errors import AudioError, DataError
from mooer.common.lengths import SAMPLE_RATE
from mooer.common.seed import derived_seed
from mooer.data.reader import AudioReader
from mooer.data.utterance import AudioRef, Problem, Utterance
from mooer.data.voice_config import SurroundingsConfig, VoiceConfig
from mooer.data.worker import LoadedBatch
from mooer.features.speaker_fbank import speaker_fbank
from mooer.features.spec_augment import spec_augment

SPEAKER_LABEL = "speaker"
SAMPLES_AN_HOUR = 3600 * SAMPLE_RATE


@dataclass(frozen=True)
class SpeakerBatch:
    """A batch for training a model that tells speakers apart."""

    ids: list[str]
    frames: Tensor
    """[B, T, F] float32, mel bins with zero mean over time."""
    frame_lengths: Tensor
    """[B] int64, all T."""
    speakers: Tensor
    """[B] int64, class of each crop."""

    def to(self, device: torch.device | str) -> "SpeakerBatch":
        """The same batch with its tensors on `device`."""
        return SpeakerBatch(self.ids, self.frames.to(device), self.frame_lengths.to(device), self.speakers.to(device))


def speaker_names(utterances: Sequence[Utterance]) -> tuple[str, ...]:
    """The speakers of utterances, sorted. Raises DataError for an utterance that names none, or fewer than two speakers."""
    for utterance in utterances:
        if SPEAKER_LABEL not in utterance.labels:
            raise DataError(f"utterance {utterance.id} has no label {SPEAKER_LABEL!r}; its data directory needs text.speaker")
    names = tuple(sorted({utterance.labels[SPEAKER_LABEL] for utterance in utterances}))
    if len(names) < 2:
        raise DataError(f"there are {len(names)} speakers; telling them apart takes at least two")
    return names


class VoiceDataset(Dataset):
    """Makes the batch for a key (epoch, entries of it); entries None are a batch that only evens out the ranks.

    Args:
        utterances: each with a recording and the label `speaker`.
        class_of: number of each speaker at the first speed.
        changed: whether crops are changed (in training) or only cut (in validation).
    """

    def __init__(
        self, utterances: Sequence[Utterance], class_of: dict[str, int], config: VoiceConfig, changed: bool = True
    ) -> None:
        self._utterances, self._class_of, self._config, self._changed = utterances, class_of, config, changed
        self._reader = AudioReader()
        self._kept: dict[AudioRef, Tensor] = {}
        self._room_left = int(config.cached_hours * SAMPLES_AN_HOUR)

    def __getitem__(self, key: tuple[int, list[int] | None]) -> LoadedBatch:
        epoch, entries = key
        if entries is None:
            return LoadedBatch(None, [])
        length = crop_samples(self._config, epoch)
        crops: dict[int, tuple[Tensor, int]] = {}
        problems = []
        for entry in entries:
            utterance = self._utterances[entry % len(self._utterances)]
            try:
                crops[entry] = self._crop(epoch, entry, length)
            except AudioError as error:
                problems.append(Problem(utterance.id, error.reason, f"{utterance.id}: {error}"))
        return LoadedBatch(self._batch(epoch, crops) if crops else None, problems)

    def _batch(self, epoch: int, crops: dict[int, tuple[Tensor, int]]) -> SpeakerBatch:
        frames = speaker_fbank([waveform for waveform, _ in crops.values()], self._config.num_mel_bins)
        if self._changed and self._config.masks is not None:
            frames = [self._masked(rows, epoch, entry) for rows, entry in zip(frames, crops, strict=True)]
        return SpeakerBatch(
            ids=[self._utterances[entry % len(self._utterances)].id for entry in crops],
            frames=torch.stack(frames),
            frame_lengths=torch.full((len(crops),), len(frames[0])),
            speakers=torch.tensor([speaker for _, speaker in crops.values()]),
        )

    def _crop(self, epoch: int, entry: int, length: int) -> tuple[Tensor, int]:
        """A crop [length] and its class."""
        utterance, config = self._utterances[entry % len(self._utterances)], self._config
        generator = self._generator(epoch, entry, "crop")
        waveform, speaker = self._recording(utterance.audio), self._class_of[utterance.labels[SPEAKER_LABEL]]
        if not self._changed:
            return cut(waveform, length, generator), speaker
        number = int(torch.randint(len(config.speeds), (1,), generator=generator))
        stretch = cut(waveform, stretch_samples(length, config.speeds[number]), generator)
        crop = change_speed(stretch, config.speeds[number])[:length]
        return change_surroundings(crop, config.surroundings, generator), speaker + number * len(self._class_of)

    def _masked(self, frames: Tensor, epoch: int, entry: int) -> Tensor:
        return spec_augment(frames, self._generator(epoch, entry, "masks"), self._config.masks, self._config.num_mel_bins)

    def _generator(self, epoch: int, entry: int, what: str) -> torch.Generator:
        number, place = divmod(entry, len(self._utterances))
        seed = derived_seed(self._config.seed, epoch, self._utterances[place].id, number, what)
        return torch.Generator().manual_seed(seed)

    def _recording(self, reference: AudioRef) -> Tensor:
        waveform = self._kept.get(reference)
        if waveform is None:
            waveform = self._reader.read(reference)
            if waveform.numel() <= self._room_left:
                self._room_left -= waveform.numel()
                self._kept[reference] = waveform
        return waveform


def crop_samples(config: VoiceConfig, epoch: int) -> int:
    """Samples of every crop of an epoch."""
    generator = torch.Generator().manual_seed(derived_seed(config.seed, epoch, "length"))
    return round(_between(config.crop_seconds, generator) * SAMPLE_RATE)


def stretch_samples(length: int, speed: float) -> int:
    """Samples of which at least `length` are left at a speed."""
    return length if speed == 1.0 else int(length * speed) + 1


def cut(waveform: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """A stretch [length] from anywhere in a waveform [S], which is repeated where it is shorter."""
    if waveform.numel() < length:
        waveform = waveform.repeat(-(-length // waveform.numel()))
    start = int(torch.randint(waveform.numel() - length + 1, (1,), generator=generator))
    return waveform[start : start + length]


def change_surroundings(waveform: Tensor, config: SurroundingsConfig, generator: torch.Generator) -> Tensor:
    """The waveform [S] in a room, with noise, through a line and at a loudness, as the draws want it."""
    if _between((0.0, 1.0), generator) < config.room_share:
        seconds, wet_db = _between(config.room_seconds, generator), _between(config.room_db, generator)
        waveform = reverberate(waveform, seconds, wet_db, generator)
    if _between((0.0, 1.0), generator) < config.noise_share:
        noise = coloured_noise(waveform.numel(), _between(config.noise_slope, generator), generator)
        waveform = add_noise(waveform, noise, _between(config.noise_snr_db, generator))
    if _between((0.0, 1.0), generator) < config.line_share:
        edges = _between(config.line_low_hertz, generator), _between(config.line_high_hertz, generator)
        waveform = limit_band(waveform, *edges)
    return change_gain(waveform, _between(config.gain_db, generator))


def _between(bounds: tuple[float, float], generator: torch.Generator) -> float:
    low, high = bounds
    return low + (high - low) * float(torch.rand(1, generator=generator, dtype=torch.float64))
