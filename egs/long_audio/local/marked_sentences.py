"""Sentences with marks, English and Mandarin: what is said in the conversations, and what is only written.

What is said are the clauses of the recipe mini, so that its models know the words: one about the weather is the beginning of a
sentence of two, all others end one. What is written has conditions, lists and alternatives besides.
"""

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# The recipe mini has the grammar of the clauses and its words.
sys.path.append(str(Path(__file__).resolve().parents[2] / "mini" / "local"))
from grammar import SentencePair, draw_words, sentences

LANGUAGES = ("en", "zh")
_MARKS = {"en": {"comma": ", ", "period": ".", "question": "?"}, "zh": {"comma": "，", "period": "。", "question": "？"}}
# A part of a clause that tells what it is, in its English form.
_WEATHER, _QUESTIONS = "it is very", ("does ", "where ")

# Slots with a number are filled by a further draw.
_WRITTEN = (
    ("if it is {weather} {time}, the {who} will go to the {place}.", "如果{time}很{weather}，{who}就去{place}。"),
    ("the {who} will {act} a {thing}, a {thing2} and a {thing3}.", "{who}会{act}{thing}、{thing2}和{thing3}。"),
    ("the {who}, the {who2} and the {who3} are at the {place}.", "{who}、{who2}和{who3}在{place}里。"),
    ("does the {who} go to the {place}, or to the {place2}?", "{who}去{place}，还是去{place2}？"),
    ("the {things} are {quality}, but the {things2} are {quality2}.", "{thing}是{quality}的，但是{thing2}是{quality2}的。"),
    ("where is the {quality} {thing}?", "{quality}{thing}在哪里？"),
)
_FURTHER_DRAWS = ("", "2", "3")
_WRITTEN_SHARE = 0.4


@dataclass(frozen=True)
class Sentence:
    """A sentence in one language."""

    language: str
    """en or zh."""
    clauses: tuple[str, ...]
    """Without marks; several have a comma between them. Empty for what is only written."""
    text: str
    """With its marks, in lower case."""


class Sentences:
    """Sentences without end in one language, said or written.

    Args:
        held_out: whether they are of the tenth of the clauses that is kept for tests, or of the others.
    """

    def __init__(self, language: str, seed: int, held_out: bool) -> None:
        self._language, self._held_out = language, held_out
        self._draw = random.Random(seed)
        self._clauses: Iterator[SentencePair] = sentences(seed, held_out)

    def said(self) -> Sentence:
        """The next one of those that are spoken."""
        clauses = [next(self._clauses)]
        while clauses[-1].english.startswith(_WEATHER):
            clauses.append(self._statement())
        marks = _MARKS[self._language]
        end = marks["question" if clauses[-1].english.startswith(_QUESTIONS) else "period"]
        said = tuple(clause.english if self._language == "en" else clause.chinese for clause in clauses)
        return Sentence(self._language, said, marks["comma"].join(said) + end)

    def _statement(self) -> SentencePair:
        return next(clause for clause in self._clauses if not clause.english.startswith((_WEATHER, *_QUESTIONS)))

    def written(self) -> Sentence:
        """The next one of those that are read, spoken ones among them."""
        if self._draw.random() >= _WRITTEN_SHARE:
            return self.said()
        pair = next(pair for pair in iter(self._written_pair, None) if pair.is_held_out == self._held_out)
        return Sentence(self._language, (), pair.english if self._language == "en" else pair.chinese)

    def _written_pair(self) -> SentencePair:
        words = {language: {} for language in LANGUAGES}
        for suffix in _FURTHER_DRAWS:
            for language, drawn in draw_words(self._draw).items():
                words[language] |= {slot + suffix: word for slot, word in drawn.items()}
        english, chinese = self._draw.choice(_WRITTEN)
        return SentencePair(english.format(**words["en"]), chinese.format(**words["zh"]))
