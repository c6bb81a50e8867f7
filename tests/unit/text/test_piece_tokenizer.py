import pytest

from mooer.common.errors import ConfigError, DataError, PathError
from mooer.text.piece_tokenizer import PieceTokenizer, build_pieces, load_piece_tokenizer, split_units
from mooer.text.pieces import join_pieces, join_words

TEXTS = ["the teacher reads", "the readers read 今天 3 book(s)", "it's 天气", "a well-read teacher"] * 3
SPECIAL = ("<blank>", "<s>", "</s>")


@pytest.fixture(scope="module")
def vocabulary():
    return build_pieces(TEXTS, 80)


@pytest.fixture
def tokenizer(vocabulary):
    return PieceTokenizer(vocabulary.tokens, vocabulary.parts)


def pieces(tokenizer, text):
    return [tokenizer.tokens[index] for index in tokenizer.encode(text)]


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("Hello 今天world", ["hello", "今", "天", "world"]),
        ("it's a well-known 30km", ["it's", "a", "well-known", "3", "0", "km"]),
        ("a\u2581b, c!", ["a", "b", ",", "c", "!"]),
        ("'tis -", ["'", "tis", "-"]),
        ("", []),
    ],
)
def test_units(text, units):
    assert split_units(text) == units


def test_what_is_learnt(vocabulary):
    tokens = vocabulary.tokens
    assert tokens[:3] == SPECIAL and tokens[-1] == "<unk>"
    assert len(tokens) == len(set(tokens)) <= 80
    assert {"今", "天", "3", "(", "a", "a@@", "read", "teacher", "the"} <= set(tokens)
    assert vocabulary.parts["the"] == ("the",)
    assert vocabulary.left_out == ()


@pytest.mark.parametrize("text", [*TEXTS, "red hats are there", "天the"])
def test_texts_come_back(tokenizer, text):
    """Known words and others in known letters; a word is never spelt with more tokens than it has letters."""
    found = pieces(tokenizer, text)
    assert "<unk>" not in found
    assert join_words(join_pieces(found)).replace(" ", "") == text.replace(" ", "")


def test_unknown_words_are_spelt_with_the_fewest_parts():
    tokens = [*SPECIAL, "a@@", "b@@", "c", "ab@@", "bc", "abc@@", "d", "x", "y", "<unk>"]
    tokenizer = PieceTokenizer(tokens, {"known": ("x", "y")})
    assert pieces(tokenizer, "abc") == ["ab@@", "c"]
    assert pieces(tokenizer, "ABCD") == ["abc@@", "d"]
    assert pieces(tokenizer, "known") == ["x", "y"]
    assert pieces(tokenizer, "xy") == ["x", "y"]  # no parts spell it: its letters
    assert pieces(tokenizer, "xz今") == ["x", "<unk>", "<unk>"]


def test_small_sizes():
    vocabulary = build_pieces(["ab ab b 今今今 天"], 9)
    assert vocabulary.tokens == (*SPECIAL, "今", "a", "a@@", "b", "b@@", "<unk>")
    assert vocabulary.left_out == ("天",)
    assert vocabulary.parts == {"今": ("今",), "ab": ("a@@", "b"), "b": ("b",)}
    with pytest.raises(ConfigError, match="vocab_size 7 is too small: special tokens and letters need 8"):
        build_pieces(["ab ab"], 7)


def test_saved_and_loaded(vocabulary, tokenizer, tmp_path):
    vocabulary.save(tmp_path)
    again = load_piece_tokenizer(tmp_path)
    for text in (*TEXTS, "red hats"):
        assert again.encode(text) == tokenizer.encode(text)
    (tmp_path / "seg_dict").unlink()
    assert pieces(load_piece_tokenizer(tmp_path), "the 今天") == ["the", "今", "天"]


@pytest.mark.parametrize(
    ("seg_dict", "message"), [("the the\nword\n", "line 2: 'word' has no parts"), ("the th@@ e e@@@\n", "which is no token")]
)
def test_damaged_dictionaries(vocabulary, tmp_path, seg_dict, message):
    vocabulary.save(tmp_path)
    (tmp_path / "seg_dict").write_text(seg_dict)
    with pytest.raises(DataError, match=message):
        load_piece_tokenizer(tmp_path)


def test_missing_things(tmp_path):
    with pytest.raises(PathError, match=r"tokens\.json"):
        load_piece_tokenizer(tmp_path)
    with pytest.raises(DataError, match="<unk>"):
        PieceTokenizer([*SPECIAL, "a"], {})
