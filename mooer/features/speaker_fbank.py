"""The features of CAM++: Kaldi's fbank of samples at full scale 1 with a Povey window, each bin with zero mean."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mooer.common.errors import AudioError
from mooer.common.lengths import SHIFT_SAMPLES, WINDOW_SAMPLES
from mooer.features.fbank import fbank_rows
from mooer.features.waveform import check_waveform

NUM_MEL_BINS = 80
# Three frames: of fewer there are no statistics.
SHORTEST_SAMPLES = WINDOW_SAMPLES + 2 * SHIFT_SAMPLES


@torch.no_grad()
def speaker_fbank(waveforms: Sequence[Tensor], num_mel_bins: int = NUM_MEL_BINS) -> list[Tensor]:
    """Frames [T_i, num_mel_bins] of several recordings, 10 ms each, equal to the last bit to what each gives alone.

    Args:
        waveforms: [S_i] float32 at 16 kHz, full scale 1, of at least 720 samples.

    Raises:
        AudioError: too_short, empty, not_finite.
    """
    for index, waveform in enumerate(waveforms):
        check_waveform(waveform, index)
        if waveform.numel() < SHORTEST_SAMPLES:
            raise AudioError(f"waveform {index}: {waveform.numel()} samples; a voice needs {SHORTEST_SAMPLES}", "too_short")
    fbank = fbank_rows(waveforms, num_mel_bins, window="povey", scale=1.0)
    parts = (fbank.rows[start : start + count] for start, count in zip(fbank.starts, fbank.counts, strict=True))
    return [frames - frames.mean(dim=0) for frames in parts]
