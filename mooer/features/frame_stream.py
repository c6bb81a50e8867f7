"""Frames of one recording that arrives in pieces: the same, to the last bit, as of the whole recording.

Shapes: S samples, T frames, D width.
"""

import math

import numpy as np
import torch
from torch import Tensor

from mooer.common.errors import AudioError, ConfigError
from mooer.common.lengths import SAMPLE_RATE, SHIFT_SAMPLES, WINDOW_SAMPLES, fbank_frames
from mooer.features.fbank import fbank
from mooer.features.frontend import Frontend
from mooer.features.lfr import lfr_room

# Added to the energy of a frame before the logarithm, so that digital silence has -60 dB.
ENERGY_FLOOR = 1e-6
# A divisor of both window and shift: energies of frames are sums over the energies of such blocks.
_BLOCK_SAMPLES = math.gcd(WINDOW_SAMPLES, SHIFT_SAMPLES)


class FrameStream:
    """A front end (kaldi_fbank, a frame every 10 ms) that takes samples as they come, and the energy of each frame.

    A stacked frame needs some frames after it, so it comes out that much later; `finish` gives the last ones. What is kept
    between pieces is less than a frame's samples and a stacked frame's rows.
    """

    def __init__(self, frontend: Frontend) -> None:
        """Start a recording. Raises ConfigError for a front end of another kind or rate."""
        config = frontend.config
        if config.kind != "kaldi_fbank" or config.lfr_n != 1:
            found = f"kind {config.kind} with lfr_n {config.lfr_n}"
            raise ConfigError(f"frames can be streamed of kind kaldi_fbank with lfr_n 1 only, found {found}")
        self._frontend = frontend
        self._before, self._after = lfr_room(config.lfr_m)
        self._samples = torch.empty(0)
        self._num_samples = 0
        self._rows = torch.empty(0, config.num_mel_bins)
        self._row = 0  # of `_rows`, for which the next stacked frame is
        self._decibels = np.empty(0)

    def accept(self, samples: Tensor) -> tuple[Tensor, np.ndarray]:
        """The frames [T, D] that are complete with these samples [S] (float32, 16 kHz, full scale 1), and their decibels [T].

        Raises:
            AudioError: unsupported (no such tensor), not_finite.
        """
        self._check(samples)
        self._num_samples += len(samples)
        waiting = torch.cat((self._samples, samples))
        count = fbank_frames(len(waiting))
        self._samples = waiting[count * SHIFT_SAMPLES :].clone()
        if count == 0:
            return self._take(0)
        self._rows = torch.cat((self._rows, self._fbank(waiting)))
        self._decibels = np.concatenate((self._decibels, frame_decibels(waiting, count)))
        return self._take(len(self._rows) - self._row - self._after)

    def _fbank(self, samples: Tensor) -> Tensor:
        return fbank(samples, self._frontend.config.num_mel_bins, self._frontend.config.window)

    def finish(self) -> tuple[Tensor, np.ndarray]:
        """The frames that waited for more, and their decibels; the last frame stands for those that did not come."""
        return self._take(len(self._rows) - self._row)

    def _check(self, samples: Tensor) -> None:
        if samples.dim() != 1 or samples.dtype != torch.float32:
            found = f"{samples.dtype} {list(samples.shape)}"
            raise AudioError(f"the audio must be float32 samples [S] at {SAMPLE_RATE} Hz, found {found}", "unsupported")
        if not math.isfinite(samples.sum().item()):
            start, end = (number / SAMPLE_RATE for number in (self._num_samples, self._num_samples + len(samples)))
            values = "values that are not finite (NaN, infinity or far beyond full scale)"
            raise AudioError(f"the audio holds {values} between {start:.2f} and {end:.2f} s", "not_finite")

    def _take(self, count: int) -> tuple[Tensor, np.ndarray]:
        """The next `count` stacked frames, or none if that is less than one."""
        if count <= 0:
            return torch.empty(0, self._frontend.feature_dim), np.empty(0)
        end = self._row + count
        frames = self._frontend.from_fbank(self._rows)[self._row : end]
        decibels, self._decibels = self._decibels[:count], self._decibels[count:]
        self._row = min(end, self._before)
        self._rows = self._rows[end - self._row :].clone()
        return frames, decibels


def frame_decibels(samples: Tensor, num_frames: int) -> np.ndarray:
    """The energy of each of the first `num_frames` fbank frames of `samples` [S], in decibels, [T] float64.

    That is 10 log10 of the sum of squares; -60 for digital silence, 26 at most within full scale.
    """
    per_window, per_shift = WINDOW_SAMPLES // _BLOCK_SAMPLES, SHIFT_SAMPLES // _BLOCK_SAMPLES
    num_blocks = (num_frames - 1) * per_shift + per_window
    blocks = samples[: num_blocks * _BLOCK_SAMPLES].double().square().view(num_blocks, _BLOCK_SAMPLES)
    sums = np.add.reduce(blocks.numpy(), axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(sums, per_window)[::per_shift]
    return 10.0 * np.log10(np.add.reduce(windows, axis=1) + ENERGY_FLOOR)
