import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.common.errors import ConfigError
from mooer.pipeline.speech_segments import SpeechOptions, SpeechSegment, SpeechSegmenter, merge_segments

# A run of speech of so many frames is always heard: 15 of them in the window, after 14 that a segment's end may take out of it.
SURELY_HEARD = 29
RUNS = st.lists(st.tuples(st.booleans(), st.integers(1, 130)), min_size=1, max_size=14)
OPTIONS = st.builds(
    SpeechOptions,
    silence_mode=st.sampled_from(["fixed", "fixed", "dynamic"]),
    dynamic_interval_ms=st.sampled_from([200, 1000, 60000]),
    max_end_silence_time=st.integers(0, 200).map(lambda tenths: 10 * tenths),
    max_single_segment_time=st.sampled_from([410, 1000, 3000, 60000]),
)


def frames_of(runs):
    """Posteriors of silence for runs of (is speech, frames), and their decibels."""
    silence = np.concatenate([np.full(length, 0.02 if is_speech else 0.98) for is_speech, length in runs])
    return silence, np.full(len(silence), -60.0)


def segments_of(options, silence, decibels):
    segmenter = SpeechSegmenter(options)
    return segmenter.accept(silence, decibels) + segmenter.finish()


@settings(max_examples=300, deadline=None)
@given(RUNS, OPTIONS)
def test_segments_grow_lie_inside_and_are_no_longer_than_asked(runs, options):
    silence, decibels = frames_of(runs)
    found = segments_of(options, silence, decibels)
    assert all(start < end and start % 10 == end % 10 == 0 for start, end in found)
    assert all(before.end_ms <= after.start_ms for before, after in itertools.pairwise(found))
    assert all(start >= 0 and end <= 10 * len(silence) for start, end in found)
    assert all(end - start <= options.max_single_segment_time + 10 for start, end in found)


