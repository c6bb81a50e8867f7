"""Waveforms to the frames that an encoder reads, in one pass over any number of recordings: one kind for each encoder."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from mooer.common.errors import AudioError, ConfigError
from mooer.common.lengths import (
    SAMPLE_RATE,
    SHIFT_SAMPLES,
    TWENTY_MS_SAMPLES,
    WHISPER_MEL_FRAMES,
    WHISPER_SAMPLES,
    WINDOW_SAMPLES,
    conv2d_frames,
    fbank_frames,
    lfr_frames,
    seamless_frames,
    waveform_frames,
    whisper_frames,
    whisper_mel_frames,
)
from mooer.features import seamless
from mooer.features.cmvn import Cmvn
from mooer.features.fbank import WINDOWS, Window, fbank_rows
from mooer.features.lfr import apply_lfr, lfr_room, stack_in_place
from mooer.features.seamless import seamless_features
from mooer.features.waveform import sample_frames
from mooer.features.whisper_mel import whisper_features

# The settings that each kind has; the others must be left as they are.
_SETTINGS = {
    "kaldi_fbank": ("num_mel_bins", "window", "lfr_m", "lfr_n", "subsampling"),
    "whisper": ("num_mel_bins",),
    "seamless": (),
    "waveform": ("normalise",),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrontendConfig:
    """What is computed of a waveform; the values of MooER and Paraformer are the defaults."""

    kind: Literal["kaldi_fbank", "whisper", "seamless", "waveform"] = "kaldi_fbank"
    """kaldi_fbank: fbank, LFR and CMVN, for SANM and the Conformer. whisper: Whisper's log mel spectrogram. seamless: fbank
    normalised for each utterance, in pairs, for w2v-BERT 2.0. waveform: the samples, for HuBERT."""
    sample_rate: int = SAMPLE_RATE
    """Samples a second; only 16000 is supported, recordings are resampled when they are read."""
    num_mel_bins: int = 80
    """Mel filters of the fbank; 80 or 128 for whisper."""
    window: Window = "hamming"
    """hamming (Paraformer, MooER) or povey (WeNet, 3M-ASR) (kaldi_fbank)."""
    lfr_m: int = 7
    """Frames stacked into one (kaldi_fbank)."""
    lfr_n: int = 6
    """Frames between two stacked ones (kaldi_fbank)."""
    subsampling: Literal[1, 4] = 1
    """Frames of which the encoder makes one (kaldi_fbank): 4 for a Conformer, whose convolutions see 7 of them."""
    normalise: bool = True
    """Whether samples get zero mean and unit variance (waveform): do_normalize of the encoder's preprocessor_config.json."""

    def __post_init__(self) -> None:
        if self.sample_rate != SAMPLE_RATE:
            raise ConfigError(f"sample_rate is {self.sample_rate}; only {SAMPLE_RATE} is supported")
        if self.kind not in _SETTINGS:
            raise ConfigError(f"kind {self.kind!r} is unknown; allowed: {', '.join(_SETTINGS)}")
        for field in dataclasses.fields(self):
            is_foreign = field.name not in ("kind", "sample_rate", *_SETTINGS[self.kind])
            if is_foreign and getattr(self, field.name) != field.default:
                raise ConfigError(f"{field.name} means nothing for a front end of kind {self.kind}; remove it")
        for name, lowest, highest in (("num_mel_bins", 3, 128), ("lfr_m", 1, 100), ("lfr_n", 1, 100)):
            value = getattr(self, name)
            if not lowest <= value <= highest:
                raise ConfigError(f"{name} is {value}; allowed: {lowest} to {highest}")
        if self.window not in WINDOWS:
            raise ConfigError(f"window {self.window!r} is unknown; allowed: {', '.join(WINDOWS)}")
        if self.kind == "whisper" and self.num_mel_bins not in (80, 128):
            raise ConfigError(f"num_mel_bins is {self.num_mel_bins}; Whisper's encoders read 80 or 128")

    @property
    def feature_dim(self) -> int:
        """Width of a frame."""
        widths = {"whisper": self.num_mel_bins, "seamless": seamless.PAIR * seamless.NUM_MEL_BINS, "waveform": 1}
        return widths.get(self.kind, self.num_mel_bins * self.lfr_m)

    @property
    def frame_seconds(self) -> float:
        """Time from one frame to the next."""
        samples = {"whisper": SHIFT_SAMPLES, "seamless": TWENTY_MS_SAMPLES, "waveform": 1}
        return samples.get(self.kind, self.lfr_n * SHIFT_SAMPLES) / SAMPLE_RATE

    @property
    def encoder_frame_seconds(self) -> float:
        """Time from one frame that the encoder puts out to the next."""
        return self.frame_seconds * self.subsampling if self.kind == "kaldi_fbank" else TWENTY_MS_SAMPLES / SAMPLE_RATE

    def encoder_frames(self, num_frames: int) -> int:
        """How many frames the encoder makes of `num_frames` frames."""
        if self.kind == "whisper":
            return whisper_frames(num_frames)
        if self.kind == "waveform":
            return waveform_frames(num_frames)
        return num_frames if self.subsampling == 1 else conv2d_frames(num_frames)

    def encoder_frames_in(self, num_samples: int) -> int:
        """How many frames the encoder makes of a recording of `num_samples`."""
        if self.kind == "whisper":
            return whisper_frames(whisper_mel_frames(num_samples))
        if self.kind == "seamless":
            return seamless_frames(num_samples)
        if self.kind == "waveform":
            return waveform_frames(num_samples)
        return self.encoder_frames(lfr_frames(fbank_frames(num_samples), self.lfr_n))

    def computed_frames(self, num_frames: int) -> int:
        """How many frames the encoder works on for `num_frames` frames: for whisper always 30 s of them."""
        return whisper_frames(WHISPER_MEL_FRAMES) if self.kind == "whisper" else self.encoder_frames(num_frames)

    def check_length(self, num_samples: int) -> None:
        """Refuse a recording that the encoder cannot read. Raises AudioError (too_short, too_long, empty)."""
        shortest = seamless.SHORTEST_SAMPLES if self.kind == "seamless" else WINDOW_SAMPLES
        if num_samples < shortest:
            reason = "too_short" if num_samples else "empty"
            raise AudioError(f"{num_samples} samples; a frame needs {shortest}", reason)
        if self.kind == "whisper" and num_samples > WHISPER_SAMPLES:
            limit = f"{WHISPER_SAMPLES} ({WHISPER_SAMPLES // SAMPLE_RATE} s)"
            message = f"{num_samples} samples; Whisper's encoder reads at most {limit}, cut the recording at pauses first"
            raise AudioError(message, "too_long")


