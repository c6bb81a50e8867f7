import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mooer.audio.segment import cut, frame_range
from mooer.common.errors import AudioError

SECONDS = st.none() | st.floats(0, 20, allow_nan=False)


@given(st.integers(0, 160_000), SECONDS, SECONDS)
def test_a_range_is_inside_and_not_empty(num_frames, start, end):
    try:
        first, stop = frame_range("a", num_frames, 16000, start, end)
    except AudioError as error:
        assert error.reason in {"empty", "truncated"}
    else:
        assert 0 <= first < stop <= num_frames


def test_neighbouring_segments_share_no_sample_and_lose_none():
    waveform = torch.arange(16000.0)
    borders = [0.0, 0.123456, 0.33335, 0.7, 1.0]
    parts = [cut(waveform, start, end) for start, end in itertools.pairwise(borders)]
    assert torch.equal(torch.cat(parts), waveform)


def test_overshoot():
    assert len(cut(torch.zeros(16000), 0.5, 1.4)) == 8000
    with pytest.raises(AudioError, match=r"ends at 1\.6 s but the recording at 1\.000 s"):
        cut(torch.zeros(16000), 0.5, 1.6)
