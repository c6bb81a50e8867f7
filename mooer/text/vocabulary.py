"""The tokens of a model, from any kind of folder: a Hugging Face tokenizer, a published token list, a dictionary of characters.

A published list is tokens.json, with the pieces that Paraformer writes (`mooer.text.piece_tokenizer`); a dictionary is
lang_char.txt (`mooer.text.characters`).
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mooer.common.files import require_dir
from mooer.text.characters import DICTIONARY_FILE, read_dictionary
from mooer.text.piece_tokenizer import SEG_DICT_FILE, TOKENS_FILE, UNKNOWN, load_piece_tokenizer
from mooer.text.pieces import FIRST_TOKENS, join_pieces, join_words
from mooer.text.tokenizer import START_TOKEN, decode_text, encode_ctc_targets, load_tokenizer, save_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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
    unknown_id: int | None
    """What stands for all that has no token; None where everything has one."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; those that mark its ends, and the blank, are left out."""

    def save(self, folder: Path) -> None:
        """Write the files that `load_vocabulary` reads into an existing folder."""


def load_vocabulary(folder: str | Path) -> Vocabulary:
    """The vocabulary of a folder that holds tokens.json, lang_char.txt or a Hugging Face tokenizer; or of a dictionary's file.

    Raises:
        PathError, ConfigError, DataError: no such folder, no vocabulary in it, or a damaged one.
    """
    if Path(folder).is_file():
        return read_dictionary(folder)
    folder = require_dir(folder, "tokenizer folder")
    if (folder / TOKENS_FILE).exists():
        return PublishedVocabulary(folder)
    if (folder / DICTIONARY_FILE).exists():
        return read_dictionary(folder / DICTIONARY_FILE)
    return BpeVocabulary(load_tokenizer(folder))


class BpeVocabulary:
    """The tokens of a Hugging Face tokenizer; a first word is written as one inside of a sentence, as for CTC."""

    unknown_id = None

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer
        self.tokens = tuple(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))
        self.blank_id, self.end_id = tokenizer.pad_token_id, tokenizer.eos_token_id
        self.start_id = self.tokens.index(START_TOKEN) if START_TOKEN in self.tokens else self.end_id

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text."""
        return encode_ctc_targets(self._tokenizer, texts)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens left out."""
        return decode_text(self._tokenizer, ids)

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files."""
        save_tokenizer(self._tokenizer, folder)


class PublishedVocabulary:
    """The tokens of a published list; letters are lower-cased, and what has no token becomes <unk>.

    Args:
        folder: with tokens.json and perhaps seg_dict.

    Raises:
        PathError, DataError: as `load_piece_tokenizer`.
    """

    def __init__(self, folder: Path) -> None:
        self._tokenizer = load_piece_tokenizer(folder)
        self._files = [path for name in (TOKENS_FILE, SEG_DICT_FILE) if (path := folder / name).exists()]
        self.tokens = self._tokenizer.tokens
        self.blank_id, self.start_id, self.end_id = range(len(FIRST_TOKENS))
        self.unknown_id = self.tokens.index(UNKNOWN)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text."""
        return [self._tokenizer.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, as Paraformer's are joined."""
        return join_words(join_pieces([self.tokens[index] for index in ids]))

    def save(self, folder: Path) -> None:
        """Copy the files."""
        for path in self._files:
            shutil.copyfile(path, folder / path.name)
