"""Error rates over a set: missing, extra and empty texts, and what the signature says."""

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooer.common.errors import ConfigError, DataError
from mooer.score.align import Counts
from mooer.score.tables import cluster, cluster_totals, error_tables
from mooer.score.wer import score_error_rate


def test_missing_hypotheses_count_as_all_deleted_and_extra_ones_not_at_all():
    report = score_error_rate({"a": "x y", "b": "x y z"}, {"b": "x y z", "c": "q"}, "wer")
    assert report.counts == Counts(correct=3, deletions=2)
    assert report.missing == ("a",)
    assert report.extra == ("c",)
    assert [utterance.id for utterance in report.utterances] == ["a", "b"]


@pytest.mark.parametrize(
    ("metric", "normalizer", "n"),
    [
        ("cer", "compute-wer", 5),  # 我 们 用 NEW IPHONE
        ("mer", "compute-wer", 5),
        ("wer", "compute-wer", 3),
        ("cer", "none", 14),
        ("mer", "none", 5),
        ("cer", "mooer-v1", 12),
    ],
)
def test_units_of_each_metric(metric, normalizer, n):
    text = {"a": "我们用 new iPhone"}
    assert score_error_rate(text, text, metric, normalizer).counts == Counts(correct=n)


def test_empty_references():
    assert score_error_rate({"a": ""}, {"a": ""}, "wer").counts == Counts()
    report = score_error_rate({"a": ""}, {"a": "x"}, "wer")
    assert report.counts == Counts(insertions=1)
    assert report.counts.percent == 0.0


def test_signature_names_what_the_figure_depends_on():
    signature = score_error_rate({"a": "x"}, {}, "cer").signature
    for part in ("metric:cer", "normalizer:compute-wer.1", "unit:cjk-char+word", "case:upper", "missing:deleted"):
        assert part in signature.split("|")


def test_wrong_requests_are_errors():
    with pytest.raises(ConfigError, match="metric 'per' is unknown; allowed: cer, wer, mer"):
        score_error_rate({"a": "x"}, {}, "per")
    with pytest.raises(ConfigError, match="compute-wer"):
        score_error_rate({"a": "x"}, {}, "cer", "computewer")
    with pytest.raises(DataError, match="no references"):
        score_error_rate({}, {"a": "x"}, "cer")


@pytest.mark.parametrize(
    ("unit", "kind"),
    [
        ("天", "Mandarin"),
        ("DON'T", "English"),
        ("CAFÉ", "English"),
        ("12", "Number"),
        ("は", "Japanese"),
        ("MP3", "Other"),
        ("-", "Other"),
        ("\x01", "Other"),
        ("，", "Other"),
    ],
)
def test_kind_of_a_unit(unit, kind):
    assert cluster(unit) == kind


def test_cluster_totals_add_up_to_the_whole():
    report = score_error_rate({"a": "今天 MEETING 10 点"}, {"a": "今天天 MEETING 11 点"}, "cer")
    totals = cluster_totals(report)
    assert totals["Mandarin"] == Counts(correct=3, insertions=1)
    assert sum(totals.values(), Counts()) == report.counts


def test_error_tables_count_each_error_once():
    tables = error_tables(score_error_rate({"a": "a b c", "b": "a b c"}, {"a": "x b c d", "b": "x b"}, "wer"))
    assert tables.substitutions == [(("A", "X"), 2)]
    assert tables.deletions == [("C", 1)]
    assert tables.insertions == [("D", 1)]


@given(st.text("ab 中", min_size=1), st.text("ab 中"))
def test_normalizer_none_agrees_with_jiwer(reference, hypothesis):
    for metric, measure in (("wer", jiwer.wer), ("cer", jiwer.cer)):
        counts = score_error_rate({"a": reference}, {"a": hypothesis}, metric, "none").counts
        if counts.n:
            assert counts.percent == pytest.approx(100 * measure(reference, hypothesis))
