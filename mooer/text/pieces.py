"""Pieces of words, as Paraformer writes them, put together to words and text.

A piece is a CJK character, a whole word, or a part of a word: all parts but the last end in `@@`.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from mooer.common.errors import DataError
from mooer.common.files import require_file
from mooer.text.cjk import CJK

CONTINUED = "@@"
# What the first ids of a token list must mean.
FIRST_TOKENS = ("<blank>", "<s>", "</s>")
END_ID = FIRST_TOKENS.index("</s>")
_SILENT = {*FIRST_TOKENS, "<unk>", "<OOV>"}
# Digits and the sign @ are characters here: nothing is put between them and their neighbours.
_CHARACTERS = re.compile(f"[{CJK}0-9@]+")
_LETTER = re.compile("[A-Za-z]")


@dataclass(frozen=True)
class PieceWord:
    """A word, and which pieces it is made of."""

    text: str
    first: int
    """Index of its first piece."""
    last: int
    """Index of its last piece."""
    is_spaced: bool
    """Whether a space keeps it apart from a neighbour of the same kind."""


def join_pieces(pieces: Sequence[str]) -> list[PieceWord]:
    """The words of the pieces; special tokens are left out.

    Letters that stand alone, two or more in a row, are an abbreviation: `a` `p` `p` become `APP`. Parts of a word that a
    character interrupts wait for the next word in letters, and their time goes to the character; parts without a next word are
    dropped. That is no better than other ways to read what a model should not write, but it is the reference's.
    """
    words: list[PieceWord] = []
    for is_letter, run in groupby(_words(pieces), key=lambda word: _LETTER.fullmatch(word.text) is not None):
        run = list(run)
        if is_letter and len(run) > 1:
            text = "".join(word.text for word in run).upper()
            run = [PieceWord(text, run[0].first, run[-1].last, is_spaced=True)]
        words += run
    return words


def _words(pieces: Sequence[str]) -> Iterator[PieceWord]:
    begun = ""  # the parts of a word that is not complete
    pending: tuple[int, int] | None = None  # first and last of them that no word has taken the time of
    for index, piece in enumerate(pieces):
        if piece in _SILENT:
            continue
        if _CHARACTERS.fullmatch(piece):
            yield PieceWord(piece, *(pending or (index, index)), is_spaced=False)
            pending = None
        elif CONTINUED in piece:
            begun += piece.replace(CONTINUED, "")
            pending = (pending[0] if pending else index, index)
        elif any(sign.isalpha() for sign in piece):
            yield PieceWord(begun + piece, pending[0] if pending else index, index, is_spaced=True)
            begun, pending = "", None
        else:
            yield PieceWord(piece, index, index, is_spaced=False)


def join_words(words: Sequence[PieceWord]) -> str:
    """The text of words: a space between neighbours in an alphabet, none around CJK characters and signs."""
    text, after_spaced = "", False
    for word in words:
        text += " " + word.text if after_spaced and word.is_spaced else word.text
        after_spaced = word.is_spaced
    return text


def read_token_list(path: str | Path) -> tuple[str, ...]:
    """The tokens of a tokens.json, a JSON list in the order of their ids.

    Raises:
        PathError: no such file.
        DataError: it is no list of texts, or does not begin with <blank>, <s>, </s>.
    """
    path = require_file(path, "token list")
    try:
        tokens = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"token list {path} is not JSON: {error}") from error
    if not isinstance(tokens, list) or not all(isinstance(token, str) and token for token in tokens):
        raise DataError(f"token list {path} must be a list of texts, none of them empty")
    if tuple(tokens[: len(FIRST_TOKENS)]) != FIRST_TOKENS:
        raise DataError(f"token list {path} must begin with {', '.join(FIRST_TOKENS)}; found {tokens[: len(FIRST_TOKENS)]}")
    return tuple(tokens)
