"""Reports: columns that line up, visible spaces, and the values for programs."""

import json

from mooer.score.bleu import score_bleu
from mooer.score.report import alignments, format_counts, summary, tables, to_values, worst_utterances
from mooer.score.wer import score_error_rate

REPORT = score_error_rate(
    {"a": "今天 HELLO 好", "b": "一", "c": "二", "d": "三四"}, {"a": "金 HELLO 吗好", "b": "一", "x": "五"}, "cer"
)


def test_alignment_lines_up():
    first = next(alignments(REPORT))
    assert first == (
        "utt: a\nCER: 75.00 % N=4 C=2 S=1 D=1 I=1\nref: 今 天 HELLO *  好\nhyp: 金 *  HELLO 吗 好\nerr: S  D        I\n\n"
    )


def test_summary_names_missing_extra_and_signature():
    text = summary(REPORT)
    assert "CER over 4 utterances, 3 of them with errors" in text
    assert f"Overall -> {format_counts(REPORT.counts)}" in text
    assert "missing: 2 references without a hypothesis, counted as all deleted: c d" in text
    assert "extra: 1 hypotheses without a reference, not counted: x" in text
    assert f"signature: {REPORT.signature}" in text


def test_summary_says_so_when_nothing_could_be_right():
    assert "the references are empty" in summary(score_error_rate({"a": ""}, {"a": "x"}, "wer"))


def test_long_lists_of_ids_are_cut():
    text = summary(score_error_rate({f"u{index}": "x" for index in range(30)}, {}, "wer"))
    assert "u19 and 10 more" in text


def test_values_are_json_and_add_up():
    values = json.loads(json.dumps(to_values(REPORT)))
    assert values["n"] == values["correct"] + values["substitutions"] + values["deletions"] == 8
    assert values["missing"] == ["c", "d"]
    assert values["utterances"] == 4
    assert values["normalizer"] == "compute-wer"
    assert set(to_values(score_bleu({"a": "x"}, {"a": "x"}))) >= {"metric", "score", "missing", "normalizer", "signature"}


def test_worst_come_first_and_right_ones_not_at_all():
    text = worst_utterances(REPORT, 2)
    assert [line for line in text.splitlines() if line.startswith("utt")] == ["utt: a", "utt: d"]
    assert "utt: b" not in worst_utterances(REPORT, 10)


def test_spaces_and_control_characters_are_visible():
    report = score_error_rate({"a": "x y"}, {"a": "xy\x01"}, "cer", "none")
    assert "␣" in tables(report, 10)
    assert "\\x01" in tables(report, 10)


def test_long_tables_are_cut():
    report = score_error_rate({"a": "a b c d"}, {"a": ""}, "wer")
    assert "deletions: 4 kinds, the first 2\n      1  A\n      1  B\n" in tables(report, 2)
