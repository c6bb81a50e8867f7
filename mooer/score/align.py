"""Alignment of a reference and a hypothesis with the fewest errors, ties resolved as the field's compute-wer does."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

CORRECT, SUBSTITUTION, DELETION, INSERTION = "correct", "substitution", "deletion", "insertion"

_DELETION, _INSERTION, _DIAGONAL = range(3)


class Step(NamedTuple):
    """One place of an alignment: a reference unit (None where one was inserted) over a hypothesis unit (None: deleted)."""

    reference: str | None
    hypothesis: str | None

    @property
    def operation(self) -> str:
        """CORRECT, SUBSTITUTION, DELETION or INSERTION."""
        if self.reference is None:
            return INSERTION
        if self.hypothesis is None:
            return DELETION
        return CORRECT if self.reference == self.hypothesis else SUBSTITUTION


@dataclass(frozen=True)
class Counts:
    """How many units were right and wrong; they add up over utterances."""

    correct: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def n(self) -> int:
        """Units of the reference."""
        return self.correct + self.substitutions + self.deletions

    @property
    def errors(self) -> int:
        """All wrong units; more than `n` is possible."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def percent(self) -> float:
        """100 * errors / n; 0 by definition where the reference is empty, whatever was inserted."""
        return 100.0 * self.errors / self.n if self.n else 0.0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.correct + other.correct,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


def count(steps: Iterable[Step]) -> Counts:
    """The counts of an alignment or of any selection of steps."""
    operations = [step.operation for step in steps]
    return Counts(*(operations.count(operation) for operation in (CORRECT, SUBSTITUTION, DELETION, INSERTION)))


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> list[Step]:
    """An alignment with the fewest errors; among those, from the end backwards, a deletion is taken where it costs nothing
    more, else an insertion, else a match or substitution.

    The number of errors comes from rapidfuzz; it bounds how far an alignment of that cost can leave the diagonal, so that
    only that band is filled in: O(length * errors). rapidfuzz's own alignment breaks ties in another way.
    """
    distance = Levenshtein.distance(reference, hypothesis)
    surplus = len(reference) - len(hypothesis)
    # deletions - insertions = surplus, and deletions + insertions <= distance.
    most_deletions, most_insertions = (distance + surplus) // 2, (distance - surplus) // 2
    table = _last_operations(reference, hypothesis, most_deletions, most_insertions)
    return _trace_back(reference, hypothesis, table, most_deletions)


def _last_operations(
    reference: Sequence[str], hypothesis: Sequence[str], most_deletions: int, most_insertions: int
) -> list[bytearray]:
    """For each reference unit, and each place b of the band, the last operation of the best alignment up to there.

    Place b of row i stands for the first i reference units and the first i + b - most_deletions hypothesis units.
    """
    width = most_deletions + most_insertions + 1
    infinite = len(reference) + len(hypothesis) + 1
    # One place more on the right, where nothing is ever reached.
    costs = [infinite] * most_deletions + list(range(most_insertions + 1)) + [infinite]
    table = []
    for row, unit in enumerate(reference, start=1):
        offset = row - most_deletions
        left = infinite
        operations = bytearray(width)
        for place in range(max(0, -offset), min(width, len(hypothesis) - offset + 1)):
            column = offset + place
            best, operation = costs[place + 1] + 1, _DELETION
            if left + 1 < best:
                best, operation = left + 1, _INSERTION
            if column and costs[place] + (unit != hypothesis[column - 1]) < best:
                best, operation = costs[place] + (unit != hypothesis[column - 1]), _DIAGONAL
            costs[place] = left = best
            operations[place] = operation
        table.append(operations)
    return table


def _trace_back(reference: Sequence[str], hypothesis: Sequence[str], table: list[bytearray], most_deletions: int) -> list[Step]:
    row, column = len(reference), len(hypothesis)
    steps = []
    while row or column:
        operation = table[row - 1][column - row + most_deletions] if row else _INSERTION
        row -= operation != _INSERTION
        column -= operation != _DELETION
        steps.append(
            Step(
                None if operation == _INSERTION else reference[row],
                None if operation == _DELETION else hypothesis[column],
            )
        )
    return steps[::-1]
