import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.common.errors import AudioError
from mooer.features.fbank import MEL_FLOOR, mel_filters
from mooer.features.speaker_fbank import SHORTEST_SAMPLES, speaker_fbank


def noise(samples, seed=0, scale=0.1):
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * scale


def plain_fbank(waveform):
    """The rule frame by frame in float64."""
    frames = []
    window = torch.hann_window(400, periodic=False, dtype=torch.float64).pow(0.85)
    for start in range(0, len(waveform) - 399, 160):
        frame = waveform[start : start + 400].double()
        frame = frame - frame.mean()
        frame = frame - 0.97 * torch.cat([frame[:1], frame[:-1]])
        power = torch.fft.rfft(frame * window, n=512).abs().square()
        frames.append((power @ mel_filters(80)).clamp(min=MEL_FLOOR).log())
    frames = torch.stack(frames)
    return (frames - frames.mean(dim=0)).float()


@pytest.mark.parametrize("scale", [0.3, 1e-3, 1e-5])
def test_equal_to_the_rule_in_double_precision(scale):
    """The quietest noise lies below the floor, which is not moved by a factor of 32768."""
    torch.testing.assert_close(
        speaker_fbank([noise(9000, scale=scale)])[0], plain_fbank(noise(9000, scale=scale)), atol=3e-3, rtol=0
    )


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(SHORTEST_SAMPLES, 30_000), min_size=1, max_size=6))
def test_bit_identical_alone_and_in_company(lengths):
    waveforms = [noise(length, seed) for seed, length in enumerate(lengths)]
    for waveform, frames in zip(waveforms, speaker_fbank(waveforms), strict=True):
        assert torch.equal(speaker_fbank([waveform])[0], frames)


@pytest.mark.parametrize(("samples", "reason"), [(0, "empty"), (399, "too_short"), (SHORTEST_SAMPLES - 1, "too_short")])
def test_too_short(samples, reason):
    with pytest.raises(AudioError, match="waveform 1") as caught:
        speaker_fbank([noise(SHORTEST_SAMPLES), noise(samples)])
    assert caught.value.reason == reason
