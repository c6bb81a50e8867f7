"""Times of tokens and the joining of pieces against the reference's."""

import json

import pytest

from mooer.decode.firing import milliseconds, token_spans
from mooer.text.pieces import join_pieces, join_words

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
