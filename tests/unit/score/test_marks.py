import pytest

from mooer.common.errors import DataError
from mooer.common.marks import COMMA, PAUSE, PERIOD, QUESTION
from mooer.score.marks import MarkCounts, score_marks
from mooer.score.report import summary, to_values


def counts(reference, hypothesis):
    report = score_marks({"a": reference}, {"a": hypothesis})
    return {mark: count for mark, count in report.marks.items() if count != MarkCounts()}


def test_marks_of_equal_words():
    assert counts("Yes, no. is it? 书、信", "yes no. Is it. 书，信。") == {
        COMMA: MarkCounts(missed=1, added=1),
        PERIOD: MarkCounts(right=1, added=2),
        QUESTION: MarkCounts(missed=1),
        PAUSE: MarkCounts(missed=1),
    }


def test_a_misheard_word_keeps_its_mark():
    assert counts("we see it, now", "we sea it, now") == {COMMA: MarkCounts(right=1)}
    assert counts("we see, now", "we sea, now") == {COMMA: MarkCounts(right=1)}


def test_marks_of_words_of_one_side_alone():
    assert counts("yes no.", "yes.") == {PERIOD: MarkCounts(missed=1, added=1)}
    assert counts("yes.", "yes. well,") == {PERIOD: MarkCounts(right=1), COMMA: MarkCounts(added=1)}


def test_half_and_full_width_are_the_same():
    assert counts("好,是？", "好，是?") == {COMMA: MarkCounts(right=1), QUESTION: MarkCounts(right=1)}


def test_percent():
    count = MarkCounts(right=3, missed=1, added=2)
    assert (count.precision, count.recall) == (60.0, 75.0)
    assert count.f1 == pytest.approx(2 * 60 * 75 / 135)
    assert (MarkCounts().f1, MarkCounts().precision, MarkCounts().recall) == (0.0, 0.0, 0.0)


def test_the_report():
    report = score_marks({"a": "yes. no?", "b": "well."}, {"a": "yes. no", "c": "x."})
    values = to_values(report)
    assert values["missing"] == ["b"] and values["extra"] == ["c"]
    assert values["marks"]["。"]["missed"] == 1 and values["marks"]["。"]["right"] == 1
    assert (values["right"], values["missed"], values["added"]) == (1, 2, 0)
    text = summary(report)
    assert "。 -> F1 66.67 %" in text and "、" not in text.split("signature")[0] and "1 references without" in text


def test_no_references():
    with pytest.raises(DataError):
        score_marks({}, {})
