from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.common.errors import ConfigError, DataError
from mooer.pipeline.speaker_turns import (
    SHIFT_SAMPLES,
    WINDOW_SAMPLES,
    Turn,
    Window,
    rttm_lines,
    speaker_of,
    speaker_turns,
    windows_of,
    write_rttm,
)


@given(st.integers(1, 200_000))
def test_windows_cover_a_segment(samples):
    windows = windows_of(2.0, samples)
    assert windows[0].first_sample == 0
    assert windows[-1].first_sample + windows[-1].num_samples == samples
    assert all(window.num_samples == min(samples, WINDOW_SAMPLES) for window in windows)
    steps = [after.first_sample - before.first_sample for before, after in pairwise(windows)]
    assert all(step == SHIFT_SAMPLES for step in steps[:-1])
    assert all(0 < step <= SHIFT_SAMPLES for step in steps[-1:])
    assert windows[-1].end == pytest.approx(2.0 + samples / 16000)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(10, 500), st.integers(1, 300)), max_size=8), st.randoms(use_true_random=False))
def test_turns_fill_the_speech_and_nothing_else(segments, random):
    """Segments of some 10 ms after pauses of some 10 ms, any speakers."""
    time, windows, spans = 0, [], []
    for length, pause in segments:
        time += 10 * pause
        windows += windows_of(time / 1000, 160 * length)
        spans.append((time, time + 10 * length))
        time += 10 * length
    turns = speaker_turns(windows, [random.randrange(3) for _ in windows])
    borders = {border for span in spans for border in span}
    assert sum(turn.end - turn.start for turn in turns) == sum(end - start for start, end in spans)
    for before, after in pairwise(turns):
        assert before.end <= after.start
        assert before.end == after.start or {before.end, after.start} <= borders
    assert all(turn.start < turn.end for turn in turns)


def windows(*times):
    return [Window(start, end, 0, 0) for start, end in times]


def test_a_short_turn_goes_to_the_nearer_neighbour():
    times = windows((0.0, 2.0), (2.3, 2.9), (3.0, 5.0))
    assert speaker_turns(times, [5, 7, 9]) == [Turn(0, 2000, 0), Turn(2300, 2900, 2), Turn(3000, 5000, 2)]
    assert speaker_turns(windows((0.0, 0.5), (0.6, 5.0)), [1, 0]) == [Turn(0, 500, 1), Turn(600, 5000, 1)]
    just_long_enough = windows((0.0, 2.0), (2.3, 3.01), (3.1, 5.0))
    assert [turn.speaker for turn in speaker_turns(just_long_enough, [5, 7, 9])] == [0, 1, 2]
    assert speaker_turns(windows((0.0, 0.5)), [4]) == [Turn(0, 500, 0)]
    assert speaker_turns([], []) == []


TURNS = [Turn(0, 1000, 0), Turn(1000, 3000, 1), Turn(3000, 4000, 0), Turn(4500, 5000, 2)]


@pytest.mark.parametrize(
    ("start", "end", "longest", "published"),
    [
        (0, 900, 0, 0),
        (500, 2600, 1, 1),
        (500, 1600, 1, 0),
        (0, 4000, 0, 0),
        (4000, 4500, 0, 0),
        (4900, 9000, 2, 2),
        (6000, 7000, 0, 0),
    ],
)
def test_who_says_a_sentence(start, end, longest, published):
    assert speaker_of(TURNS, start, end) == longest
    assert speaker_of(TURNS, start, end, "published") == published


def test_an_unknown_rule():
    with pytest.raises(ConfigError, match="allowed: longest, published"):
        speaker_of(TURNS, 0, 900, "most")


def test_rttm(tmp_path):
    write_rttm(tmp_path / "out" / "speakers.rttm", {"meeting": TURNS[:2], "call": [Turn(25, 1030, 0)]})
    assert (tmp_path / "out" / "speakers.rttm").read_text(encoding="utf-8").splitlines() == [
        "SPEAKER meeting 1 0.000 1.000 <NA> <NA> spk0 <NA> <NA>",
        "SPEAKER meeting 1 1.000 2.000 <NA> <NA> spk1 <NA> <NA>",
        "SPEAKER call 1 0.025 1.005 <NA> <NA> spk0 <NA> <NA>",
    ]


@pytest.mark.parametrize("name", ["", "two words", "tab\t", " a"])
def test_names_that_rttm_cannot_hold(name, tmp_path):
    with pytest.raises(DataError, match="RTTM"):
        rttm_lines(name, TURNS)
    with pytest.raises(DataError):
        write_rttm(tmp_path / "x.rttm", {"fine": TURNS, name: TURNS})
    assert not any(tmp_path.iterdir())
