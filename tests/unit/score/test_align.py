"""Alignments: the fewest errors, the tie rule, and how counts add up."""

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooer.score.align import DELETION, INSERTION, SUBSTITUTION, Counts, Step, align, count

# Few different units make many ties.
units = st.lists(st.sampled_from("AB"), max_size=9)
words = st.lists(st.sampled_from(["A", "BB", "中", "C"]), min_size=1, max_size=14)


def plain_align(reference, hypothesis):
    """The same rule on the whole table, written as plainly as possible."""
    rows, columns = len(reference) + 1, len(hypothesis) + 1
    cost = [[row + column for column in range(columns)] for row in range(rows)]
    for row in range(1, rows):
        for column in range(1, columns):
            diagonal = cost[row - 1][column - 1] + (reference[row - 1] != hypothesis[column - 1])
            cost[row][column] = min(cost[row - 1][column] + 1, cost[row][column - 1] + 1, diagonal)
    steps, row, column = [], rows - 1, columns - 1
    while row or column:
        if row and cost[row][column] == cost[row - 1][column] + 1:
            row -= 1
            steps.append(Step(reference[row], None))
        elif column and cost[row][column] == cost[row][column - 1] + 1:
            column -= 1
            steps.append(Step(None, hypothesis[column]))
        else:
            row, column = row - 1, column - 1
            steps.append(Step(reference[row], hypothesis[column]))
    return steps[::-1]


@given(units, units)
def test_band_holds_the_alignment_of_the_whole_table(reference, hypothesis):
    assert align(reference, hypothesis) == plain_align(reference, hypothesis)


@given(words, words)
def test_number_of_errors_is_jiwers(reference, hypothesis):
    measured = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    counts = count(align(reference, hypothesis))
    assert counts.errors == measured.substitutions + measured.deletions + measured.insertions
    assert counts.n == len(reference)


@given(units, units)
def test_steps_spell_both_sides(reference, hypothesis):
    steps = align(reference, hypothesis)
    assert [step.reference for step in steps if step.reference is not None] == reference
    assert [step.hypothesis for step in steps if step.hypothesis is not None] == hypothesis


def test_deletion_comes_before_a_match_of_equal_cost():
    assert align("AAB", "AB") == [Step("A", "A"), Step("A", None), Step("B", "B")]


def test_deletion_and_insertion_come_before_two_substitutions():
    steps = align("ABC", "CAB")
    assert count(steps) == Counts(correct=2, substitutions=0, deletions=1, insertions=1)
    assert [step.operation for step in align("AB", "BA")] == [INSERTION, "correct", DELETION]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "operations"),
    [("", "", []), ("AB", "", [DELETION] * 2), ("", "AB", [INSERTION] * 2), ("A", "B", [SUBSTITUTION])],
)
def test_empty_sides(reference, hypothesis, operations):
    assert [step.operation for step in align(reference, hypothesis)] == operations


def test_counts_add_up_and_an_empty_reference_has_rate_zero():
    total = Counts(3, 1, 0, 2) + Counts(1, 0, 1, 0)
    assert total == Counts(4, 1, 1, 2)
    assert (total.n, total.errors) == (6, 4)
    assert total.percent == pytest.approx(400 / 6)
    assert Counts(insertions=2).percent == 0.0
