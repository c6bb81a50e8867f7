from hypothesis import given
from hypothesis import strategies as st

from mooer.decode.batching import group_by_length


@given(st.lists(st.integers(1, 500), max_size=40), st.integers(1, 1000), st.floats(0.0, 0.9))
def test_groups(lengths, max_frames, max_padding):
    groups = list(group_by_length(lengths, max_frames, max_padding))
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        padded = max(lengths[index] for index in group) * len(group)
        assert len(group) == 1 or padded <= max_frames
        assert sum(lengths[index] for index in group) >= (1 - max_padding) * padded - 1e-6
    longest = [lengths[group[0]] for group in groups]
    assert longest == sorted(longest, reverse=True)


def test_equal_lengths_are_put_together():
    assert list(group_by_length([5, 5, 5], 15)) == [[0, 1, 2]]
    assert list(group_by_length([5, 5, 5], 14)) == [[0, 1], [2]]
