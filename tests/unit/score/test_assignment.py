"""The assignment with the largest sum, against all permutations."""

import itertools
import random

import pytest

from mooer.score.assignment import best_assignment


def best_sum(weights):
    rows, columns = len(weights), len(weights[0])
    if rows > columns:
        return best_sum(list(zip(*weights, strict=True)))
    return max(
        sum(weights[row][column] for row, column in enumerate(chosen))
        for chosen in itertools.permutations(range(columns), rows)
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 3), (3, 2), (4, 4), (5, 6)])
def test_no_permutation_is_better(shape):
    draw = random.Random(str(shape))
    for highest in (1, 3, 10**12):
        for _ in range(20):
            weights = [[draw.randint(0, highest) for _ in range(shape[1])] for _ in range(shape[0])]
            pairs = best_assignment(weights)
            assert sum(weights[row][column] for row, column in pairs) == best_sum(weights)
            assert all(len({pair[side] for pair in pairs}) == len(pairs) for side in (0, 1))
            assert all(weights[row][column] > 0 for row, column in pairs)
            assert pairs == sorted(pairs)


def test_the_greedy_choice_is_not_taken():
    assert best_assignment([[10, 9], [9, 0]]) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("weights", [[], [[]], [[], []], [[0, 0]]])
def test_nothing_to_assign(weights):
    assert best_assignment(weights) == []


def test_many_speakers_take_no_time_to_speak_of():
    weights = [[(row * 31 + column * 17) % 101 for column in range(60)] for row in range(60)]
    assert len(best_assignment(weights)) == 60
