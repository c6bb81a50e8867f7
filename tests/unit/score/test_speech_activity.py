import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooer.common.errors import DataError
from mooer.common.speech_times import format_speech_times
from mooer.score.der import SpeakerTime
from mooer.score.speech_activity import score_speech_activity

STRETCHES = st.lists(st.integers(0, 200), max_size=12, unique=True).map(
    lambda values: list(zip(sorted(values)[::2], sorted(values)[1::2], strict=False))
)


@given(STRETCHES, STRETCHES, st.integers(0, 15))
def test_times_are_those_of_counting_every_millisecond(reference, hypothesis, collar):
    said, found = ({ms for start, end in row for ms in range(start, end)} for row in (reference, hypothesis))
    borders = [border for stretch in reference for border in stretch]
    ignored = {ms for border in borders for ms in range(border - collar, border + collar)}
    labels = [{"a": format_speech_times(row)} for row in (reference, hypothesis)]
    report = score_speech_activity(*labels, collar=collar / 1000)
    counts = (len(said - ignored), len(said - found - ignored), len(found - said - ignored))
    assert report.time == SpeakerTime(*(1000 * count for count in counts))


def test_totals_and_percent():
    report = score_speech_activity({"a": "0-1", "b": "0-3", "c": "-"}, {"a": "0.5-1.5", "b": "0-3", "x": "0-1"})
    assert report.time == SpeakerTime(4_000_000, 500_000, 500_000)
    assert report.time.percent == 25.0 and report.signature.startswith("metric:vad|collar:0s")
    assert report.missing == ("c",) and report.extra == ("x",)


def test_a_recording_that_was_not_looked_at_is_missed():
    assert score_speech_activity({"a": "0-1"}, {}).time == SpeakerTime(1_000_000, 1_000_000, 0)


def test_no_speech_at_all_is_no_division():
    assert score_speech_activity({"a": "-"}, {"a": "0-1"}).time.percent == 0.0


def test_faults_are_named():
    with pytest.raises(DataError, match="a: 'x' is no stretch"):
        score_speech_activity({"a": "x"}, {})
    with pytest.raises(DataError, match="no references"):
        score_speech_activity({}, {"a": "0-1"})
