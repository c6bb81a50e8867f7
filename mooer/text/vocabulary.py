"""The tokens of a model that reads text alone, from either kind of folder: a Hugging Face tokenizer, or a published token list.

A published list (tokens.json) is of pieces as Paraformer writes them; seg_dict beside it says of which pieces words are made.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mooer.common.errors import DataError
from mooer.common.files import require_dir, require_file
from mooer.text.cjk import CJK
from mooer.text.pieces import FIRST_TOKENS, read_token_list
from mooer.text.tokenizer import SPACE_SIGN, START_TOKEN, encode_ctc_targets, load_tokenizer, save_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENS_FILE = "tokens.json"
WORDS_FILE = "seg_dict"
UNKNOWN = "<unk>"

# A CJK character or a digit is a word of its own, whatever stands beside it.
_WORD = re.compile(rf"[{CJK}0-9]|[^\s{CJK}0-9]+")


class Vocabulary(Protocol):
    """Tokens, and the way from text to them."""

    tokens: tuple[str, ...]
    """By id."""
    blank_id: int
    """The token that stands for nothing: padding, and CTC's blank."""
    start_id: int
    """What stands before a sentence."""
    end_id: int
    """What ends a sentence."""

    def encode(self, texts: Sequence[str]) -> list[list[int] | None]:
        """The ids of each text; None for one with a word that has no token."""

    def save(self, folder: Path) -> None:
        """Write the files that `load_vocabulary` reads into an existing folder."""


def load_vocabulary(folder: str | Path) -> Vocabulary:
    """The vocabulary of a folder that holds tokens.json, or a Hugging Face tokenizer.

    Raises:
        PathError, ConfigError, DataError: no such folder, no vocabulary in it, or a damaged one.
    """
    folder = require_dir(folder, "tokenizer folder")
    return PublishedVocabulary.read(folder) if (folder / TOKENS_FILE).exists() else BpeVocabulary(load_tokenizer(folder))


class BpeVocabulary:
    """The tokens of a Hugging Face tokenizer; a first word is written as one inside of a sentence, as for CTC."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer
        self.tokens = tuple(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))
        self.blank_id, self.end_id = tokenizer.pad_token_id, tokenizer.eos_token_id
        self.start_id = self.tokens.index(START_TOKEN) if START_TOKEN in self.tokens else self.end_id

    def encode(self, texts: Sequence[str]) -> list[list[int] | None]:
        """The ids of each text; there are some for any text."""
        return list(encode_ctc_targets(self._tokenizer, texts))

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files."""
        save_tokenizer(self._tokenizer, folder)


class PublishedVocabulary:
    """The tokens of a published list; letters are lower-cased.

    Args:
        words: the pieces of each word; one that is not there must be a token itself.
        files: what to copy when it is saved.
    """

    def __init__(self, tokens: Sequence[str], words: Mapping[str, tuple[str, ...]], files: Sequence[Path] = ()) -> None:
        self.tokens = tuple(tokens)
        self.blank_id, self.start_id, self.end_id = range(len(FIRST_TOKENS))
        self._ids = {token: number for number, token in enumerate(self.tokens)}
        self._words, self._files = words, tuple(files)

    @classmethod
    def read(cls, folder: Path) -> "PublishedVocabulary":
        """That of tokens.json and, where there is one, seg_dict. Raises PathError or DataError."""
        tokens = read_token_list(folder / TOKENS_FILE)
        path = folder / WORDS_FILE
        files = [folder / TOKENS_FILE, *([path] if path.exists() else [])]
        return cls(tokens, read_words(path) if path.exists() else {}, files)

    def encode(self, texts: Sequence[str]) -> list[list[int] | None]:
        """The ids of each text; a word without a token becomes <unk>, where the list has one."""
        return [self._encode(text) for text in texts]

    def _encode(self, text: str) -> list[int] | None:
        words = _WORD.findall(text.replace(SPACE_SIGN, " ").lower())
        ids = [self._ids.get(piece, self._ids.get(UNKNOWN)) for word in words for piece in self._words.get(word, (word,))]
        return None if None in ids else ids

    def save(self, folder: Path) -> None:
        """Copy the files."""
        for path in self._files:
            shutil.copyfile(path, folder / path.name)


def read_words(path: str | Path) -> dict[str, tuple[str, ...]]:
    """The pieces of each word, from a file of lines `WORD PIECE...`.

    Raises:
        PathError: no such file.
        DataError: it is not UTF-8, or a word stands without pieces.
    """
    path = require_file(path, "list of words")
    words = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}") from error
    for number, line in enumerate(lines, start=1):
        word, *pieces = line.split() or [""]
        if word and not pieces:
            raise DataError(f"{path}:{number}: word {word!r} has no pieces")
        if word:
            words[word] = tuple(pieces)
    return words
