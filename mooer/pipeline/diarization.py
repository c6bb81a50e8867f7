"""Who speaks when: the waveform and its stretches of speech in, the turns of speakers out."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mooer.common.config import load_yaml
from mooer.common.device import select_device, select_dtype
from mooer.common.errors import ConfigError, DataError
from mooer.common.lengths import SAMPLE_RATE
from mooer.common.log import get_logger
from mooer.decode.number_format import FAST, MIN_GAIN
from mooer.decode.packed_linear import least_seconds
from mooer.features.speaker_fbank import speaker_fbank
from mooer.models.speaker import Campplus, load_speaker_model
from mooer.models.speaker_embedder import SpeakerEmbedder
from mooer.pipeline.speaker_clustering import ClusteringConfig, check_speakers, cluster_speakers, with_neighbours
from mooer.pipeline.speaker_turns import WINDOW_SAMPLES, Turn, Window, speaker_turns, windows_of

log = get_logger(__name__)

# Beside a model's weights: the grouping that suits its embeddings.
CLUSTERING_FILE = "clustering.yaml"
SAMPLES_PER_MS = SAMPLE_RATE // 1000
# Windows and their frames by which number formats are compared.
TYPICAL_WINDOWS, TYPICAL_FRAMES = 4, 148

Segments = Sequence[tuple[int, int]]
"""Start and end of each stretch of speech in ms, in time order and without overlap, as a voice activity detector gives them."""


@dataclass(frozen=True, kw_only=True)
class DiarizationConfig:
    """How speakers are told apart."""

    clustering: ClusteringConfig | None = None
    """How windows are grouped; None: as the model's folder says (clustering.yaml), or else as published."""
    batch_size: int = 16
    """Windows embedded together; it changes nothing in the result."""
    dtype: Literal["float32", "bfloat16", "float16", "fast"] = "float32"
    """Number format of the network; fast is for a CPU: bfloat16 if a short measurement finds that it gains a fifth, else
    float32."""
    device: str = "auto"
    """auto, cpu, cuda or musa."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, found {self.batch_size}")
        if self.dtype != FAST:
            select_dtype(self.dtype)


class Diarizer:
    """Finds the speakers of recordings; use `from_folder`."""

    def __init__(self, model: Campplus, config: DiarizationConfig | None = None) -> None:
        config = config or DiarizationConfig()
        self.device = select_device(config.device)
        self.config = dataclasses.replace(config, dtype=_fastest(model, self.device)) if config.dtype == FAST else config
        self.clustering = config.clustering or ClusteringConfig()
        self._dtype = select_dtype(self.config.dtype)
        self._model = SpeakerEmbedder(model.to(self.device), self._dtype)

    @classmethod
    def from_folder(cls, folder: str | Path, config: DiarizationConfig | None = None) -> "Diarizer":
        """Open a published CAM++, or one of ours. Raises PathError, ConfigError or WeightsError."""
        model, config, settings = load_speaker_model(folder), config or DiarizationConfig(), Path(folder) / CLUSTERING_FILE
        if config.clustering is None and settings.is_file():
            config = dataclasses.replace(config, clustering=load_yaml(settings, ClusteringConfig))
        return cls(model, config)

    def __call__(self, waveform: Tensor, segments: Segments, num_speakers: int | None = None) -> list[Turn]:
        """The turns of a recording in time order.

        Args:
            waveform: [S] float32 at 16 kHz, full scale 1.
            segments: where speech is; an end beyond the recording's is moved to it.
            num_speakers: how many there are; None to find out.

        Raises:
            DataError: segments that overlap, hold nothing or lie beyond the recording.
            ConfigError: an impossible number of speakers, or the extra `speakers` is needed and not installed.
            AudioError: samples that are not finite.
        """
        windows, pieces = cut_windows(waveform, segments)
        check_speakers(len(windows), num_speakers, self.clustering)
        if not windows:
            return []
        embeddings = with_neighbours(self.embed(pieces), windows, self.clustering.reach)
        labels = cluster_speakers(embeddings, num_speakers, self.clustering)
        return speaker_turns(windows, labels.tolist())

    def embed_segments(self, segments: Sequence[Tensor]) -> list[np.ndarray]:
        """The embeddings [N_i, D] of the windows of each stretch of speech [S_i] (float32, 16 kHz), computed together.

        Raises:
            AudioError: not_finite.
        """
        windows = [windows_of(0.0, samples.numel()) for samples in segments]
        pieces = [_samples(part, window) for part, inside in zip(segments, windows, strict=True) for window in inside]
        return np.split(self.embed(pieces), np.cumsum([len(inside) for inside in windows])[:-1])

    @torch.inference_mode()
    def embed(self, waveforms: Sequence[Tensor]) -> np.ndarray:
        """One embedding for each of some waveforms [S_i], whatever their lengths: [N, D] float32.

        Raises:
            AudioError: too_short (under 720 samples), not_finite.
        """
        embeddings = np.empty((len(waveforms), self._model.embedding_size), dtype=np.float32)
        for start in range(0, len(waveforms), self.config.batch_size):
            frames = speaker_fbank(waveforms[start : start + self.config.batch_size], self._model.num_mel_bins)
            lengths = torch.tensor([len(rows) for rows in frames])
            batch = torch.nn.utils.rnn.pad_sequence(frames, batch_first=True)
            embeddings[start : start + len(frames)] = (
                self._model(batch.to(self.device, self._dtype), lengths).float().cpu().numpy()
            )
        return embeddings


def _fastest(model: Campplus, device: torch.device) -> str:
    """The number format in which a CPU embeds fastest, or float32 if the other gains little. Raises ConfigError."""
    if device.type != "cpu":
        raise ConfigError(f"dtype {FAST} is for a CPU; use bfloat16 on {device.type}, or --device cpu")
    frames = torch.randn(TYPICAL_WINDOWS, TYPICAL_FRAMES, model.num_mel_bins, generator=torch.Generator().manual_seed(0))
    lengths = torch.full((TYPICAL_WINDOWS,), TYPICAL_FRAMES)
    exact = least_seconds(SpeakerEmbedder(model), frames, lengths)
    gain = exact / least_seconds(SpeakerEmbedder(model, torch.bfloat16), frames.bfloat16(), lengths)
    chosen = "bfloat16" if gain >= MIN_GAIN else "float32"
    log.info("dtype %s is %s here for voices; bfloat16 is %.1f times as fast", FAST, chosen, gain)
    return chosen


def cut_windows(waveform: Tensor, segments: Segments) -> tuple[list[Window], list[Tensor]]:
    """The windows of a recording [S] that get an embedding each, in time order, and the samples [24000] of each.

    Raises:
        DataError: segments that overlap, hold nothing or lie beyond the recording.
    """
    parts = [waveform[first:end] for first, end in _sample_ranges(segments, waveform.numel())]
    windows = [windows_of(start / 1000, part.numel()) for (start, _), part in zip(segments, parts, strict=True)]
    pieces = [_samples(part, window) for part, inside in zip(parts, windows, strict=True) for window in inside]
    return [window for of_segment in windows for window in of_segment], pieces


def _sample_ranges(segments: Segments, num_samples: int) -> list[tuple[int, int]]:
    """First sample and the one after the last of each segment. Raises DataError."""
    ranges, before = [], 0
    for start, end in segments:
        first, stop = start * SAMPLES_PER_MS, min(end * SAMPLES_PER_MS, num_samples)
        if first < before or stop <= first:
            raise DataError(
                f"segment {start} to {end} ms must begin after the one before, before its own end and within the recording of "
                f"{num_samples / SAMPLES_PER_MS:.0f} ms"
            )
        ranges.append((first, stop))
        before = stop
    return ranges


def _samples(segment: Tensor, window: Window) -> Tensor:
    """The window's samples, with zeros after those of a shorter segment: [24000]; a view where there are none."""
    samples = segment[window.first_sample : window.first_sample + window.num_samples]
    missing = WINDOW_SAMPLES - window.num_samples
    return F.pad(samples, (0, missing)) if missing else samples
