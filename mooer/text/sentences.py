"""Words and the marks after them, put together to sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

_HALF_WIDTH = {"，": ",", "、": ",", "。": ".", "？": "?"}


@dataclass(frozen=True)
class Sentence:
    """A stretch of words up to a mark, and which words they are."""

    text: str
    """With its mark; a space between two words unless both are of CJK characters."""
    first: int
    """Index of its first word."""
    last: int
    """Index of its last word."""


def split_sentences(words: Sequence[str], marks: Sequence[str], half_width: bool = False) -> list[Sentence]:
    """Cut words after each mark, commas too, as subtitles want it. Words after the last mark are a sentence without one.

    Args:
        marks: what stands after each word; empty where nothing does.
        half_width: whether the marks are written as in English.

    Raises:
        ValueError: not as many marks as words.
    """
    if len(words) != len(marks):
        raise ValueError(f"{len(words)} words have {len(marks)} marks; each word must have one, which may be empty")
    ends = [index for index, mark in enumerate(marks) if mark]
    if words and (not ends or ends[-1] < len(words) - 1):
        ends.append(len(words) - 1)
    begins = [0, *(end + 1 for end in ends)]
    if half_width:
        marks = [_HALF_WIDTH.get(mark, mark) for mark in marks]
    return [
        Sentence(_joined(words[begin : end + 1]) + marks[end], begin, end) for begin, end in zip(begins, ends, strict=False)
    ]


def _joined(words: Sequence[str]) -> str:
    text = ""
    for index, word in enumerate(words):
        is_apart = index and (word.isascii() or words[index - 1].isascii())
        text += f" {word}" if is_apart else word
    return text
