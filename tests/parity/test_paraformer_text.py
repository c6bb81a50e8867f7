"""Times of tokens, the joining of pieces and the cutting of sentences against the reference's."""

import json

import pytest

from mooer.decode.firing import milliseconds, token_spans
from mooer.text.pieces import join_pieces, join_words
from mooer.text.sentences import split_sentences

MARKS = ("", "", "，", "。", "？", "、")  # by the punctuation model's labels
SPECIAL = ("<s>", "</s>", "<unk>")


@pytest.fixture(scope="module")
def predictions(golden_paraformer):
    return json.loads((golden_paraformer / "timestamp_cases.json").read_text(encoding="utf-8"))["ts_prediction"]


def test_times_of_tokens(predictions):
    """To the millisecond, except that nothing begins before the recording does."""
    for case in predictions:
        chars = [char for char in case["chars"] if char != "</s>"]
        firings = [frame for frame, peak in enumerate(case["us_peaks"]) if peak >= 1 - 1e-4]
        unit, offset = 0.06 / case["kwargs"].get("upsample_rate", 3), case["kwargs"].get("vad_offset", 0.0) / 1000
        spans = token_spans(case["us_alphas"], len(chars), unit, firings)
        got = [list(milliseconds((begin + offset, end + offset))) for begin, end in spans]
        assert got == [[max(0, begin), end] for begin, end in case["timestamp"]], case["name"]
    assert sum(begin < 0 for case in predictions for begin, _ in case["timestamp"]) == 1


def test_times_without_given_firings(predictions):
    """The reference's own peaks are those of its weights, in all cases but the three that were made by hand."""
    computed = [case for case in predictions if case["name"].startswith("rand")]
    assert len(computed) == 14
    for case in computed:
        firings = [frame for frame, peak in enumerate(case["us_peaks"]) if peak >= 1 - 1e-4]
        number = sum(char != "</s>" for char in case["chars"])
        assert token_spans(case["us_alphas"], number, 0.02) == token_spans(case["us_alphas"], number, 0.02, firings)


def test_joined_pieces(golden_paraformer):
    cases = json.loads((golden_paraformer / "sentence_postprocess.json").read_text(encoding="utf-8"))
    for case in cases:
        words = join_pieces(case["tokens"])
        assert join_words(words) == case["sentence"], case
        assert [word.text for word in words] == case["words"] == case["words_ts"]
        assert " ".join(word.text for word in words) == case["sentence_ts"]


def test_times_of_joined_pieces(golden_paraformer):
    """The reference gives no time to a sign, so that all later words have another's; here each has its own."""
    cases = json.loads((golden_paraformer / "sentence_postprocess.json").read_text(encoding="utf-8"))
    shifted = []
    for case in cases:
        given = iter(case["ts_in"])
        spans = [None if token in SPECIAL else next(given) for token in case["tokens"]]
        got = [[spans[word.first][0], spans[word.last][1]] for word in join_pieces(case["tokens"])]
        if got != case["timestamps"]:
            shifted.append(case["tokens"])
            assert len(case["timestamps"]) < len(case["words_ts"]) == len(got)
    assert shifted == [["，", "你"]]


def test_sentences(golden_paraformer):
    """The reference puts a space before a sentence that begins with a word in letters; here there is none."""
    cases = json.loads((golden_paraformer / "timestamp_cases.json").read_text(encoding="utf-8"))["timestamp_sentence"]
    compared = 0
    for case in cases:
        words, times = case["text"].split(), case["timestamp"]
        if not len(words) == len(case["punc"]) == len(times) or max(case["punc"]) == 1:
            continue
        compared += 1
        marks = [MARKS[label] for label in case["punc"]]
        got = split_sentences(words, marks, half_width=case["fn"] == "timestamp_sentence_en")
        assert [item.text for item in got] == [item["text"].lstrip() for item in case["out"]]
        assert [times[item.first : item.last + 1] for item in got] == [item["timestamp"] for item in case["out"]]
        assert [times[item.first][0] for item in got] == [item["start"] for item in case["out"]]
    assert compared == 6


def test_sentences_where_the_reference_loses_words(golden_paraformer):
    """It drops words after the last mark, and pairs words with another's marks where their numbers differ."""
    cases = json.loads((golden_paraformer / "timestamp_cases.json").read_text(encoding="utf-8"))["timestamp_sentence"]
    (unmarked,) = [case for case in cases if case["punc"] == [1, 1, 1, 1] and case["fn"] == "timestamp_sentence"]
    assert unmarked["out"] == []
    assert [item.text for item in split_sentences(unmarked["text"].split(), [""] * 4)] == ["你好世界"]
    (short,) = [case for case in cases if case["punc"] == [1, 2, 1] and case["fn"] == "timestamp_sentence"]
    with pytest.raises(ValueError, match="4 words have 3 marks"):
        split_sentences(short["text"].split(), [MARKS[label] for label in short["punc"]])
