"""Texts to the tokens of a Paraformer: CJK characters and digits by themselves, words by a dictionary of their parts.

A published folder has the tokens in tokens.json and the parts of known words in seg_dict, `WORD PART ...` a line. Words are
written in lower case. `mooer.text.pieces` is the way back.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mooer.common.errors import ConfigError, DataError
from mooer.common.files import atomic_write, require_dir, require_file
from mooer.text.cjk import CJK
from mooer.text.pieces import CONTINUED, FIRST_TOKENS, read_token_list
from mooer.text.tokenizer import SPACE_SIGN

TOKENS_FILE = "tokens.json"
SEG_DICT_FILE = "seg_dict"
UNKNOWN = "<unk>"
_WORD_END = "</w>"
# A word with its apostrophes and hyphens; any other visible character stands by itself.
_UNIT = re.compile(rf"[^\W\d_{CJK}]+(?:['’-][^\W\d_{CJK}]+)*|\S")


def split_units(text: str) -> list[str]:
    """The words in letters of a text, in lower case, and its other characters (CJK, digits, signs) one by one."""
    return _UNIT.findall(unicodedata.normalize("NFC", text.replace(SPACE_SIGN, " ")).lower())


def is_word(unit: str) -> bool:
    """Whether a unit is written in letters, so that it may have parts."""
    return unit[0].isalpha() and re.match(f"[{CJK}]", unit) is None


class PieceTokenizer:
    """Encodes texts.

    Args:
        tokens: in the order of their ids; must hold <unk>.
        parts: the tokens of words. A word that is not there gets the fewest tokens that spell it, or else its letters.

    Raises:
        DataError: a token list without <unk>, or a part that it does not have.
    """

    def __init__(self, tokens: Sequence[str], parts: Mapping[str, Sequence[str]]) -> None:
        self.tokens = tuple(tokens)
        self._ids = {token: index for index, token in enumerate(self.tokens)}
        if UNKNOWN not in self._ids:
            raise DataError(f"the token list has no {UNKNOWN}, which stands for characters that it lacks")
        absent = next((part for own in parts.values() for part in own if part not in self._ids), None)
        if absent is not None:
            raise DataError(f"{SEG_DICT_FILE} has the part {absent!r}, which is no token")
        self._parts = {word: tuple(own) for word, own in parts.items()}
        self._longest = max(map(len, self.tokens))

    def encode(self, text: str) -> list[int]:
        """Token ids of a transcript, without an end of sequence."""
        unknown = self._ids[UNKNOWN]
        return [self._ids.get(piece, unknown) for unit in split_units(text) for piece in self.pieces(unit)]

    def pieces(self, unit: str) -> tuple[str, ...]:
        """The tokens of a unit; its letters, which may be no tokens, where it cannot be spelt."""
        if unit not in self._parts:
            found = self._fewest(unit) if is_word(unit) else (unit,)
            self._parts[unit] = tuple(unit) if found is None else found
        return self._parts[unit]

    def _fewest(self, word: str) -> tuple[str, ...] | None:
        """The fewest tokens that spell a word, the longest ones first; None if none do."""
        best: list[tuple[str, ...] | None] = [None] * len(word) + [()]
        for start in reversed(range(len(word))):
            for end in range(min(len(word), start + self._longest), start, -1):
                piece = word[start:end] + (CONTINUED if end < len(word) else "")
                rest = best[end]
                if piece in self._ids and rest is not None and (best[start] is None or len(rest) + 1 < len(best[start])):
                    best[start] = (piece, *rest)
        return best[0]


def load_piece_tokenizer(folder: str | Path) -> PieceTokenizer:
    """The tokenizer of a folder with tokens.json and, where words have parts of their own, seg_dict.

    Raises:
        PathError: no such folder, or no tokens.json in it.
        DataError: files that are damaged or contradict each other.
    """
    folder = require_dir(folder, "folder of tokens")
    tokens = read_token_list(folder / TOKENS_FILE)
    path = folder / SEG_DICT_FILE
    return PieceTokenizer(tokens, read_seg_dict(path) if path.exists() else {})


def read_seg_dict(path: str | Path) -> dict[str, tuple[str, ...]]:
    """The parts of words by word. Raises PathError or DataError."""
    path = require_file(path, "dictionary of word parts")
    parts = {}
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            word, *own = line.split()
            if not own:
                raise DataError(f"{path}, line {number}: {word!r} has no parts")
            parts[word] = tuple(own)
    except ValueError as error:
        raise DataError(f"{path} must have `WORD PART ...` a line in UTF-8: {error}") from error
    return parts


@dataclass(frozen=True)
class PieceVocabulary:
    """Tokens learnt from texts."""

    tokens: tuple[str, ...]
    parts: dict[str, tuple[str, ...]]
    """Of each word and character of the texts."""
    left_out: tuple[str, ...]
    """Characters that there was no room for."""

    def save(self, folder: str | Path) -> None:
        """Write tokens.json and seg_dict."""
        with atomic_write(Path(folder) / TOKENS_FILE) as stream:
            json.dump(self.tokens, stream, ensure_ascii=False, indent=0)
            stream.write("\n")
        with atomic_write(Path(folder) / SEG_DICT_FILE) as stream:
            stream.writelines(f"{word} {' '.join(own)}\n" for word, own in self.parts.items())


def build_pieces(texts: Iterable[str], vocab_size: int) -> PieceVocabulary:
    """At most `vocab_size` tokens: special ones, the letters that occur, other characters, parts of words.

    The most frequent other characters go first. Every letter is there alone and as the beginning of more, so that any word in
    these letters can be written. What room is left goes to parts of words, joined as byte-pair encoding does (Sennrich et al.
    2016).

    Raises:
        ConfigError: no room for the letters.
    """
    units = Counter(unit for text in texts for unit in split_units(text))
    words = {unit: count for unit, count in units.items() if is_word(unit)}
    letters = sorted({letter for word in words for letter in word})
    spelt = [form for letter in letters for form in (letter, letter + CONTINUED)]
    room = vocab_size - len(FIRST_TOKENS) - 1 - len(spelt)
    if room < 0:
        raise ConfigError(f"vocab_size {vocab_size} is too small: special tokens and letters need {vocab_size - room}")
    characters = sorted(units.keys() - words.keys(), key=lambda unit: (-units[unit], unit))
    kept, left_out = characters[:room], characters[room:]
    joined = [piece for piece in _joined_pieces(words, len(spelt) + room - len(kept)) if piece not in spelt]
    tokens = (*FIRST_TOKENS, *kept, *spelt, *joined[: room - len(kept)], UNKNOWN)
    tokenizer = PieceTokenizer(tokens, {})
    known = sorted((unit for unit in units if unit in words or unit in kept), key=lambda unit: (-units[unit], unit))
    return PieceVocabulary(tokens, {unit: tokenizer.pieces(unit) for unit in known}, tuple(left_out))


def _joined_pieces(words: Mapping[str, int], size: int) -> list[str]:
    """Letters and joined parts of words, the most frequent joins first, `size` at most where there are so many letters."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE(end_of_word_suffix=_WORD_END))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=size, end_of_word_suffix=_WORD_END, show_progress=False)
    backend.train_from_iterator((word for word, count in sorted(words.items()) for _ in range(count)), trainer)
    by_id = sorted(backend.get_vocab().items(), key=lambda item: item[1])
    return [piece.removesuffix(_WORD_END) if piece.endswith(_WORD_END) else piece + CONTINUED for piece, _ in by_id]
