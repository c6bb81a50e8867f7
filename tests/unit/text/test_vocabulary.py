"""Text to tokens without speech: published lists of pieces, and tokenizers."""

import json

import pytest

from mooer.common.errors import DataError, PathError
from mooer.text.tokenizer import build_bpe_tokenizer, save_tokenizer
from mooer.text.vocabulary import PublishedVocabulary, load_vocabulary

TOKENS = ["<blank>", "<s>", "</s>", "今", "天", "hel@@", "lo", "7", "ok", "<unk>"]


def write_pieces(folder, tokens=TOKENS, words="hello hel@@ lo\n今 今\n"):
    (folder / "tokens.json").write_text(json.dumps(tokens), encoding="utf-8")
    if words is not None:
        (folder / "seg_dict").write_text(words, encoding="utf-8")
    return folder


def test_words_become_pieces(tmp_path):
    vocabulary = load_vocabulary(write_pieces(tmp_path))
    assert vocabulary.encode(["今天 Hello", "ok7今", "今hello天", "no 今"]) == [
        [3, 4, 5, 6],
        [8, 7, 3],
        [3, 5, 6, 4],
        [9, 9, 3],
    ]
    assert (vocabulary.blank_id, vocabulary.start_id, vocabulary.end_id) == (0, 1, 2)


def test_what_stands_for_the_unknown(tmp_path):
    vocabulary = load_vocabulary(write_pieces(tmp_path))
    assert vocabulary.encode(["七"]) == [[vocabulary.unknown_id]]
    write_pieces(tmp_path, TOKENS[:-1])
    with pytest.raises(DataError, match="no <unk>"):
        load_vocabulary(tmp_path)


@pytest.mark.parametrize("words", [None, "hello hel@@ lo\n"])
def test_saved_pieces_are_the_same(tmp_path, words):
    (tmp_path / "copy").mkdir()
    vocabulary = load_vocabulary(write_pieces(tmp_path, words=words))
    vocabulary.save(tmp_path / "copy")
    again = load_vocabulary(tmp_path / "copy")
    assert isinstance(again, PublishedVocabulary)
    assert (again.tokens, again.encode(["hello 今"])) == (vocabulary.tokens, vocabulary.encode(["hello 今"]))


def test_a_tokenizer(tmp_path):
    save_tokenizer(build_bpe_tokenizer(["one two 词"], 300, []), tmp_path / "tokenizer")
    vocabulary = load_vocabulary(tmp_path / "tokenizer")
    first, second = vocabulary.encode(["one two", "two"])
    assert second == first[-len(second) :]
    assert len(second) < len(first)
    assert [vocabulary.tokens[number] for number in (vocabulary.blank_id, vocabulary.start_id, vocabulary.end_id)] == [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
    ]
    (tmp_path / "copy").mkdir()
    vocabulary.save(tmp_path / "copy")
    assert load_vocabulary(tmp_path / "copy").tokens == vocabulary.tokens


def test_refusals(tmp_path):
    with pytest.raises(PathError):
        load_vocabulary(tmp_path / "nowhere")
    write_pieces(tmp_path, words="hello\n")
    with pytest.raises(DataError, match="'hello' has no parts"):
        load_vocabulary(tmp_path)
