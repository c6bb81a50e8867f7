import json

import pytest

from mooer.common.errors import DataError, PathError
from mooer.text.pieces import PieceWord, join_pieces, join_words, read_token_list


def joined(*pieces):
    return join_words(join_pieces(pieces))


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (("今", "天"), "今天"),
        (("hel@@", "lo", "world"), "hello world"),
        (("a", "p", "p", "好"), "APP好"),
        (("a",), "a"),
        (("i", "am", "a", "b"), "i am AB"),
        (("b2b", "mail"), "b2b mail"),
        (("3", "0", "km"), "30km"),
        (("カ", "メ"), "カメ"),
        (("<s>", "hel@@", "<unk>", "lo", "</s>"), "hello"),
        (("今", "hel@@"), "今"),
        (("hel@@", "今", "lo"), "今hello"),
        ((), ""),
    ],
)
def test_text(pieces, text):
    assert joined(*pieces) == text


def test_words_know_their_pieces():
    assert join_pieces(["<s>", "hel@@", "l@@", "o", "今", "a", "b"]) == [
        PieceWord("hello", 1, 3, True),
        PieceWord("今", 4, 4, False),
        PieceWord("AB", 5, 6, True),
    ]


def test_interrupted_word():
    """The character that interrupts has the time of the parts, the word in the end that of its last part."""
    assert join_pieces(["x@@", "y@@", "今", "天", "z"]) == [
        PieceWord("今", 0, 1, False),
        PieceWord("天", 3, 3, False),
        PieceWord("xyz", 4, 4, True),
    ]


def test_token_list(tmp_path):
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps(["<blank>", "<s>", "</s>", "今"], ensure_ascii=False), encoding="utf-8")
    assert read_token_list(path) == ("<blank>", "<s>", "</s>", "今")
    for text, message in (
        ("[", "is not JSON"),
        ('{"a": 1}', "list of texts"),
        ('["a", 1]', "list of texts"),
        ('["a"]', "begin with"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_token_list(path)
    with pytest.raises(PathError, match="does not exist"):
        read_token_list(tmp_path / "none.json")
