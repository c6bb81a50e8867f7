"""Text with punctuation as words and the marks after them: what punctuation is learnt from, and scored by."""

import re
from dataclasses import dataclass

from mooer.common.marks import COMMA, NO_MARK, PAUSE, PERIOD, QUESTION

# Runs of ASCII characters, and each other character alone.
WORDS = re.compile(r"[^\s\u0080-\U0010ffff]+|[^\s\x00-\x7f]")

# The mark that each character stands for; those that are not learnt count as the nearest that is.
_MARK_OF = {
    **dict.fromkeys(",，;；:：", COMMA),
    **dict.fromkeys(".。!！", PERIOD),
    **dict.fromkeys("?？", QUESTION),
    "、": PAUSE,
}
# A word of ASCII characters without quotes and brackets around it, and the first mark after it.
_ASCII = re.compile(r"[\"'(\[{<]*(?P<word>.*?)[\"')\]}>]*(?P<mark>[,;:.!?]?)[,;:.!?\"')\]}>]*")
# What is no word and no mark: quotes, brackets, dashes and dots of text that is not ASCII.
_SILENT = frozenset("“”‘’「」『』《》〈〉（）【】〔〕［］｛｝—–…·～　")


@dataclass(frozen=True)
class MarkedText:
    """Words, and what stands after each."""

    words: tuple[str, ...]
    """Runs of ASCII characters, or single other characters."""
    marks: tuple[int, ...]
    """For each word its mark (`mooer.common.marks`), NO_MARK for none."""


def read_marks(text: str, lower_case: bool = True) -> MarkedText:
    """The words of a text and the marks after them.

    `!` counts as a full stop, `;` and `:` as commas; quotes, brackets, dashes and a mark without a word before it are left out.
    Of several marks in a row the first counts. A point inside of a word, as in 3.5, belongs to it.

    Args:
        lower_case: whether the words are written in lower case, as recognisers write them.
    """
    words: list[str] = []
    marks: list[int] = []
    for found in WORDS.findall(text):
        word, mark = _ascii_word(found) if found.isascii() else _other_word(found)
        if word:
            words.append(word.lower() if lower_case else word)
            marks.append(mark)
        elif marks and marks[-1] == NO_MARK:
            marks[-1] = mark
    return MarkedText(tuple(words), tuple(marks))


def _ascii_word(text: str) -> tuple[str, int]:
    match = _ASCII.fullmatch(text)
    word = match["word"].lstrip(",;:!?")
    return word if any(map(str.isalnum, word)) else "", _MARK_OF.get(match["mark"], NO_MARK)


def _other_word(character: str) -> tuple[str, int]:
    if character in _SILENT:
        return "", NO_MARK
    mark = _MARK_OF.get(character)
    return (character, NO_MARK) if mark is None else ("", mark)
