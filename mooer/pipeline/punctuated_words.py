"""Words, or segments whose words have no times, to one punctuated text and the sentences it is cut into."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from mooer.common.marks import MARKS, NO_MARK
from mooer.decode.hypothesis import Word
from mooer.pipeline.punctuation import HALF_WIDTH, MarkedWord, Punctuator
from mooer.pipeline.transcription import DecodedSegment, Sentence
from mooer.text.sentences import split_sentences


@dataclass(frozen=True)
class _Unit:
    """What gets a mark: a word, or a whole segment whose words have no times."""

    text: str
    start: int
    end: int
    segment: int
    """Number of its segment."""
    word: Word | None = None
    mark: str = ""
    """What follows it."""


def words_of(segment: DecodedSegment) -> tuple[Word, ...] | None:
    """The words of a segment, each without white space and none empty; None where their times are not known."""
    if segment.words is None:
        return None
    words = (replace(word, text="".join(word.text.split())) for word in segment.words)
    return tuple(word for word in words if word.text)


def sentences_of_segments(segments: Sequence[DecodedSegment]) -> list[Sentence]:
    """One sentence a segment, with its times and without marks; none for a segment in which nothing was heard."""
    runs = ((segments[number], units) for number, units in _by_segment(_units(segments)))
    return [Sentence(_plain(units), segment.start, segment.end, None, _words(units)) for segment, units in runs]


def punctuate(segments: Sequence[DecodedSegment], punctuator: Punctuator) -> tuple[str, list[Sentence]]:
    """The punctuated text, and its sentences.

    Words with times are cut into sentences after each mark; a segment without is a sentence, with its marks inside.
    """
    units = list(_units(segments))
    given = " ".join(unit.text for unit in units)
    punctuated = punctuator(given)
    is_tidy = punctuator.config.style == "tidy"
    units = list(_marked(units, given, punctuated.words, is_tidy))
    sentences: list[Sentence] = []
    for is_timed, run in groupby(units, key=lambda unit: unit.word is not None):
        of_run = list(run)
        sentences += _timed_sentences(of_run) if is_timed else map(_untimed_sentence, of_run)
    return punctuated.text, sentences


def _units(segments: Sequence[DecodedSegment]) -> Iterator[_Unit]:
    for number, segment in enumerate(segments):
        words = words_of(segment)
        if words is not None:
            yield from (_Unit(word.text, word.start, word.end, number, word) for word in words)
        elif segment.text.strip():
            yield _Unit(" ".join(segment.text.split()), segment.start, segment.end, number)


def _by_segment(units: Iterator[_Unit]) -> Iterator[tuple[int, list[_Unit]]]:
    return ((number, list(run)) for number, run in groupby(units, key=lambda unit: unit.segment))


def _plain(units: Sequence[_Unit]) -> str:
    if units[0].word is None:
        return units[0].text
    return split_sentences([unit.text for unit in units], [""] * len(units))[0].text


def _words(units: Sequence[_Unit]) -> tuple[Word, ...]:
    return tuple(unit.word for unit in units if unit.word is not None)


def _marked(units: Sequence[_Unit], given: str, marked: Sequence[MarkedWord], is_tidy: bool) -> Iterator[_Unit]:
    """The units with the marks that follow them; those inside of a unit stand in its text, if it is no word."""
    place, offset, begins = 0, 0, True
    for unit in units:
        end, own = offset + len(unit.text), []
        while place < len(marked) and marked[place].start < end:
            own.append(marked[place])
            place += 1
        text = unit.text if unit.word is not None else _with_marks(given[offset:end], offset, own, is_tidy)
        mark = _sign(own[-1], is_tidy) if own else ""
        yield replace(unit, text=_capital(text) if is_tidy and begins else text, mark=mark)
        begins = own[-1].ends_sentence if own else begins
        offset = end + 1


def _with_marks(text: str, offset: int, own: Sequence[MarkedWord], is_tidy: bool) -> str:
    """A text with the marks after its words, except for the last one's."""
    pieces, done = [], 0
    for word in own[:-1]:
        end = word.start - offset + len(word.text)
        pieces += [text[done:end], _sign(word, is_tidy)]
        done = end
    return "".join([*pieces, text[done:]])


def _sign(word: MarkedWord, is_tidy: bool) -> str:
    if word.mark == NO_MARK:
        return ""
    # The reference's sentences have full-width marks throughout.
    return HALF_WIDTH.get(word.mark, MARKS[word.mark]) if is_tidy and word.text.isascii() else MARKS[word.mark]


def _capital(text: str) -> str:
    first = text.split(" ", 1)[0]
    return text[0].upper() + text[1:] if first.isascii() and first.islower() else text


def _timed_sentences(units: Sequence[_Unit]) -> list[Sentence]:
    found = split_sentences([unit.text for unit in units], [unit.mark for unit in units])
    return [
        Sentence(item.text, units[item.first].start, units[item.last].end, None, _words(units[item.first : item.last + 1]))
        for item in found
    ]


def _untimed_sentence(unit: _Unit) -> Sentence:
    return Sentence(unit.text + unit.mark, unit.start, unit.end, None, ())
