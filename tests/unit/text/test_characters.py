"""Dictionaries of characters: what is in them, texts to ids and back, and what lacks a token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooer.common.errors import ConfigError, DataError, PathError
from mooer.text.characters import CharacterDictionary, build_dictionary, read_dictionary, split_characters
from mooer.text.vocabulary import load_vocabulary

TEXTS = ["今天 天气", "OK 天", "<NOISE> 好"]


def test_special_tokens_sorted_characters_and_the_end():
    built = build_dictionary(TEXTS)
    characters = ["<", ">", "E", "I", "K", "N", "O", "S", "今", "天", "好", "气"]
    assert built.tokens == ("<blank>", "<unk>", "▁", *characters, "<sos/eos>")
    assert (built.blank_id, built.unknown_id, built.start_id, built.end_id) == (0, 1, 15, 15)


def test_marks_stay_whole():
    built = build_dictionary(TEXTS, marks=["<NOISE>", "<NOISE>S"])
    assert built.tokens == ("<blank>", "<unk>", "▁", "<NOISE>", "<NOISE>S", "K", "O", "今", "天", "好", "气", "<sos/eos>")
    assert built.encode(["<NOISE>天<NOISE>S", "<sos/eos>"]) == [[3, 8, 4], [1] * 9]
    assert built.decode([0, 3, 8, 2, 1, 11]) == "<NOISE>天 <unk>"


def test_the_rarest_characters_are_left_out_and_named():
    built = build_dictionary(["天天天 好好 今气", "今"], vocab_size=6)
    assert built.tokens == ("<blank>", "<unk>", "▁", "今", "天", "<sos/eos>")
    assert built.unknown(["天天天 好好 今气", "今"]) == {"好": 2, "气": 1}
    assert built.encode(["气 天"]) == [[built.unknown_id, 2, 4]]


def test_too_small_and_nothing_to_learn_from():
    with pytest.raises(ConfigError, match="special tokens and marks alone are 5"):
        build_dictionary(TEXTS, vocab_size=5, marks=["<NOISE>"])
    with pytest.raises(DataError, match="no characters"):
        build_dictionary([" ", "▁"])


@pytest.mark.parametrize("mark", ["x", "a b", "<unk>", "<sos/eos>", "a▁", ""])
def test_what_cannot_be_a_mark(mark):
    with pytest.raises(ConfigError, match="cannot be a mark"):
        build_dictionary(TEXTS, marks=[mark])


@given(st.lists(st.text(max_size=12), min_size=1, max_size=4))
def test_texts_come_back_with_single_spaces(texts):
    try:
        built = build_dictionary(texts)
    except DataError:
        assert not "".join(texts).replace("▁", "").strip()
        return
    for text, ids in zip(texts, built.encode(texts), strict=True):
        assert built.unknown_id not in ids
        assert built.decode(ids) == " ".join(text.split()).replace("▁", " ")
    assert not built.unknown(texts)


@given(st.lists(st.text(max_size=12), max_size=3))
def test_a_written_dictionary_is_read_back(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("dictionary")
    built = build_dictionary([*texts, "x"])
    built.save(folder)
    assert read_dictionary(folder / "lang_char.txt").tokens == built.tokens
    assert isinstance(load_vocabulary(folder), CharacterDictionary)


GOOD = "<blank> 0\n<unk> 1\n▁ 2\n天 3\n<sos/eos> 4\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("天 3", "天 4", r"lang_char\.txt:4: must be `TOKEN 3`, found '天 4'"),
        ("天 3", "天", r":4: must be `TOKEN 3`"),
        ("天 3", "天 03", r":4: must be"),
        ("天 3", " 3", r":4: must be"),
        ("天 3", "天 气 3", r":4: must be"),
        ("天 3\n", "\n", r":4: must be"),
        ("天 3", "天 3\r", r":4: must be"),
        ("天 3", "▁ 3", "token '▁' is there twice"),
        ("<unk> 1", "天 1", "begins with <blank>, 天 and ends with <sos/eos>"),
        ("<sos/eos> 4\n", "", "ends with 天"),
        (GOOD, "", ":1: must be `TOKEN 0`, found ''"),
    ],
)
def test_dictionaries_of_another_form(tmp_path, old, new, message):
    (tmp_path / "lang_char.txt").write_text(GOOD.replace(old, new, 1), encoding="utf-8", newline="")
    with pytest.raises(DataError, match=message):
        load_vocabulary(tmp_path)


def test_what_is_no_dictionary(tmp_path):
    with pytest.raises(PathError):
        read_dictionary(tmp_path / "none")
    (tmp_path / "latin").write_bytes(b"<blank> 0\n\xe9 1\n")
    with pytest.raises(DataError, match="is not UTF-8"):
        read_dictionary(tmp_path / "latin")
    with pytest.raises(DataError, match="is empty"):
        CharacterDictionary([])


def test_white_space_of_all_kinds_is_one_sign():
    assert split_characters(" a\t\u3000b\u2028 c ") == ["a", "▁", "b", "▁", "c"]