@settings(max_examples=300, deadline=None)
@given(RUNS, OPTIONS)
def test_each_frame_of_speech_lies_in_one_segment(runs, options):
    found = segments_of(options, *frames_of(runs))
    times_covered = np.zeros(sum(length for _, length in runs), int)
    for start, end in found:
        times_covered[start // 10 : end // 10] += 1
    first = 0
    for is_speech, group in itertools.groupby(runs, key=lambda run: run[0]):
        length = sum(length for _, length in group)
        if is_speech and length >= SURELY_HEARD:
            assert (times_covered[first : first + length] == 1).all(), (first, length, found)
        first += length
    assert times_covered.max() <= 1


@settings(max_examples=200, deadline=None)
@given(RUNS, OPTIONS, st.lists(st.integers(0, 200), max_size=12), st.integers(0, 9))
def test_pieces_change_nothing(runs, options, lengths, seed):
    silence, decibels = frames_of(runs)
    noise = np.random.default_rng(seed).uniform(0, 0.6, len(silence))
    silence = np.clip(silence + np.where(silence > 0.5, -noise, noise), 0, 1)
    segmenter, found, first = SpeechSegmenter(options), [], 0
    for length in (*lengths, len(silence)):
        found += segmenter.accept(silence[first : first + length], decibels[first : first + length])
        first += length
    assert found + segmenter.finish() == segments_of(options, silence, decibels)


def test_speech_that_begins_while_a_segment_ends():
    runs = [(True, 100), (False, 56), (True, SURELY_HEARD), (False, 100)]
    assert len(segments_of(SpeechOptions(), *frames_of(runs))) == 2
    runs[2] = (True, SURELY_HEARD - 1)
    assert len(segments_of(SpeechOptions(), *frames_of(runs))) == 1


def test_the_open_segment_is_known_before_its_end():
    silence, decibels = frames_of([(False, 50), (True, 100), (False, 100)])
    segmenter = SpeechSegmenter(SpeechOptions())
    starts = []
    for index in range(len(silence)):
        found = segmenter.accept(silence[index : index + 1], decibels[index : index + 1])
        starts.append(segmenter.open_start_ms)
        assert bool(found) == (starts[-1] is None and index > 0 and starts[-2] is not None)
    assert starts.index(240) == 64  # 15 frames of speech
    assert starts[-1] is None
    assert segmenter.finish() == []


def test_nothing_begins_after_the_last_frame_where_a_cut_is_the_end():
    silence, decibels = frames_of([(True, 201)])
    options = SpeechOptions(max_single_segment_time=2000)
    segmenter = SpeechSegmenter(options)
    assert segmenter.accept(silence, decibels) == [(0, 2010)]
    assert segmenter.open_start_ms is None
    assert segmenter.accept(silence[:1], decibels[:1]) == []
    assert segmenter.open_start_ms == 2010
    assert segments_of(options, silence, decibels) == [(0, 2010)]
    assert segments_of(options, *frames_of([(True, 202)])) == [(0, 2010), (2010, 2020)]


def test_speech_just_after_a_cut_is_not_lost():
    """The reference needs 150 ms of speech anew to begin a segment."""
    found = segments_of(SpeechOptions(max_single_segment_time=2000), *frames_of([(True, 210), (False, 200)]))
    assert found == [(0, 2010), (2010, 2260)]


def test_a_cut_in_silence_begins_nothing():
    found = segments_of(SpeechOptions(max_single_segment_time=2000), *frames_of([(True, 185), (False, 200)]))
    assert found == [(0, 2010)]


def test_posteriors_of_exactly_zero_and_one():
    """The reference takes their logarithm, which does not exist."""
    silence = np.repeat([1.0, 0.0, 1.0], [50, 100, 150])
    assert segments_of(SpeechOptions(), silence, np.full(300, -60.0)) == [(240, 1660)]


def test_one_segment_only():
    runs = [(False, 30), (True, 60), (False, 100), (True, 60), (False, 100)]
    assert len(segments_of(SpeechOptions(), *frames_of(runs))) == 2
    assert segments_of(SpeechOptions(detect_mode=0), *frames_of(runs)) == segments_of(SpeechOptions(), *frames_of(runs))[:1]
    late = frames_of([(False, 302), (True, 60)])
    assert segments_of(SpeechOptions(detect_mode=0), *late) == []
    assert len(segments_of(SpeechOptions(detect_mode=0, max_start_silence_time=4000), *late)) == 1


def test_quiet_frames_are_silence_however_sure_the_network_is():
    silence, _ = frames_of([(True, 300)])
    decibels = np.repeat([-30.0, -10.0, -30.0], 100)
    assert segments_of(SpeechOptions(decibel_thres=-20.0), silence, decibels) == [(740, 2160)]


def test_speech_must_stand_out_of_the_silence_before():
    silence, _ = frames_of([(False, 100), (True, 100), (False, 100), (True, 100), (False, 100)])
    decibels = np.repeat([-40.0, -10.0, -40.0, -25.0, -40.0], 100)
    assert len(segments_of(SpeechOptions(), silence, decibels)) == 2
    assert segments_of(SpeechOptions(snr_thres=20.0), silence, decibels) == [(740, 2160)]


def test_a_dynamic_segment_needs_less_silence_the_longer_it_is():
    options = SpeechOptions(silence_mode="dynamic")
    wanted = {0: 1850, 10000: 1850, 10001: 850, 30000: 650, 60000: 50, 60001: 0, 10**9: 0}
    assert {length: options.end_silence_ms(length) for length in wanted} == wanted
    assert {SpeechOptions().end_silence_ms(length) for length in wanted} == {650}
    runs = [(True, 500), (False, 150), (True, 1000), (False, 150), (True, 100)]
    found = segments_of(SpeechOptions(silence_mode="dynamic", dynamic_interval_ms=1000), *frames_of(runs))
    assert found == [(0, 16660), (17740, 19000)]


def test_where_the_dynamic_mode_looks_at_the_length():
    """At frame 2996, as 30 s of samples give 2998 frames, of which two wait for what is stacked with them."""
    options = SpeechOptions(silence_mode="dynamic", dynamic_interval_ms=30000)
    looked_at, end_silence, widening = 2996, 65, 11
    found = segments_of(options, *frames_of([(True, 2901), (False, 1000)]))
    assert found == [(0, 10 * (looked_at - end_silence + widening + 1))]


def test_the_dynamic_length_begins_anew_after_a_cut():
    options = SpeechOptions(silence_mode="dynamic", dynamic_interval_ms=5000, max_single_segment_time=12000)
    found = segments_of(options, *frames_of([(True, 1600), (False, 120), (True, 100)]))
    assert found == [(0, 12010), (12010, 18200)]


@pytest.mark.parametrize(
    "change",
    [
        {"max_end_silence_time": -10},
        {"max_single_segment_time": 400},
        {"sil_to_speech_time_thres": 210},
        {"speech_to_sil_time_thres": 0},
        {"lookahead_time_end_point": -1},
        {"dynamic_interval_ms": 105},
        {"noise_frame_num_used_for_snr": 0},
        {"speech_2_noise_ratio": 0.0},
    ],
)
def test_options_that_cannot_be(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        SpeechOptions(**change)


def test_merging():
    segments = [SpeechSegment(500, 4000), SpeechSegment(4500, 9000), SpeechSegment(9000, 15500), SpeechSegment(20000, 60000)]
    assert merge_segments(segments, 15000) == [(500, 15500), (20000, 60000)]
    assert merge_segments(segments, 14999) == [(500, 9000), (9000, 15500), (20000, 60000)]
    assert merge_segments(segments, 0) == segments
    assert merge_segments([]) == []
