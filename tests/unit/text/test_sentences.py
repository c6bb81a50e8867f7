import pytest

from mooer.text.sentences import Sentence, split_sentences


def test_split():
    words, marks = ["我", "用", "gpt", "四", "it's", "ok"], ["", "，", "", "", "", "。"]
    assert split_sentences(words, marks) == [Sentence("我用，", 0, 1), Sentence("gpt 四 it's ok。", 2, 5)]
    assert [item.text for item in split_sentences(words, marks, half_width=True)] == ["我用,", "gpt 四 it's ok."]


def test_words_after_the_last_mark():
    assert split_sentences(["a", "b", "c"], ["", "？", ""]) == [Sentence("a b？", 0, 1), Sentence("c", 2, 2)]


def test_no_words():
    assert split_sentences([], []) == []


def test_a_mark_for_each_word():
    with pytest.raises(ValueError, match="2 words have 1 marks"):
        split_sentences(["a", "b"], ["。"])
