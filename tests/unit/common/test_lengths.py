"""Frame arithmetic against the facts of the released front end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooer.common.lengths import (
    WHISPER_MEL_FRAMES,
    WHISPER_SAMPLES,
    adapter_frames,
    adapter_rates,
    audio_embeddings,
    conv2d_frames,
    fbank_frames,
    lfr_frames,
    seamless_frames,
    waveform_frames,
    whisper_frames,
    whisper_mel_frames,
)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (8000, 48), (97600, 608)])
def test_fbank_frames(samples, frames):
    assert fbank_frames(samples) == frames


@pytest.mark.parametrize(("samples", "embeddings"), [(8000, 4), (37920, 20), (97600, 51)])
def test_audio_embeddings_of_the_released_model(samples, embeddings):
    assert audio_embeddings(samples) == embeddings


@given(st.integers(0, 10**7), st.integers(2, 4))
def test_lengths_are_consistent(samples, rate):
    frames = lfr_frames(fbank_frames(samples))
    assert (frames - 1) * 6 < fbank_frames(samples) <= frames * 6 or frames == 0
    assert adapter_frames(frames, rate) * rate <= frames < (adapter_frames(frames, rate) + 1) * rate
    assert audio_embeddings(samples, rate) == adapter_frames(frames, rate)


@given(st.integers(1, WHISPER_SAMPLES))
def test_whisper_frames_are_those_that_hold_any_of_the_recording(samples):
    """Frame t holds the samples from 160 t - 200 up to, not including, 160 t + 200."""
    frames = whisper_mel_frames(samples)
    assert 160 * (frames - 1) - 200 < samples
    assert 160 * frames - 200 >= samples or frames == WHISPER_MEL_FRAMES == 3000
    assert 2 * whisper_frames(frames) - frames in (0, 1)


def test_whisper_frames_end_at_thirty_seconds():
    assert [whisper_mel_frames(samples) for samples in (0, 400, 480_000)] == [0, 4, 3000]
    assert whisper_frames(3000) == 1500


@given(st.integers(0, 10**6))
def test_convolutions_of_hubert_one_by_one(samples):
    frames = samples
    for kernel, stride in ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)):
        frames = max(0, (frames - kernel) // stride + 1)
    assert waveform_frames(samples) == frames


@pytest.mark.parametrize(("samples", "frames"), [(399, 0), (559, 0), (560, 1), (720, 1), (880, 2), (16000, 49)])
def test_seamless_frames(samples, frames):
    assert seamless_frames(samples) == frames


def test_adapter_rates():
    assert adapter_rates(60) == (2, 3, 4)
    assert adapter_rates(20) == (6, 9, 12)
    assert adapter_rates(80) == (3,)


@given(st.integers(0, 10_000))
def test_conv2d_frames_are_those_of_two_convolutions(frames):
    once = max(0, (frames - 3) // 2 + 1)
    assert conv2d_frames(frames) == max(0, (once - 3) // 2 + 1)
