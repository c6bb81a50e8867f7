import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.common.errors import AudioError, ConfigError
from mooer.common.lengths import fbank_frames, lfr_frames, seamless_frames, whisper_mel_frames
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
    "config",
    [
        FrontendConfig(),
        FrontendConfig(num_mel_bins=40, lfr_m=1, lfr_n=1),
        FrontendConfig(lfr_m=4, lfr_n=9),
        FrontendConfig(lfr_m=1, lfr_n=1, window="povey"),
    ],
)
@pytest.mark.parametrize("with_cmvn", [True, False])
def test_fbank_then_lfr_then_cmvn(config, with_cmvn):
    cmvn = a_cmvn(config.feature_dim) if with_cmvn else None
    frontend = Frontend(config, cmvn)
    for samples in (400, 560, 1200, 1360, 5000, 20000):
        expected = apply_lfr(fbank(noise(samples), config.num_mel_bins, config.window), config.lfr_m, config.lfr_n)
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
    for settings_ in ({"sample_rate": 8000}, {"num_mel_bins": 0}, {"lfr_m": 0}, {"lfr_n": 0}, {"window": "hann"}):
        with pytest.raises(ConfigError):
            FrontendConfig(**settings_)


KINDS = [
    FrontendConfig(kind="whisper"),
    FrontendConfig(kind="whisper", num_mel_bins=128),
    FrontendConfig(kind="seamless"),
    FrontendConfig(kind="waveform"),
    FrontendConfig(kind="waveform", normalise=False),
]
OWN_FRAMES = {"whisper": whisper_mel_frames, "seamless": seamless_frames, "waveform": int}


@pytest.mark.parametrize("config", KINDS)
@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(560, 30_000), min_size=1, max_size=6))
def test_other_kinds_are_bit_identical_alone_and_in_company(config, lengths):
    frontend = Frontend(config)
    waveforms = [noise(length, index) for index, length in enumerate(lengths)]
    padded, frame_lengths = frontend.padded(waveforms)
    for index, waveform in enumerate(waveforms):
        alone = frontend(waveform)
        assert alone.shape == (OWN_FRAMES[config.kind](len(waveform)), config.feature_dim)
        assert torch.equal(alone, padded[index, : frame_lengths[index]])


@pytest.mark.parametrize("config", KINDS)
def test_time_that_frames_stand_for(config):
    seconds = 2.5
    frames = len(Frontend(config)(noise(int(seconds * 16000))))
    assert frames * config.frame_seconds == pytest.approx(seconds, abs=0.03)
    assert config.encoder_frame_seconds == 0.02
    assert config.encoder_frames(frames) * 0.02 == pytest.approx(seconds, abs=0.04)
    assert config.computed_frames(frames) == (1500 if config.kind == "whisper" else config.encoder_frames(frames))


def test_time_of_low_rate_frames():
    config = FrontendConfig(lfr_n=4)
    assert config.frame_seconds == config.encoder_frame_seconds == 0.04
    assert config.encoder_frames(7) == config.computed_frames(7) == 7


@pytest.mark.parametrize(
    ("kind", "samples", "reason"),
    [
        ("whisper", 480_001, "too_long"),
        ("whisper", 399, "too_short"),
        ("seamless", 559, "too_short"),
        ("waveform", 399, "too_short"),
        ("waveform", 0, "empty"),
    ],
)
def test_lengths_that_an_encoder_cannot_read(kind, samples, reason):
    with pytest.raises(AudioError, match="waveform 1") as caught:
        Frontend(FrontendConfig(kind=kind)).many([noise(1000), noise(samples)])
    assert caught.value.reason == reason


@pytest.mark.parametrize("config", KINDS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite(config, bad):
    waveforms = [noise(2000), noise(2000)]
    waveforms[1][1000] = bad
    with pytest.raises(AudioError, match="not finite") as caught:
        Frontend(config).many(waveforms)
    assert caught.value.reason == "not_finite"


def test_other_kinds_do_not_change_the_waveform_or_share_memory_with_it():
    for config in KINDS:
        waveform = noise(3000)
        Frontend(config)(waveform).zero_()
        assert torch.equal(waveform, noise(3000))


@pytest.mark.parametrize("kind", ["whisper", "seamless", "waveform"])
def test_what_only_fbank_has_is_refused(kind):
    with pytest.raises(ConfigError, match=f"kind {kind} takes no CMVN"):
        Frontend(FrontendConfig(kind=kind), a_cmvn(80))
    with pytest.raises(ConfigError, match=f"lfr_n means nothing for a front end of kind {kind}"):
        FrontendConfig(kind=kind, lfr_n=1)
    with pytest.raises(AudioError, match=f"kind {kind} cannot start from fbank frames") as caught:
        Frontend(FrontendConfig(kind=kind)).from_fbank(torch.zeros(5, 80))
    assert caught.value.reason == "unsupported"


def test_settings_of_other_kinds():
    with pytest.raises(ConfigError, match="normalise means nothing for a front end of kind kaldi_fbank"):
        FrontendConfig(normalise=False)
    with pytest.raises(ConfigError, match="kind 'mfcc' is unknown; allowed: kaldi_fbank, whisper, seamless, waveform"):
        FrontendConfig(kind="mfcc")
    with pytest.raises(ConfigError, match="num_mel_bins is 100; Whisper's encoders read 80 or 128"):
        FrontendConfig(kind="whisper", num_mel_bins=100)
    with pytest.raises(ConfigError, match="window means nothing"):
        FrontendConfig(kind="whisper", window="povey")
    with pytest.raises(ConfigError, match="num_mel_bins means nothing"):
        FrontendConfig(kind="seamless", num_mel_bins=40)


def test_a_silent_recording_has_features():
    for config in KINDS:
        frames = Frontend(config)(torch.zeros(4000))
        expected = -1.5 if config.kind == "whisper" else 0.0
        torch.testing.assert_close(frames, torch.full_like(frames, expected), atol=1e-6, rtol=0)
