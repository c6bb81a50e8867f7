"""How well a text is punctuated: precision, recall and F1 of each mark, where words may have been misheard.

The words of both sides are aligned without their marks, in lower case. A mark is right where the words it follows stand at one
place of the alignment, be they equal or not; after a word of one side alone it is missed, or one too many.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import mooer
from mooer.common.errors import DataError
from mooer.common.marks import COMMA, MARKS, NO_MARK, PAUSE, PERIOD, QUESTION
from mooer.score.align import DELETION, INSERTION, align
from mooer.text.marks import MarkedText, read_marks

SCORED = (COMMA, PERIOD, QUESTION, PAUSE)


@dataclass(frozen=True)
class MarkCounts:
    """How often a mark was set; they add up."""

    right: int = 0
    """Where the reference has it."""
    missed: int = 0
    """Of the reference, not set."""
    added: int = 0
    """Set where the reference has another or none."""

    @property
    def precision(self) -> float:
        """Percent of those set that are right; 0 by definition for none."""
        return 100.0 * self.right / max(1, self.right + self.added)

    @property
    def recall(self) -> float:
        """Percent of the reference's that were set; 0 by definition for none."""
        return 100.0 * self.right / max(1, self.right + self.missed)

    @property
    def f1(self) -> float:
        """The harmonic mean of the two."""
        return 200.0 * self.right / max(1, 2 * self.right + self.missed + self.added)

    def __add__(self, other: "MarkCounts") -> "MarkCounts":
        return MarkCounts(self.right + other.right, self.missed + other.missed, self.added + other.added)


@dataclass(frozen=True, kw_only=True)
class MarksReport:
    """Scores of the marks of a set of texts."""

    marks: dict[int, MarkCounts]
    """By mark, those of SCORED."""
    utterances: int
    """Texts of the reference."""
    missing: tuple[str, ...]
    """References without a hypothesis: their marks count as missed."""
    extra: tuple[str, ...]
    """Hypotheses without a reference: not counted."""

    @cached_property
    def total(self) -> MarkCounts:
        """Of all marks."""
        return sum(self.marks.values(), MarkCounts())

    @property
    def signature(self) -> str:
        """All that a figure depends on besides the texts, in one line."""
        marks = "".join(MARKS[mark] for mark in SCORED)
        return f"metric:punctuation|marks:{marks}|case:lower|ties:del-ins-sub|missing:missed|version:mooer-{mooer.__version__}"


def score_marks(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> MarksReport:
    """Compare the marks of punctuated texts by id.

    Raises:
        DataError: no references at all.
    """
    if not references:
        raise DataError("there are no references to score against")
    counts = {mark: MarkCounts() for mark in SCORED}
    for name, text in references.items():
        for wanted, found in _pairs(read_marks(text), read_marks(hypotheses.get(name, ""))):
            if wanted == found != NO_MARK:
                counts[wanted] += MarkCounts(right=1)
                continue
            if wanted != NO_MARK:
                counts[wanted] += MarkCounts(missed=1)
            if found != NO_MARK:
                counts[found] += MarkCounts(added=1)
    return MarksReport(
        marks=counts,
        utterances=len(references),
        missing=tuple(name for name in references if name not in hypotheses),
        extra=tuple(name for name in hypotheses if name not in references),
    )


def _pairs(reference: MarkedText, hypothesis: MarkedText) -> Iterator[tuple[int, int]]:
    """The marks of both sides at each place of the alignment of their words."""
    wanted, found = iter(reference.marks), iter(hypothesis.marks)
    for step in align(reference.words, hypothesis.words):
        yield (
            NO_MARK if step.operation == INSERTION else next(wanted),
            NO_MARK if step.operation == DELETION else next(found),
        )
