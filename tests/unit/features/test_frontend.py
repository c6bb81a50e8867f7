import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.common.errors import AudioError, ConfigError
from mooer.common.lengths import fbank_frames, lfr_frames
from mooer.features.cmvn import Cmvn
from mooer.features.fbank import fbank
from mooer.features.frontend import Frontend, FrontendConfig
from mooer.features.lfr import apply_lfr


def noise(samples, seed=0):
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 0.1


def a_cmvn(width):
    generator = torch.Generator().manual_seed(width)
    return Cmvn(torch.randn(width, generator=generator), torch.rand(width, generator=generator) + 0.5)


@pytest.mark.parametrize(
    "config", [FrontendConfig(), FrontendConfig(num_mel_bins=40, lfr_m=1, lfr_n=1), FrontendConfig(lfr_m=4, lfr_n=9)]
)
@pytest.mark.parametrize("with_cmvn", [True, False])
def test_fbank_then_lfr_then_cmvn(config, with_cmvn):
    cmvn = a_cmvn(config.feature_dim) if with_cmvn else None
    frontend = Frontend(config, cmvn)
    for samples in (400, 560, 1200, 1360, 5000, 20000):
        expected = apply_lfr(fbank(noise(samples), config.num_mel_bins), config.lfr_m, config.lfr_n)
        if cmvn:
            expected = (expected + cmvn.shift) * cmvn.scale
        frames = frontend(noise(samples))
        assert torch.equal(frames, expected)
        assert frames.shape == (lfr_frames(fbank_frames(samples), config.lfr_n), frontend.feature_dim)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(400, 30_000), min_size=1, max_size=8))
def test_bit_identical_alone_and_in_company(lengths):
    frontend = Frontend(cmvn=a_cmvn(560))
    waveforms = [noise(length, index) for index, length in enumerate(lengths)]
    padded, frame_lengths = frontend.padded(waveforms)
    assert padded.shape == (len(lengths), max(frame_lengths), 560)
    for index, (waveform, frames) in enumerate(zip(waveforms, frontend.many(waveforms), strict=True)):
        alone = frontend(waveform)
        assert torch.equal(alone, frames)
        assert torch.equal(alone, padded[index, : frame_lengths[index]])
        assert not padded[index, frame_lengths[index] :].any()


def test_results_share_no_memory_with_the_cmvn_or_each_other():
    frontend = Frontend(cmvn=a_cmvn(560))
    first = frontend(noise(4000))
    kept = first.clone()
    for frames in frontend.many([noise(4000), noise(4000)]):
        frames.zero_()
    assert torch.equal(first, kept)
    assert torch.equal(frontend(noise(4000)), kept)


def test_features_from_an_archive():
    frontend = Frontend(cmvn=a_cmvn(560))
    frames = fbank(noise(7000))
    before = frames.clone()
    assert torch.equal(frontend.from_fbank(frames), frontend(noise(7000)))
    assert torch.equal(frames, before)
    for bad, reason in ((torch.zeros(0, 80), "empty"), (torch.zeros(5, 40), "unsupported"), (torch.zeros(80), "unsupported")):
        with pytest.raises(AudioError) as caught:
            frontend.from_fbank(bad)
        assert caught.value.reason == reason


def test_no_recordings():
    frontend = Frontend()
    assert frontend.many([]) == []
    frames, lengths = frontend.padded([])
    assert frames.shape == (0, 0, 560)
    assert lengths.tolist() == []


def test_one_bad_recording_fails_the_call_with_its_place():
    with pytest.raises(AudioError, match="waveform 2") as caught:
        Frontend().many([noise(800), noise(800), noise(100)])
    assert caught.value.reason == "too_short"


def test_a_cmvn_of_another_size_and_impossible_settings():
    with pytest.raises(ConfigError, match=r"80 values.*560"):
        Frontend(cmvn=a_cmvn(80))
    for settings_ in ({"sample_rate": 8000}, {"num_mel_bins": 0}, {"lfr_m": 0}, {"lfr_n": 0}):
        with pytest.raises(ConfigError):
            FrontendConfig(**settings_)
