import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.audio import resample as module
from mooer.audio.resample import ResampleStream, resample


def sine(frequency, rate, seconds):
    return torch.sin(2 * math.pi * frequency * torch.arange(round(rate * seconds), dtype=torch.float64) / rate).float()


@settings(max_examples=60, deadline=None)
@given(st.integers(1000, 200_000), st.integers(1, 3000))
def test_length_is_the_ceiling(rate, samples):
    assert resample(torch.zeros(samples), rate, 16000).shape == (-(-samples * 16000 // rate),)


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 44101, 47999, 48000])
def test_a_tone_stays_the_same_tone(rate):
    resampled = resample(sine(440, rate, 0.5), rate, 16000)
    expected = sine(440, 16000, 0.6)[: len(resampled)]
    torch.testing.assert_close(resampled[400:-400], expected[400:-400], atol=5e-3, rtol=0)


def test_a_tone_beyond_the_lower_rate_disappears():
    assert resample(sine(12000, 48000, 0.5), 48000, 16000)[400:-400].abs().max() < 0.02


@pytest.mark.parametrize("rate", [8000, 14400, 44100])
def test_both_ways_of_computing_agree(rate):
    waveform = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    common = math.gcd(rate, 16000)
    source, target = rate // common, 16000 // common
    expected = resample(waveform, rate, 16000)
    interpolation = module._Interpolation(source, target)
    padded = torch.nn.functional.pad(waveform, (interpolation.width, interpolation.width + 1))
    found = interpolation.output(padded, -interpolation.width, 0, len(expected))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_axes_before_the_samples_are_kept_and_independent():
    waveforms = torch.randn(2, 3, 1000)
    resampled = resample(waveforms, 8000, 16000)
    assert resampled.shape == (2, 3, 2000)
    assert torch.equal(resampled[1, 2], resample(waveforms[1, 2], 8000, 16000))


def test_nothing_to_do():
    waveform = torch.randn(10)
    assert resample(waveform, 16000, 16000) is waveform
    assert resample(torch.zeros(0), 8000, 16000).numel() == 0


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 44101, 48000])
def test_pieces_give_what_the_whole_gives(rate):
    generator = torch.Generator().manual_seed(rate)
    waveform = torch.randn(2, 3 * rate + 17, generator=generator)
    sizes = torch.randint(1, rate, (40,), generator=generator).tolist()
    stream, pieces, start = ResampleStream(rate, 16000), [], 0
    for size in sizes:
        pieces.append(stream.accept(waveform[:, start : start + size]))
        start += size
    pieces.append(stream.accept(waveform[:, start:]))
    found = torch.cat([*pieces, stream.finish().expand(2, -1)], dim=1)
    assert torch.equal(found, resample(waveform, rate, 16000))


def test_a_stream_keeps_less_than_a_block():
    stream = ResampleStream(48000, 16000)
    for _ in range(50):
        stream.accept(torch.zeros(1, 48000))
    assert stream._rows.size(1) < 3 * module._BANK_BLOCK_SAMPLES + 48000
