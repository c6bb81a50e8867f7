import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooer.common.errors import DataError
from mooer.common.marks import COMMA, MARKS, NO_MARK, PAUSE, PERIOD, QUESTION
from mooer.text.marks import read_marks
from mooer.text.word_list import build_word_list


def pairs(text, **options):
    read = read_marks(text, **options)
    return list(zip(read.words, read.marks, strict=True))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Hello, world.", [("hello", COMMA), ("world", PERIOD)]),
        ("今天很冷，你、我去吗？", list(zip("今天很冷你我去吗", [1, 1, 1, 2, 5, 1, 1, 4], strict=True))),
        ("it costs 3.5 dollars", [("it", 1), ("costs", 1), ("3.5", 1), ("dollars", 1)]),
        ('he said: "stop!"', [("he", NO_MARK), ("said", COMMA), ("stop", PERIOD)]),
        ("“好！”他说；", [("好", PERIOD), ("他", NO_MARK), ("说", COMMA)]),
        ("don't (really) stop -- ok?!", [("don't", 1), ("really", 1), ("stop", 1), ("ok", QUESTION)]),
        ("ok ， but", [("ok", COMMA), ("but", NO_MARK)]),
        ("what?。", [("what", QUESTION)]),
        ("C++ is 100%.", [("c++", 1), ("is", 1), ("100%", PERIOD)]),
        ("what ?yes", [("what", NO_MARK), ("yes", NO_MARK)]),
        ("好 ?", [("好", QUESTION)]),
        ("，。 !", []),
        ("", []),
    ],
)
def test_words_and_the_marks_after_them(text, wanted):
    assert pairs(text) == wanted


def test_the_pause_mark_is_its_own():
    assert pairs("书、信") == [("书", PAUSE), ("信", NO_MARK)]


def test_case_may_stay():
    assert pairs("AI, Yes", lower_case=False) == [("AI", COMMA), ("Yes", NO_MARK)]


@given(st.text(max_size=60))
def test_any_text_is_read(text):
    read = read_marks(text)
    assert len(read.words) == len(read.marks)
    assert all(word and not word.isspace() for word in read.words)
    assert set(read.marks) <= set(range(1, len(MARKS)))


@given(st.lists(st.tuples(st.sampled_from(["a", "it's", "天", "好", "3.5"]), st.integers(1, 5)), min_size=1, max_size=12))
def test_marks_that_are_written_are_read(words):
    text = " ".join(word + ("" if mark == NO_MARK else MARKS[mark]) for word, mark in words)
    assert pairs(text) == words


def test_the_list_of_words_has_the_most_frequent_ones():
    words = build_word_list(["B a, a. b c", "a 天 天 天？"], 7)
    assert words == ["<blank>", "<s>", "</s>", "a", "天", "b", "<unk>"]
    assert build_word_list(["A a"], 100, lower_case=False)[3:-1] == ["A", "a"]


def test_a_list_of_no_words():
    with pytest.raises(DataError):
        build_word_list(["， 。"], 10)
