"""Texts to characters, and the dictionary of a model that writes them, as WeNet's recipes have it (lang_char.txt).

A line is `TOKEN ID`: <blank> 0, <unk> 1, U+2581 (a space) 2, the other tokens sorted, and last <sos/eos>, which stands before a
sentence and after it. A token is a character, or a mark of several that stays whole, as <NOISE>.
"""

import functools
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from mooer.common.errors import ConfigError, DataError
from mooer.common.files import atomic_write, require_file
from mooer.text.tokenizer import SPACE_SIGN

DICTIONARY_FILE = "lang_char.txt"
BLANK, UNKNOWN, SENTENCE_END = "<blank>", "<unk>", "<sos/eos>"
_FIRST = (BLANK, UNKNOWN)
_SPECIAL = (*_FIRST, SPACE_SIGN, SENTENCE_END)


def split_characters(text: str, marks: Collection[str] = ()) -> list[str]:
    """The characters of a text, with U+2581 for each stretch of white space between them.

    Args:
        marks: what stays whole.
    """
    return _splitter(frozenset(marks)).findall(SPACE_SIGN.join(text.split()))


@functools.lru_cache(maxsize=4)
def _splitter(marks: frozenset[str]) -> re.Pattern[str]:
    longest_first = sorted(marks, key=lambda mark: (-len(mark), mark))
    return re.compile("|".join([*map(re.escape, longest_first), "."]), re.DOTALL)


class CharacterDictionary:
    """The tokens of a model that writes characters, the way from text to them and back: a `mooer.text.vocabulary.Vocabulary`.

    Args:
        tokens: in the order of their ids.

    Raises:
        DataError: they do not begin with <blank> and <unk> or do not end with <sos/eos>, or one of them is there twice.
    """

    blank_id, unknown_id = range(len(_FIRST))

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = tuple(tokens)
        self._ids = {token: index for index, token in enumerate(self.tokens)}
        if self.tokens[: len(_FIRST)] != _FIRST or self.tokens[-1] != SENTENCE_END:
            found = (
                f"begins with {', '.join(self.tokens[: len(_FIRST)])} and ends with {self.tokens[-1]}" if tokens else "is empty"
            )
            raise DataError(f"a dictionary begins with {', '.join(_FIRST)} and ends with {SENTENCE_END}; this one {found}")
        if len(self._ids) < len(self.tokens):
            (twice, _), *_ = Counter(self.tokens).most_common(1)
            raise DataError(f"token {twice!r} is there twice")
        self.start_id = self.end_id = len(self.tokens) - 1
        self._marks = frozenset(token for token in self.tokens if len(token) > 1 and token not in _SPECIAL)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text; a character without a token gets that of <unk>, and so does none that is written `<unk>`."""
        return [[self._ids.get(token, self.unknown_id) for token in split_characters(text, self._marks)] for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; <blank> and <sos/eos> are left out, <unk> stays."""
        silent = (self.blank_id, self.end_id)
        return "".join(self.tokens[index] for index in ids if index not in silent).replace(SPACE_SIGN, " ")

    def unknown(self, texts: Iterable[str]) -> Counter[str]:
        """How often each character that has no token occurs in the texts."""
        counts = Counter(token for text in texts for token in split_characters(text, self._marks))
        return Counter({token: count for token, count in counts.items() if token not in self._ids})

    def save(self, folder: Path) -> None:
        """Write lang_char.txt."""
        with atomic_write(folder / DICTIONARY_FILE) as stream:
            stream.writelines(f"{token} {index}\n" for index, token in enumerate(self.tokens))


def build_dictionary(texts: Iterable[str], vocab_size: int | None = None, marks: Collection[str] = ()) -> CharacterDictionary:
    """The dictionary of all characters that occur in texts, in the order of their code points.

    Args:
        vocab_size: most tokens in all; the rarest characters are left out, of equally rare ones the last. None sets no bound.
        marks: what else is a token, each a word of two or more characters.

    Raises:
        ConfigError: a mark that cannot be a token, or no room for the marks.
        DataError: no characters at all.
    """
    bad = next(
        (mark for mark in marks if len(mark) < 2 or mark.split() != [mark] or mark in _SPECIAL or SPACE_SIGN in mark), None
    )
    if bad is not None:
        raise ConfigError(
            f"{bad!r} cannot be a mark: it must be a word of two or more characters, and none of {', '.join(_SPECIAL)}"
        )
    counts = Counter(token for text in texts for token in split_characters(text, marks))
    characters = sorted(counts.keys() - {SPACE_SIGN, *marks}, key=lambda token: (-counts[token], token))
    if not characters:
        raise DataError("the texts hold no characters to make a dictionary of")
    fixed = len(_SPECIAL) + len(set(marks))
    room = len(characters) if vocab_size is None else vocab_size - fixed
    if room < 1:
        raise ConfigError(f"vocab_size {vocab_size} is too small: special tokens and marks alone are {fixed}")
    return CharacterDictionary([*_FIRST, SPACE_SIGN, *sorted({*characters[:room], *marks}), SENTENCE_END])


def read_dictionary(path: str | Path) -> CharacterDictionary:
    """The dictionary of a file, whose ids must be the numbers of its lines, from 0.

    Raises:
        PathError: no such file.
        DataError: another form, with file and line, or other tokens first or last.
    """
    path = require_file(path, "dictionary")
    try:
        lines = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"dictionary {path} is not UTF-8: {error}") from error
    tokens = []
    for number, line in enumerate(lines):
        token, _, index = line.rpartition(" ")
        if not token or " " in token or index != str(number):
            raise DataError(f"{path}:{number + 1}: must be `TOKEN {number}`, found {line!r}")
        tokens.append(token)
    try:
        return CharacterDictionary(tokens)
    except DataError as error:
        raise DataError(f"dictionary {path}: {error}") from error
