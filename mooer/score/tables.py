"""What the errors are: totals by kind of word, and the most frequent substitutions, deletions and insertions."""

import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass

from mooer.score.align import CORRECT, DELETION, INSERTION, Counts, Step, count
from mooer.score.wer import ScoreReport

MANDARIN, ENGLISH, NUMBER, JAPANESE, OTHER = CLUSTERS = ("Mandarin", "English", "Number", "Japanese", "Other")

# The beginnings of Unicode names that make a character of a kind, and the marks that fit into a word of any kind.
_KINDS = {
    "DIGIT": NUMBER,
    "CJK UNIFIED IDEOGRAPH": MANDARIN,
    "CJK COMPATIBILITY IDEOGRAPH": MANDARIN,
    "LATIN CAPITAL LETTER": ENGLISH,
    "LATIN SMALL LETTER": ENGLISH,
    "HIRAGANA LETTER": JAPANESE,
}
_NEUTRAL = frozenset("&'@℃=.-_#+;")


def cluster(unit: str) -> str:
    """The kind of a unit, one of CLUSTERS: the kind of all its characters (marks such as ' and - aside), else Other.

    The kinds are those of the field's compute-wer; a character without a Unicode name is of no kind here, where that fails.
    """
    kinds = {_kind(character) for character in unit if character not in _NEUTRAL}
    return kinds.pop() if len(kinds) == 1 else OTHER


def _kind(character: str) -> str:
    name = unicodedata.name(character, "")
    return next((kind for beginning, kind in _KINDS.items() if name.startswith(beginning)), OTHER)


def cluster_totals(report: ScoreReport) -> dict[str, Counts]:
    """Counts by kind of unit, kinds that do not occur left out; an inserted unit counts under its own kind."""
    steps: dict[str, list[Step]] = defaultdict(list)
    for utterance in report.utterances:
        for step in utterance.steps:
            steps[cluster(step.hypothesis if step.reference is None else step.reference)].append(step)
    return {kind: count(steps[kind]) for kind in CLUSTERS if kind in steps}


@dataclass(frozen=True)
class ErrorTables:
    """How often each error occurred, the most frequent first, ties in the units' order."""

    substitutions: list[tuple[tuple[str, str], int]]
    """((reference unit, hypothesis unit), times)."""
    deletions: list[tuple[str, int]]
    insertions: list[tuple[str, int]]


def error_tables(report: ScoreReport) -> ErrorTables:
    """All errors of a report, counted by what was said and what was written."""
    substitutions, deletions, insertions = Counter(), Counter(), Counter()
    for step in (step for utterance in report.utterances for step in utterance.steps):
        if step.operation == DELETION:
            deletions[step.reference] += 1
        elif step.operation == INSERTION:
            insertions[step.hypothesis] += 1
        elif step.operation != CORRECT:
            substitutions[step.reference, step.hypothesis] += 1
    return ErrorTables(*(sorted(table.items(), key=_by_frequency) for table in (substitutions, deletions, insertions)))


def _by_frequency(item):
    return -item[1], item[0]
