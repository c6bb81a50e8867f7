import pytest
import torch

from mooer.common.errors import AudioError, ConfigError
from mooer.features.speech_energy import EnergyRule, speech_by_energy

RATE = 16000


def bursts(*stretches, seconds=3.0, level=0.1, noise=0.001):
    """Noise that is loud in the stretches (in ms)."""
    generator = torch.Generator().manual_seed(0)
    waveform = noise * torch.randn(int(seconds * RATE), generator=generator)
    for start, end in stretches:
        waveform[start * 16 : end * 16] += level * torch.randn((end - start) * 16, generator=generator)
    return waveform


@pytest.mark.parametrize("level", [0.3, 0.03])
def test_loud_stretches_are_found_whatever_the_level(level):
    found = speech_by_energy(bursts((500, 1200), (1800, 2300), level=level, noise=level / 100), EnergyRule(margin_ms=0))
    assert len(found) == 2
    for (start, end), (wanted_start, wanted_end) in zip(found, ((500, 1200), (1800, 2300)), strict=True):
        assert abs(start - wanted_start) <= 20 and abs(end - wanted_end) <= 20


def test_short_pauses_are_joined_and_short_sounds_left_out():
    waveform = bursts((500, 1000), (1100, 1500), (2200, 2210))
    (found,) = speech_by_energy(waveform, EnergyRule(max_pause_ms=150, margin_ms=0))
    assert abs(found[0] - 500) <= 20 and abs(found[1] - 1500) <= 20
    assert len(speech_by_energy(waveform, EnergyRule(max_pause_ms=30))) == 2


def test_margins_stay_inside_and_do_not_overlap():
    found = speech_by_energy(bursts((0, 1000), (1250, 3000)), EnergyRule(margin_ms=200, max_pause_ms=100))
    assert found == [(0, 3000)]


def test_noise_and_silence_alone_are_no_speech():
    assert speech_by_energy(bursts()) == []
    assert speech_by_energy(torch.zeros(RATE)) == []


def test_what_cannot_be_measured():
    with pytest.raises(AudioError) as caught:
        speech_by_energy(torch.zeros(399))
    assert caught.value.reason == "too_short"
    with pytest.raises(ConfigError):
        EnergyRule(share=1.0)
    with pytest.raises(ConfigError):
        EnergyRule(margin_ms=-1)
