"""Punctuation of a text of any length, block by block.

The words are labelled 20 at a time. Of each block, what stands before its last sentence end is settled; the rest is the
beginning of the next block, so that a sentence is seen whole. Nothing is settled by a mark on the first two words or on the
last one, which sees too little of what follows.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import torch

from mooer.common.device import select_device
from mooer.common.errors import ConfigError
from mooer.common.marks import COMMA, MARKS, NO_MARK, PAUSE, PERIOD, QUESTION, SENTENCE_ENDS, UNKNOWN
from mooer.decode.packed_linear import pack_linears
from mooer.models.punctuation import LoadedPunctuation, load_punctuation
from mooer.text.cjk import CJK
from mooer.text.marks import WORDS

# Marks after a word of ASCII characters.
HALF_WIDTH = {COMMA: ",", PERIOD: ".", QUESTION: "?"}
# A mark on an earlier word of a block settles nothing.
FIRST_SETTLING_WORD = 2
# No mark is added beside one of these.
OWN_MARKS = frozenset(".,;:?!…，。；：？！、")
_CJK = re.compile(f"[{CJK}]")

Style = Literal["tidy", "published"]


@dataclass(frozen=True, kw_only=True)
class PunctuatorConfig:
    """How a text is punctuated."""

    block_words: int = 20
    """Words that each step adds."""
    comma_words: int = 200
    """Words without a sentence end above which the last comma becomes one."""
    longest_words: int = 1000
    """Words without a sentence end or comma above which all but the last `comma_words` are settled as they are."""
    device: str = "auto"
    """auto, cpu, cuda or musa."""
    style: Style = "tidy"
    """tidy: sentences begin with a capital, all other letters stay, and spaces stand between words that had one. published: the
    reference's spelling, which lower-cases the rest of a sentence's first word (AI becomes Ai) and puts a space before a block
    that begins with ASCII, be it the first one."""

    def __post_init__(self) -> None:
        if self.style not in get_args(Style):
            raise ConfigError(f"style is {self.style!r}; allowed: {', '.join(get_args(Style))}")
        if self.block_words < 1:
            raise ConfigError(f"block_words must be at least 1, found {self.block_words}")
        if not self.block_words <= self.comma_words < self.longest_words:
            raise ConfigError(
                "block_words, comma_words and longest_words must grow, found "
                f"{self.block_words}, {self.comma_words} and {self.longest_words}"
            )


@dataclass(frozen=True)
class MarkedWord:
    """A word and the mark after it."""

    text: str
    """As it was given."""
    start: int
    """Place of its first character in the text that was given."""
    mark: int
    """Index into MARKS of the mark that follows."""
    begins_block: bool = False
    """Whether all words before it were settled without it."""

    @property
    def ends_sentence(self) -> bool:
        """Whether its mark is a full stop or a question mark."""
        return self.mark in SENTENCE_ENDS


@dataclass(frozen=True)
class Punctuated:
    """A text with its marks."""

    text: str
    """In one line; empty for a text without words."""
    words: tuple[MarkedWord, ...]
    """One for each word of the input."""


class Punctuator:
    """Puts marks into texts; use `from_folder`."""

    def __init__(self, loaded: LoadedPunctuation, config: PunctuatorConfig | None = None) -> None:
        self.config = config or PunctuatorConfig()
        self.device = select_device(self.config.device)
        self._model = loaded.model.to(self.device)
        self._ids = {token: index for index, token in enumerate(loaded.tokens)}
        self._unknown = self._ids[loaded.unknown]

    @classmethod
    def from_folder(cls, folder: str | Path, config: PunctuatorConfig | None = None) -> "Punctuator":
        """Open a published punctuation model. Raises PathError, ConfigError or WeightsError."""
        loaded, config = load_punctuation(folder), config or PunctuatorConfig()
        if select_device(config.device).type == "cpu":
            pack_linears(loaded.model)
        return cls(loaded, config)

    def __call__(self, text: str) -> Punctuated:
        """Punctuate one text of any length.

        Args:
            text: words between spaces, Chinese characters with or without.
        """
        found = list(WORDS.finditer(text))
        if not found:
            return Punctuated("", ())
        marks, begins = self._mark([match.group() for match in found])
        words = [MarkedWord(match.group(), match.start(), *rest) for match, *rest in zip(found, marks, begins, strict=True)]
        if self.config.style == "published":
            return _published(words)
        closed = _closed(_without_double_marks(words))
        return Punctuated(_tidy_text(closed), closed)

    def _mark(self, words: Sequence[str]) -> tuple[list[int], list[bool]]:
        """The mark after each word, and whether what precedes it was settled without it."""
        ids = [self._ids.get(word, self._unknown) for word in words]
        marks: list[int] = []
        begins = [False] * len(ids)
        for end in range(self.config.block_words, len(ids) + self.config.block_words, self.config.block_words):
            begins[len(marks)] = True
            labels = self._label(ids[len(marks) : end])
            marks += labels if end >= len(ids) else self._settle(labels)
        return marks, begins

    @torch.inference_mode()
    def _label(self, ids: list[int]) -> list[int]:
        logits = self._model(torch.tensor([ids], device=self.device), torch.tensor([len(ids)]))[0]
        logits[:, UNKNOWN] = float("-inf")
        return logits.argmax(dim=1).tolist()

    def _settle(self, labels: list[int]) -> list[int]:
        """The labels up to the last one that nothing to come will change."""
        places = range(len(labels) - 2, FIRST_SETTLING_WORD - 1, -1)
        end = next((place for place in places if labels[place] in SENTENCE_ENDS), None)
        if end is not None:
            return labels[: end + 1]
        if len(labels) <= self.config.comma_words:
            return []
        comma = next((place for place in places if labels[place] == COMMA), None)
        if comma is not None:
            return [*labels[:comma], PERIOD]
        return labels[: -self.config.comma_words] if len(labels) > self.config.longest_words else []


def _without_double_marks(words: Sequence[MarkedWord]) -> list[MarkedWord]:
    """No mark beside one that the text had already."""
    after = [word.text[0] in OWN_MARKS for word in words[1:]] + [False]
    return [
        replace(word, mark=NO_MARK) if marked_after or word.text[-1] in OWN_MARKS else word
        for word, marked_after in zip(words, after, strict=True)
    ]


def _closed(words: Sequence[MarkedWord]) -> tuple[MarkedWord, ...]:
    """The words with a sentence end after the last one, unless the text brought a mark of its own."""
    *others, last = words
    has_end = last.ends_sentence or last.text[-1] in OWN_MARKS
    return (*others, last if has_end else replace(last, mark=PERIOD))


def _mark_after(word: MarkedWord) -> str:
    if word.mark == NO_MARK:
        return ""
    return HALF_WIDTH.get(word.mark, MARKS[word.mark]) if word.text.isascii() else MARKS[word.mark]


def _tidy_text(words: Sequence[MarkedWord]) -> str:
    pieces, before = [], None
    for word in words:
        spaced = before is not None and before.start + len(before.text) < word.start
        if spaced and not _CJK.match(word.text) and not _CJK.match(before.text):
            pieces.append(" ")
        capital = (before is None or before.ends_sentence) and word.text.isascii() and word.text.islower()
        pieces += [word.text[0].upper() + word.text[1:] if capital else word.text, _mark_after(word)]
        before = word
    return "".join(pieces)


def _published(words: Sequence[MarkedWord]) -> Punctuated:
    """The reference's text, which is closed by its last character, be it a mark or one of a word."""
    text = _published_text(words)
    last = text[-1]
    if last in ".?" or last in MARKS[PERIOD] + MARKS[QUESTION]:
        return Punctuated(text, tuple(words))
    stop = "." if last.isascii() else MARKS[PERIOD]
    kept = text[:-1] if last in (",", MARKS[COMMA], MARKS[PAUSE]) else text
    return Punctuated(kept + stop, (*words[:-1], replace(words[-1], mark=PERIOD)))


def _published_text(words: Sequence[MarkedWord]) -> str:
    pieces, before = [], None
    for word in words:
        text = word.text
        if text.isascii():
            capital = word.begins_block or before.ends_sentence
            spaced = word.begins_block or before.text.isascii()
            text = " " * spaced + (text.capitalize() if capital else text)
        pieces += [text, _mark_after(word)]
        before = word
    return "".join(pieces)