class Frontend:
    """The front end of one model: `frontend(waveform)`, or several waveforms at once with `many` and `padded`.

    The frames of a recording are the same to the last bit whichever of the three computes them, with whatever company.
    """

    def __init__(self, config: FrontendConfig | None = None, cmvn: Cmvn | None = None) -> None:
        self.config = config or FrontendConfig()
        self.cmvn = cmvn
        if cmvn is not None and self.config.kind != "kaldi_fbank":
            raise ConfigError(f"a front end of kind {self.config.kind} takes no CMVN; leave the CMVN file out")
        if cmvn is not None and cmvn.dim != self.feature_dim:
            raise ConfigError(f"the CMVN has {cmvn.dim} values but the front end makes frames of {self.feature_dim}")

    @property
    def feature_dim(self) -> int:
        """Width D of a frame."""
        return self.config.feature_dim

    def __call__(self, waveform: Tensor) -> Tensor:
        """Frames [T, D] of a waveform [S] (float32, 16 kHz, full scale 1).

        Raises:
            AudioError: too_short (under 400 samples, 560 for seamless), too_long (over 30 s, for whisper), empty, not_finite.
        """
        return self.many([waveform])[0]

    def many(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Frames [T_i, D] of each waveform [S_i]; they may be views of one tensor. Raises AudioError as a call does."""
        if not waveforms:
            return []
        for index, waveform in enumerate(waveforms):
            try:
                self.config.check_length(waveform.numel())
            except AudioError as error:
                raise AudioError(f"waveform {index}: {error}", error.reason) from error
        if self.config.kind == "whisper":
            return whisper_features(waveforms, self.config.num_mel_bins)
        if self.config.kind == "seamless":
            return seamless_features(waveforms)
        if self.config.kind == "waveform":
            return sample_frames(waveforms, self.config.normalise)
        frames, counts = self._stacked(waveforms)
        return list(frames.split(counts))

    def padded(self, waveforms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Frames [B, T, D] of all waveforms, zeros after the end of each, and their lengths [B]."""
        frames = self.many(waveforms)
        lengths = torch.tensor([len(item) for item in frames], dtype=torch.long)
        if not frames:
            return torch.zeros(0, 0, self.feature_dim), lengths
        return torch.nn.utils.rnn.pad_sequence(frames, batch_first=True), lengths

    def from_fbank(self, frames: Tensor) -> Tensor:
        """Frames [T, D] of fbank `frames` [T', num_mel_bins] that were computed before, as from an archive.

        Raises:
            AudioError: unsupported (no fbank frames, or a kind that is computed from recordings only), empty.
        """
        if self.config.kind != "kaldi_fbank":
            message = f"a front end of kind {self.config.kind} cannot start from fbank frames; name the recordings instead"
            raise AudioError(message, "unsupported")
        if frames.dim() != 2 or frames.size(1) != self.config.num_mel_bins:
            expected = f"[T, {self.config.num_mel_bins}]"
            raise AudioError(f"fbank frames must be {expected}, found {list(frames.shape)}", "unsupported")
        if frames.size(0) == 0:
            raise AudioError("there are no fbank frames", "empty")
        return self._normalised(apply_lfr(frames.float(), self.config.lfr_m, self.config.lfr_n))

    def _stacked(self, waveforms: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
        """Low-frame-rate frames of all waveforms one after another, and how many each has."""
        config = self.config
        fbank = fbank_rows(waveforms, config.num_mel_bins, *lfr_room(config.lfr_m), window=config.window)
        counts = [lfr_frames(length, config.lfr_n) for length in fbank.counts]
        frames, top = torch.empty(sum(counts), self.feature_dim), 0
        for start, length, count in zip(fbank.starts, fbank.counts, counts, strict=True):
            frames[top : top + count] = stack_in_place(fbank.rows, start, length, config.lfr_m, config.lfr_n)
            top += count
        return self._normalised(frames), counts

    def _normalised(self, frames: Tensor) -> Tensor:
        return frames if self.cmvn is None else self.cmvn.apply_(frames)
