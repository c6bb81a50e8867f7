import itertools
import math
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.decode.timed_words import text_words, words_of_tokens
from mooer.text.tokenizer import build_bpe_tokenizer, decode_text, encode_text


@pytest.fixture(scope="module")
def tokenizer():
    return build_bpe_tokenizer(["one two three", "一二三"], 300, ["<|im_start|>user\n"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("你好，世界。", ["你", "好，", "世", "界。"]),
        ("Hello, world! it's 3.14 (ok)", ["Hello,", "world!", "it's", "3.14", "(ok)"]),
        ("“A股”涨了——对吧？", ["“A", "股”", "涨", "了——", "对", "吧？"]),
        ("日本語とenglish混在", ["日", "本", "語", "と", "english", "混", "在"]),
        ("café naïve", ["café", "naïve"]),
        ("a — b", ["a —", "b"]),
        ("", []),
    ],
)
def test_words_of_a_text(text, words):
    assert [text[start:end] for start, end in text_words(text)] == words


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="ab'1.，。 你好é𠀀-", max_size=30))
def test_words_hold_every_character_once(text):
    spans = text_words(text)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    assert "".join("".join(text[start:end].split()) for start, end in spans) == "".join(text.split())


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet="onetw 一二三四é𠀀,", min_size=1, max_size=12))
def test_times_grow_and_lie_within_the_tokens(tokenizer, text):
    tokens = encode_text(tokenizer, text)
    seconds = [(0.1 * index, 0.1 * index + 0.1) for index in range(len(tokens))]
    words = words_of_tokens(partial(decode_text, tokenizer), tokens, seconds, [-0.5] * len(tokens))
    assert "".join(word.text for word in words) == "".join(text.split())
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert all(0 <= time <= 100 * len(tokens) for time in times)
    assert all(word.confidence == pytest.approx(math.exp(-0.5), abs=5e-5) for word in words)


def test_bytes_of_one_character_and_the_tokens_of_one_word(tokenizer):
    tokens = encode_text(tokenizer, "四 one")
    count = len(encode_text(tokenizer, "四"))
    assert 1 < count < len(tokens), "a character that is no token of its own"
    seconds = [(float(index), index + 1.0) for index in range(len(tokens))]
    log_probs = [*[math.log(0.5)] * count, *[math.log(0.25)] * (len(tokens) - count)]
    first, second = words_of_tokens(partial(decode_text, tokenizer), tokens, seconds, log_probs)
    assert (first.text, first.start, first.end, first.confidence) == ("四", 0, 1000 * count, 0.5)
    assert (second.text, second.end, second.confidence) == ("one", 1000 * len(tokens), 0.25)
    assert second.start >= first.end
