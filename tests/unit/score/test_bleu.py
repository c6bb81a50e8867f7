"""BLEU: sacrebleu's figure and signature, the tokenizer of the language, missing texts."""

import pytest
import sacrebleu

from mooer.common.errors import ConfigError, DataError
from mooer.score.bleu import score_bleu

ENGLISH = {"a": "The weather is fine today, let us go.", "b": "Hello world, today is Friday."}
CHINESE = {"a": "今天天气很好我们去公园散步", "b": "我用 iPhone 打电话给你"}


def test_score_is_sacrebleus():
    hypotheses = {"a": "The weather is good today, let us go.", "b": "Hello world, it is Friday."}
    report = score_bleu(ENGLISH, hypotheses)
    expected = sacrebleu.corpus_bleu(list(hypotheses.values()), [list(ENGLISH.values())])
    assert report.score == pytest.approx(expected.score)
    assert 0 < report.score < 100
    assert "tok:13a" in report.signature
    assert f"version:{sacrebleu.__version__}" in report.signature


@pytest.mark.parametrize(
    ("references", "language", "tokenizer"),
    [
        (CHINESE, None, "zh"),
        (ENGLISH, None, "13a"),
        (CHINESE, "en", "13a"),
        (ENGLISH, "zh-CN", "zh"),
        (ENGLISH, "de", "13a"),
    ],
)
def test_tokenizer_follows_the_language(references, language, tokenizer):
    report = score_bleu(references, references, language)
    assert f"tok:{tokenizer}" in report.signature


def test_missing_hypotheses_are_scored_as_empty():
    report = score_bleu(ENGLISH, {"b": ENGLISH["b"], "c": "extra"})
    assert report.missing == ("a",)
    assert report.extra == ("c",)
    assert report.utterances == 2
    assert report.score < 60


def test_normalizer_cleans_both_sides():
    assert score_bleu(ENGLISH, {name: text.upper() for name, text in ENGLISH.items()}).score < 50
    report = score_bleu(ENGLISH, {name: text.upper() for name, text in ENGLISH.items()}, normalizer="mooer-v1")
    assert report.score == pytest.approx(100)
    assert "normalizer:mooer-v1.1" in report.signature


def test_nothing_to_score():
    with pytest.raises(DataError, match="no references"):
        score_bleu({}, {"a": "x"})
    with pytest.raises(ConfigError, match="unknown"):
        score_bleu(ENGLISH, ENGLISH, normalizer="v9")
    assert score_bleu({"a": ""}, {"a": ""}).score == 0.0
