import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.audio.augment import add_noise, add_white_noise, change_gain, change_speed
from mooer.common.errors import ConfigError


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def speech(samples=8000):
    return torch.randn(samples, generator=seeded(1)) * 0.1


def snr_of(mixed, clean):
    return 10 * math.log10(float(clean.double().square().sum() / (mixed.double() - clean.double()).square().sum()))


@settings(max_examples=40, deadline=None)
@given(st.floats(-10, 40), st.integers(1, 20_000), st.integers(0, 30_000))
def test_noise_has_the_asked_ratio(snr_db, num_noise, start):
    noise = torch.randn(num_noise, generator=seeded(2))
    mixed = add_noise(speech(), noise, snr_db, start)
    assert mixed.shape == (8000,)
    assert snr_of(mixed, speech()) == pytest.approx(snr_db, abs=0.05)


def test_noise_starts_where_asked_and_repeats():
    clean, noise = torch.ones(7), torch.tensor([1.0, 2.0, 3.0])
    added = add_noise(clean, noise, 0.0, start=2) - clean
    torch.testing.assert_close(added / added[1], torch.tensor([3.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0]))


def test_white_noise_has_the_asked_ratio_and_repeats_with_its_seed():
    mixed = add_white_noise(speech(), 12.0, seeded(5))
    assert snr_of(mixed, speech()) == pytest.approx(12.0, abs=0.05)
    assert torch.equal(mixed, add_white_noise(speech(), 12.0, seeded(5)))
    assert not torch.equal(mixed, add_white_noise(speech(), 12.0, seeded(6)))


def test_silence_stays():
    silence = torch.zeros(500)
    assert torch.equal(add_noise(silence, speech(), 10.0), silence)
    assert torch.equal(add_noise(speech(), silence, 10.0), speech())
    assert torch.equal(add_white_noise(silence, 10.0, seeded(0)), silence)


@pytest.mark.parametrize("factor", [0.9, 1.1, 0.5, 2.0])
def test_speed_changes_length_and_pitch(factor):
    tone = torch.sin(torch.arange(16000) * (2 * math.pi * 500 / 16000))
    changed = change_speed(tone, factor)
    assert len(changed) == math.ceil(16000 / factor)
    peak = torch.fft.rfft(changed).abs().argmax() * 16000 / len(changed)
    assert peak == pytest.approx(500 * factor, rel=0.01)


def test_speed_one_and_speeds_out_of_range():
    waveform = speech()
    assert change_speed(waveform, 1.0) is waveform
    for factor in (0.0, -1.0, 10.0, float("nan")):
        with pytest.raises(ConfigError):
            change_speed(waveform, factor)


def test_gain():
    torch.testing.assert_close(change_gain(speech(), 20.0), speech() * 10)
    torch.testing.assert_close(change_gain(speech(), -6.0), speech() * 0.501187, rtol=1e-5, atol=0)
