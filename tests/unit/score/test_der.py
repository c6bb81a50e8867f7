"""Diarization error rates: cases computed by hand, and figures of pyannote.metrics."""

import random

import pytest

from mooer.common.errors import ConfigError, DataError
from mooer.score.der import DerConfig, SpeakerTime, score_diarization
from mooer.text.rttm import TimedTurn


def turns(*rows):
    """Rows of (start in ms, end in ms, speaker)."""
    return [TimedTurn(1000 * start, 1000 * end, speaker) for start, end, speaker in rows]


def score(reference, hypothesis, collar=0.0, skip_overlap=False):
    config = DerConfig(collar=collar, skip_overlap=skip_overlap)
    return score_diarization({"a": turns(*reference)}, {"a": turns(*hypothesis)}, config).recordings[0]


def milliseconds(time):
    return [value / 1000 for value in (time.speech, time.missed, time.false_alarm, time.confusion)]


REFERENCE = [(0, 4000, "A"), (4000, 10000, "B")]


@pytest.mark.parametrize(
    ("hypothesis", "expected"),
    [
        ([(0, 4000, "x"), (4000, 10000, "y")], [10000, 0, 0, 0]),
        ([(0, 4000, "B"), (4000, 10000, "A")], [10000, 0, 0, 0]),  # names mean nothing
        ([(1000, 4000, "x"), (4000, 9000, "y")], [10000, 2000, 0, 0]),
        ([(0, 4000, "x"), (4000, 12000, "y")], [10000, 0, 2000, 0]),
        ([(0, 10000, "x")], [10000, 0, 0, 4000]),  # x is B, who speaks longer
        ([(0, 5000, "x"), (5000, 10000, "y")], [10000, 0, 0, 1000]),
        ([(0, 4000, "x"), (4000, 7000, "y"), (7000, 10000, "z")], [10000, 0, 0, 3000]),
        ([(0, 4000, "x"), (2000, 10000, "y")], [10000, 0, 2000, 0]),  # two guesses for one speaker
        ([(0, 4000, "x"), (1000, 3000, "x"), (4000, 10000, "y")], [10000, 0, 0, 0]),  # one speaker talks once
        ([], [10000, 10000, 0, 0]),
    ],
)
def test_by_hand(hypothesis, expected):
    assert milliseconds(score(REFERENCE, hypothesis).time) == expected


def test_the_collar_is_on_each_side_of_each_border_of_the_reference():
    # Left to score: 250 to 3750 and 4250 to 9750. x is B: the confusion is A's 3500.
    recording = score(REFERENCE, [(0, 12000, "x")], collar=0.25)
    assert milliseconds(recording.time) == [9000, 0, 1750, 3500]
    assert recording.mapping == {"B": "x"}
    assert recording.num_speakers == (2, 1)
    assert score(REFERENCE, [(0, 4200, "x"), (4200, 10000, "y")], collar=0.25).time.errors == 0
    assert score(REFERENCE, [(0, 4300, "x"), (4300, 10000, "y")], collar=0.25).time.confusion == 50_000


def test_the_default_collar_is_a_quarter_of_a_second():
    report = score_diarization({"a": turns(*REFERENCE)}, {"a": turns(*REFERENCE)})
    assert report.time.speech == 9_000_000
    assert "collar:0.25s-each-side|overlap:scored" in report.signature


def test_overlap_counts_for_each_speaker_unless_it_is_skipped():
    reference = [(0, 6000, "A"), (4000, 10000, "B")]
    hypothesis = [(0, 5000, "x"), (5000, 10000, "y")]
    assert milliseconds(score(reference, hypothesis).time) == [12000, 2000, 0, 0]
    assert milliseconds(score(reference, hypothesis, skip_overlap=True).time) == [8000, 0, 0, 0]


def test_mapping_is_the_best_of_all_not_the_best_of_each():
    # x shares 5 s with A and 4 s with B, y shares 4 s with A only.
    reference = [(0, 9000, "A"), (9000, 13000, "B")]
    hypothesis = [(0, 5000, "x"), (5000, 9000, "y"), (9000, 13000, "x")]
    recording = score(reference, hypothesis)
    assert recording.mapping == {"A": "y", "B": "x"}
    assert milliseconds(recording.time) == [13000, 0, 0, 5000]


# What pyannote.metrics 4.2.0 gives: DiarizationErrorRate(collar=2 * collar, skip_overlap=...), in seconds.
@pytest.mark.parametrize(
    ("collar", "skip_overlap", "expected"),
    [
        (0.0, False, [20.356, 12.564, 17.573, 0.919]),
        (0.0, True, [13.632, 8.16, 17.573, 0.919]),
        (0.1, False, [18.782, 11.69, 17.422, 0.819]),
        (0.1, True, [12.458, 7.586, 17.422, 0.819]),
        (0.25, False, [16.682, 10.64, 17.272, 0.669]),
        (0.25, True, [10.958, 6.986, 17.272, 0.669]),
    ],
)
def test_as_pyannote_metrics(collar, skip_overlap, expected):
    reference = [(2466, 5902, "R1"), (11323, 17207, "R0"), (13845, 19352, "R1"), (19353, 21371, "R1")]
    reference += [(21421, 24758, "R1"), (1851, 2025, "R2")]
    hypothesis = [(25815, 30461, "H2"), (23839, 26345, "H3"), (14887, 18737, "H1"), (30511, 31359, "H2")]
    hypothesis += [(27045, 28619, "H3"), (26742, 30792, "H0"), (18738, 21812, "H1"), (30842, 35659, "H0")]
    time = score(reference, hypothesis, collar, skip_overlap).time
    assert milliseconds(time) == [1000 * seconds for seconds in expected]


def test_order_of_turns_and_names_of_speakers_change_nothing():
    draw = random.Random(1)
    rows = [(start, start + draw.randint(100, 4000), draw.choice("ABC")) for start in range(0, 20000, 900)]
    guesses = [(start, start + draw.randint(100, 4000), draw.choice("xyz")) for start in range(0, 20000, 1100)]
    renamed = [(start, end, {"x": "z", "y": "x", "z": "y"}[name]) for start, end, name in reversed(guesses)]
    first, second = score(rows, guesses, 0.25), score(rows[::-1], renamed, 0.25)
    assert first.time == second.time
    assert min(first.time.missed, first.time.false_alarm, first.time.confusion) > 0


def test_recordings_add_up_and_missing_ones_are_all_missed():
    references = {"a": turns(*REFERENCE), "b": turns((0, 3000, "C"))}
    report = score_diarization(references, {"a": turns((0, 10000, "x")), "c": turns((0, 9000, "y"))}, DerConfig(collar=0.0))
    assert report.time == SpeakerTime(13_000_000, 3_000_000, 0, 4_000_000)
    assert report.time.percent == pytest.approx(100 * 7 / 13)
    assert (report.missing, report.extra) == (("b",), ("c",))


def test_a_reference_without_speech_has_rate_0():
    time = score([(1000, 1000, "A")], [(0, 1000, "x")]).time
    assert (time.percent, time.false_alarm) == (0.0, 1_000_000)


def test_what_cannot_be_scored():
    with pytest.raises(DataError, match="no references"):
        score_diarization({}, {})
    for collar in (-0.1, float("nan")):
        with pytest.raises(ConfigError, match="collar"):
            DerConfig(collar=collar)
