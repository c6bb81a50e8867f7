"""Waveforms to normalised low-frame-rate frames: fbank, LFR and CMVN in one pass over any number of recordings."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from mooer.common.errors import AudioError, ConfigError
from mooer.common.lengths import SAMPLE_RATE, lfr_frames
from mooer.features.cmvn import Cmvn
from mooer.features.fbank import fbank_rows
from mooer.features.lfr import apply_lfr, lfr_room, stack_in_place


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrontendConfig:
    """What is computed of a waveform; the values of MooER and Paraformer are the defaults."""

    sample_rate: int = SAMPLE_RATE
    """Samples a second; only 16000 is supported, recordings are resampled when they are read."""
    num_mel_bins: int = 80
    """Mel filters of the fbank."""
    lfr_m: int = 7
    """Frames stacked into one."""
    lfr_n: int = 6
    """Frames between two stacked ones."""

    def __post_init__(self) -> None:
        if self.sample_rate != SAMPLE_RATE:
            raise ConfigError(f"sample_rate is {self.sample_rate}; only {SAMPLE_RATE} is supported")
        for name, lowest, highest in (("num_mel_bins", 3, 128), ("lfr_m", 1, 100), ("lfr_n", 1, 100)):
            value = getattr(self, name)
            if not lowest <= value <= highest:
                raise ConfigError(f"{name} is {value}; allowed: {lowest} to {highest}")

    @property
    def feature_dim(self) -> int:
        """Width of a stacked frame."""
        return self.num_mel_bins * self.lfr_m


class Frontend:
    """The front end of one model: `frontend(waveform)`, or several waveforms at once with `many` and `padded`.

    The frames of a recording are the same to the last bit whichever of the three computes them, with whatever company.
    """

    def __init__(self, config: FrontendConfig | None = None, cmvn: Cmvn | None = None) -> None:
        self.config = config or FrontendConfig()
        self.cmvn = cmvn
        if cmvn is not None and cmvn.dim != self.feature_dim:
            raise ConfigError(f"the CMVN has {cmvn.dim} values but the front end makes frames of {self.feature_dim}")

    @property
    def feature_dim(self) -> int:
        """Width D of a frame."""
        return self.config.feature_dim

    def __call__(self, waveform: Tensor) -> Tensor:
        """Frames [T, D] of a waveform [S] (float32, 16 kHz, full scale 1).

        Raises:
            AudioError: too_short (under 400 samples), empty, not_finite.
        """
        return self._stacked([waveform])[0]

    def many(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Frames [T_i, D] of each waveform [S_i]; the results are views of one tensor. Raises AudioError as a call does."""
        if not waveforms:
            return []
        frames, counts = self._stacked(waveforms)
        return list(frames.split(counts))

    def padded(self, waveforms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Frames [B, T, D] of all waveforms, zeros after the end of each, and their lengths [B]."""
        frames = self.many(waveforms)
        lengths = torch.tensor([len(item) for item in frames], dtype=torch.long)
        if not frames:
            return torch.zeros(0, 0, self.feature_dim), lengths
        return torch.nn.utils.rnn.pad_sequence(frames, batch_first=True), lengths

    def from_fbank(self, fbank_frames: Tensor) -> Tensor:
        """Frames [T, D] of fbank frames [T', num_mel_bins] that were computed before, as from an archive."""
        if fbank_frames.dim() != 2 or fbank_frames.size(1) != self.config.num_mel_bins:
            expected = f"[T, {self.config.num_mel_bins}]"
            raise AudioError(f"fbank frames must be {expected}, found {list(fbank_frames.shape)}", "unsupported")
        if fbank_frames.size(0) == 0:
            raise AudioError("there are no fbank frames", "empty")
        return self._normalised(apply_lfr(fbank_frames.float(), self.config.lfr_m, self.config.lfr_n))

    def _stacked(self, waveforms: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
        """Frames of all waveforms one after another, and how many each has."""
        config = self.config
        fbank = fbank_rows(waveforms, config.num_mel_bins, *lfr_room(config.lfr_m))
        counts = [lfr_frames(length, config.lfr_n) for length in fbank.counts]
        frames, top = torch.empty(sum(counts), self.feature_dim), 0
        for start, length, count in zip(fbank.starts, fbank.counts, counts, strict=True):
            frames[top : top + count] = stack_in_place(fbank.rows, start, length, config.lfr_m, config.lfr_n)
            top += count
        return self._normalised(frames), counts

    def _normalised(self, frames: Tensor) -> Tensor:
        return frames if self.cmvn is None else self.cmvn.apply_(frames)
