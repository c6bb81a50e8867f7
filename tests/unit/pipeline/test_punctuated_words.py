import string
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.common.marks import COMMA, MARKS, NO_MARK, PERIOD, QUESTION
from mooer.decode.hypothesis import Word
from mooer.pipeline.punctuated_words import punctuate, sentences_of_segments, words_of
from mooer.pipeline.punctuation import MarkedWord, Punctuated
from mooer.pipeline.transcription import DecodedSegment
from mooer.text.cjk import join_texts
from mooer.text.marks import WORDS as MARKED_WORDS


class Marks:
    """Puts given marks after the words that a punctuator finds; the last one ends a sentence."""

    def __init__(self, marks, style="published"):
        self.config, self._marks = SimpleNamespace(style=style), marks

    def __call__(self, text):
        found = list(MARKED_WORDS.finditer(text))
        marks = [*(self._marks * len(found))[: max(0, len(found) - 1)], PERIOD][: len(found)]
        words = [MarkedWord(match.group(), match.start(), mark) for match, mark in zip(found, marks, strict=True)]
        return Punctuated("".join(word.text + MARKS[word.mark].strip("_") for word in words), tuple(words))


def timed(start, *texts):
    words = tuple(Word(text, start + 100 * index, start + 100 * index + 80, 0.5) for index, text in enumerate(texts))
    return DecodedSegment(start=start, end=start + 1000, num_samples=16000, text=" ".join(texts), words=words)


def untimed(start, text):
    return DecodedSegment(start=start, end=start + 1000, num_samples=16000, text=text)


WORDS = st.text(alphabet=string.ascii_letters + "0159'.,?-%é你好。，", min_size=1, max_size=6)
SEGMENTS = st.lists(st.lists(WORDS, max_size=6), max_size=6)


@settings(max_examples=100, deadline=None)
@given(SEGMENTS, st.lists(st.sampled_from([NO_MARK, COMMA, PERIOD, QUESTION]), min_size=1, max_size=5), st.booleans())
def test_every_word_is_in_one_sentence_with_its_time(texts, marks, is_tidy):
    segments = [timed(1000 * index, *words) for index, words in enumerate(texts)]
    _, sentences = punctuate(segments, Marks(marks, "tidy" if is_tidy else "published"))
    words = [word for segment in segments for word in segment.words]
    assert [word for sentence in sentences for word in sentence.words] == words
    assert all((item.start, item.end) == (item.words[0].start, item.words[-1].end) for item in sentences)
    assert [item.start for item in sentences] == sorted(item.start for item in sentences)


def test_sentences_end_at_marks_across_segments():
    segments = [timed(0, "我", "用"), timed(1000), timed(2000, "gpt", "四", "ok")]
    text, sentences = punctuate(segments, Marks([NO_MARK, NO_MARK, COMMA, NO_MARK]))
    assert text == "我用gpt，四ok。"
    assert [(item.text, item.start, item.end) for item in sentences] == [("我用 gpt，", 0, 2080), ("四 ok。", 2100, 2280)]


def test_tidy_sentences_begin_with_a_capital_and_have_marks_of_their_width():
    segments = [timed(0, "hello", "there", "GPT", "我")]
    _, sentences = punctuate(segments, Marks([COMMA, QUESTION, PERIOD], "tidy"))
    assert [item.text for item in sentences] == ["Hello,", "there?", "GPT.", "我。"]


def test_segments_without_times_are_sentences_with_their_marks_inside():
    segments = [untimed(0, "你好吗 café ok"), untimed(1000, ""), timed(2000, "好"), untimed(3000, "three four")]
    _, sentences = punctuate(segments, Marks([NO_MARK, COMMA, NO_MARK, NO_MARK, QUESTION]))
    assert [(item.text, item.start, item.end, len(item.words)) for item in sentences] == [
        ("你好，吗 café？ ok", 0, 1000, 0),
        ("好，", 2000, 2080, 1),
        ("three four。", 3000, 4000, 0),
    ]


def test_without_marks_a_segment_is_a_sentence():
    found = sentences_of_segments([timed(0, "我", "ok"), timed(1000), untimed(2000, "a  b")])
    assert [(item.text, item.start, item.end, len(item.words)) for item in found] == [
        ("我 ok", 0, 1000, 2),
        ("a b", 2000, 3000, 0),
    ]


def test_words_have_no_white_space():
    segment = timed(0, "a b", " ", "c")
    assert [word.text for word in words_of(segment)] == ["ab", "c"]
    assert words_of(untimed(0, "a")) is None


@pytest.mark.parametrize(("texts", "joined"), [(["你", "好", "ok", "", "a"], "你好 ok a"), ([], "")])
def test_joining(texts, joined):
    assert join_texts(texts) == joined
