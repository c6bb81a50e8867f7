"""Frame arithmetic against the facts of the released front end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooer.common.lengths import adapter_frames, audio_embeddings, fbank_frames, lfr_frames


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
