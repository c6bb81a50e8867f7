import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooer.common.errors import ConfigError
from mooer.pipeline.label_filters import FilterConfig, Labels, bounds, measure, reasons_to_reject
from mooer.text.normalize import get_normalizer

V1 = get_normalizer("mooer-v1")


def labels(**values):
    return Labels(**{"id": "u", "seconds": 2.0, "text": "Hello, world!", "confidence": 0.9} | values)


def judge(config=None, **values):
    item = labels(**values)
    config = config or FilterConfig()
    return reasons_to_reject(item, measure(item, get_normalizer(config.normalizer)), config)


def test_measures():
    found = measure(labels(second_text="hello word", translation="你好，世界！"), V1)
    assert found.confidence == 0.9
    assert found.disagreement == pytest.approx(1 / 10)  # helloworld, helloword
    assert found.characters_per_second == 5.0
    assert found.length_ratio == 2.0  # four characters for two words


def test_case_punctuation_and_spaces_are_no_disagreement():
    assert measure(labels(second_text="HELLO   WORLD"), V1).disagreement == 0
    strict = get_normalizer("none")
    assert measure(labels(second_text="HELLO WORLD!"), strict).disagreement > 0.5


def test_disagreement_is_symmetric_and_at_most_one():
    long = measure(labels(text="a", second_text="bcdefgh"), V1).disagreement
    assert long == measure(labels(text="bcdefgh", second_text="a"), V1).disagreement == 1.0
    assert measure(labels(second_text=""), V1).disagreement == 1.0


@pytest.mark.parametrize("text", ["", "...", "<unk>", "？！"])
def test_without_words_there_is_nothing_to_measure(text):
    found = measure(labels(text=text, second_text="a", translation="b"), V1)
    assert (found.disagreement, found.characters_per_second, found.length_ratio) == (None, None, None)
    assert judge(text=text, confidence=0.0, flags=("too_short",)) == ("empty_text", "too_short")


def test_an_empty_translation_is_not_an_absent_one():
    assert judge(translation=None) == ()
    assert judge(translation="") == ("empty_translation",)
    assert judge(translation="。") == ("empty_translation",)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"confidence": 0.69}, "low_confidence"),
        ({"second_text": "hello there"}, "disagreement"),
        ({"seconds": 11.0}, "characters_per_second"),
        ({"seconds": 0.3}, "characters_per_second"),
        ({"translation": "你好世界你好世"}, ""),
        ({"translation": "你好世界你好世界"}, "length_ratio"),
        ({"text": "one two three four", "translation": "一"}, "length_ratio"),
        ({"flags": ("repetition",)}, "repetition"),
        ({"flags": ("max_new_tokens",)}, "max_new_tokens"),
        ({"translation": "你好世界", "translation_flags": ("repetition",)}, "translation_repetition"),
        ({"translation": "你好世界", "translation_flags": ("max_new_tokens",)}, "translation_max_new_tokens"),
    ],
)
def test_each_reason(values, reason):
    assert judge(**values) == ((reason,) if reason else ())


def test_all_reasons_are_given():
    found = judge(confidence=0.1, seconds=60.0, second_text="x", translation="", flags=("repetition",))
    assert found == ("repetition", "low_confidence", "disagreement", "characters_per_second", "empty_translation")


def test_without_a_recogniser_no_confidence_is_asked_for():
    assert measure(labels(confidence=None), V1).confidence is None
    assert judge(FilterConfig(min_confidence=1.0), confidence=None) == ()
    assert judge(confidence=None, second_text="hello there") == ("disagreement",)


def test_flags_can_be_accepted():
    config = FilterConfig(accepted_flags=("repetition",))
    assert judge(config, flags=("repetition",), translation="你好世界", translation_flags=("repetition",)) == ()
    assert judge(config, flags=("repetition", "max_new_tokens")) == ("max_new_tokens",)


@given(
    confidence=st.floats(0, 1),
    low=st.floats(0, 1),
    seconds=st.floats(0.1, 30),
    rate=st.tuples(st.floats(0, 30), st.floats(0, 30)).map(sorted),
    second_text=st.sampled_from(["hello world", "hello word", "jello", ""]),
    most=st.floats(0, 1),
    translation=st.text("你好", min_size=1, max_size=9),
    ratio=st.tuples(st.floats(0, 5), st.floats(0, 5)).map(sorted),
)
def test_kept_is_what_lies_within_all_bounds(confidence, low, seconds, rate, second_text, most, translation, ratio):
    config = FilterConfig(
        min_confidence=low,
        max_disagreement=most,
        min_characters_per_second=rate[0],
        max_characters_per_second=rate[1],
        min_length_ratio=ratio[0],
        max_length_ratio=ratio[1],
    )
    item = labels(confidence=confidence, seconds=seconds, second_text=second_text, translation=translation)
    found = measure(item, V1)
    within = all(least <= getattr(found, name) <= largest for name, (least, largest) in bounds(config).items())
    assert within == (reasons_to_reject(item, found, config) == ())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_confidence": 1.1}, "min_confidence"),
        ({"max_disagreement": math.nan}, "max_disagreement"),
        ({"min_length_ratio": 4.0}, "max_length_ratio"),
        ({"min_characters_per_second": -1.0}, "characters_per_second"),
        ({"accepted_flags": ("too_short",)}, "too_short"),
        ({"normalizer": "nice"}, "nice"),
    ],
)
def test_wrong_bounds(settings, message):
    with pytest.raises(ConfigError, match=message):
        FilterConfig(**settings)
