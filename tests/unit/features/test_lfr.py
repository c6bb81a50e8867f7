import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from mooer.common.lengths import lfr_frames
from mooer.features.lfr import apply_lfr


def plain_lfr(frames, m, n):
    """The rule, frame by frame."""
    padded = [frames[0]] * ((m - 1) // 2) + list(frames)
    stacked = []
    for index in range(math.ceil(len(frames) / n)):
        window = padded[index * n : index * n + m]
        stacked.append(torch.cat(window + [padded[-1]] * (m - len(window))))
    return torch.stack(stacked)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 9))
def test_equal_to_the_rule(length, m, n):
    frames = torch.randn(length, 3)
    stacked = apply_lfr(frames, m, n)
    assert torch.equal(stacked, plain_lfr(frames, m, n))
    assert len(stacked) == lfr_frames(length, n)


def test_the_frames_given_stay_and_results_share_no_memory():
    frames = torch.randn(20, 4)
    before = frames.clone()
    stacked = apply_lfr(frames)
    stacked.zero_()
    assert torch.equal(frames, before)


def test_a_slice_of_a_larger_tensor():
    frames = torch.randn(40, 4)
    assert torch.equal(apply_lfr(frames[10:30]), apply_lfr(frames[10:30].clone()))
