"""What a vocoder is trained by (Kong et al. 2020): how far its mel spectrogram is off, and what discriminators say.

Shapes: B batch, S samples, T frames, M mel bins.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mooer.common.torchaudio_compat import ensure_torchaudio
from mooer.models.vocoder_discriminators import Judgement

FFT_SIZE, SHIFT, NUM_MELS = 1024, 256, 80
_POWER_FLOOR, _MEL_FLOOR = 1e-9, 1e-5


class LogMel(nn.Module):
    """The logarithm of the mel spectrogram, over all frequencies, with the usual filters of unit area."""

    def __init__(self, sampling_rate: int, num_mels: int = NUM_MELS) -> None:
        super().__init__()
        ensure_torchaudio()
        from transformers.audio_utils import mel_filter_bank

        filters = mel_filter_bank(
            num_frequency_bins=FFT_SIZE // 2 + 1,
            num_mel_filters=num_mels,
            min_frequency=0.0,
            max_frequency=sampling_rate / 2,
            sampling_rate=sampling_rate,
            norm="slaney",
            mel_scale="slaney",
        )
        self.register_buffer("filters", torch.from_numpy(filters).float(), persistent=False)  # [bins, M]
        self.register_buffer("window", torch.hann_window(FFT_SIZE), persistent=False)

    def forward(self, waveforms: Tensor) -> Tensor:
        """[B, S] -> [B, M, T], T = S / 256."""
        edge = (FFT_SIZE - SHIFT) // 2
        padded = F.pad(waveforms[:, None], (edge, edge), "reflect")[:, 0]
        spectra = torch.stft(padded, FFT_SIZE, SHIFT, FFT_SIZE, self.window, center=False, return_complex=True)
        power = spectra.real.square() + spectra.imag.square()
        magnitudes = (power + _POWER_FLOOR).sqrt()
        return (magnitudes.transpose(1, 2) @ self.filters).clamp(min=_MEL_FLOOR).log().transpose(1, 2)


def deception_loss(fake: Sequence[Judgement]) -> Tensor:
    """How far the scores of made waveforms are from those of real ones: what the vocoder is to lower. A scalar."""
    return torch.stack([(1.0 - scores).square().mean() for scores, _ in fake]).sum()


def detection_loss(real: Sequence[Judgement], fake: Sequence[Judgement]) -> Tensor:
    """How far the scores are from 1 for real waveforms and from 0 for made ones: what discriminators lower. A scalar."""
    pairs = zip(real, fake, strict=True)
    return torch.stack([(1.0 - right).square().mean() + wrong.square().mean() for (right, _), (wrong, _) in pairs]).sum()


def feature_loss(real: Sequence[Judgement], fake: Sequence[Judgement]) -> Tensor:
    """How far the features of made waveforms are from those of the real ones, which have no gradient. A scalar."""
    distances = [
        (of_real.detach() - of_fake).abs().mean()
        for (_, right), (_, wrong) in zip(real, fake, strict=True)
        for of_real, of_fake in zip(right, wrong, strict=True)
    ]
    return torch.stack(distances).sum()
