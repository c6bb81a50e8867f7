"""Rooms, lines and noises: energies, spectra, and draws that can be repeated."""

import math

import pytest
import torch

from mooer.audio.surroundings import coloured_noise, limit_band, reverberate

RATE = 16000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def band_energy(waveform, low, high):
    spectrum = torch.fft.rfft(waveform).abs().square()
    frequency = torch.linspace(0, RATE / 2, len(spectrum))
    return float(spectrum[(frequency >= low) & (frequency < high)].sum())


@pytest.mark.parametrize("wet_db", [-10.0, 0.0])
def test_a_room_answers_an_impulse_with_echoes_that_die_away(wet_db):
    impulse = torch.zeros(RATE)
    impulse[0] = 1.0
    answer = reverberate(impulse, 0.5, wet_db, generator())
    assert answer.shape == impulse.shape
    assert float(answer[0]) == pytest.approx(1.0, abs=1e-5)
    echoes = answer[1:].square()
    assert 10 * math.log10(float(echoes.sum())) == pytest.approx(wet_db, abs=0.1)
    # 60 dB in 0.5 s: 12 dB in a tenth of a second.
    first, later = (float(echoes[start : start + 1600].sum()) for start in (0, 1600))
    assert 10 * math.log10(first / later) == pytest.approx(12.0, abs=1.0)
    assert float(echoes[8100:].sum()) < 1e-6


def test_a_line_passes_what_lies_between_its_edges():
    noise = torch.randn(2 * RATE, generator=generator())
    passed = limit_band(noise, 300.0, 3400.0)
    assert passed.shape == noise.shape
    assert band_energy(passed, 800, 3000) == pytest.approx(band_energy(noise, 800, 3000), rel=0.03)
    assert band_energy(passed, 4500, 8000) < 1e-3 * band_energy(noise, 4500, 8000)


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_noise_falls_with_frequency(slope):
    noise = coloured_noise(4 * RATE, slope, generator())
    assert noise.shape == (4 * RATE,)
    # An octave higher: the same band in relative terms, twice as wide, its power lower by 2 ** (2 slope).
    ratio = band_energy(noise, 1000, 2000) / band_energy(noise, 2000, 4000)
    assert ratio == pytest.approx(2 ** (2 * slope) / 2, rel=0.1)


@pytest.mark.parametrize("num_samples", [1, 2, 3, 4801])
def test_lengths_stay_and_draws_repeat(num_samples):
    first, second = (coloured_noise(num_samples, 0.7, generator(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.numel() == num_samples
    room = reverberate(first, 0.1, 0.0, generator(1))
    assert room.numel() == limit_band(room, 100.0, 4000.0).numel() == num_samples
    assert torch.isfinite(room).all()
