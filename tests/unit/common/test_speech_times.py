import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooer.common.errors import DataError
from mooer.common.speech_times import (
    format_speech_times,
    frames_of_stretch,
    join_stretches,
    parse_speech_times,
    stretches_of_frames,
)

STRETCHES = st.lists(st.integers(0, 3000), max_size=12, unique=True).map(
    lambda values: list(zip(sorted(values)[::2], sorted(values)[1::2], strict=False))
)


@given(STRETCHES)
def test_a_label_says_what_it_was_made_of(stretches):
    assert parse_speech_times(format_speech_times(stretches)) == stretches


def test_seconds_of_any_precision():
    assert parse_speech_times("0-1.25 1.3-2") == [(0, 1250), (1300, 2000)]
    assert format_speech_times([]) == "-" and parse_speech_times(" - ") == []


@pytest.mark.parametrize(
    "label", ["", "0.5", "0.5-0.5", "0.6-0.5", "-0.5-1", "0.5-1,1-2", "a-b", "0-1 0.9-2", "3-4 1-2", "0-1 -"]
)
def test_what_is_no_label(label):
    with pytest.raises(DataError):
        parse_speech_times(label)


@given(st.lists(st.booleans(), max_size=80))
def test_frames_and_stretches_say_the_same(flags):
    found = {frame for stretch in stretches_of_frames(flags) for frame in frames_of_stretch(stretch)}
    assert found == {number for number, flag in enumerate(flags) if flag}


@given(st.integers(0, 500), st.integers(1, 500))
def test_a_frame_is_where_its_middle_is(start, length):
    middles = {number for number in range(120) if start <= 10 * number + 12.5 < start + length}
    assert set(frames_of_stretch((start, start + length))) == middles


def test_joining():
    assert join_stretches([(30, 40), (0, 10), (5, 20), (25, 28)]) == [(0, 20), (25, 28), (30, 40)]
    assert join_stretches([(0, 10), (15, 20), (26, 30)], max_gap_ms=5) == [(0, 20), (26, 30)]
    assert join_stretches([(0, 50), (10, 20)]) == [(0, 50)]
