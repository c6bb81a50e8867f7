import random

import pytest

from mooer.decode.repetition import is_repetitive


@pytest.mark.parametrize(
    "tokens",
    [
        [7] * 12,
        [1, 2, 3, *[4, 5, 6] * 4],
        [1, 2, 3, *[4, 5, 6] * 4, 4, 5],  # cut in the middle of a round
        list(range(20)) * 4,
        [1, 2, 3, 4, 5, 6] * 6 + [9, 10, 11],  # many rounds, then out of the loop
    ],
)
def test_loops(tokens):
    assert is_repetitive(tokens)


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        [1],
        [7] * 11,
        [4, 5, 6] * 3,
        [4, 5, 6, 7] * 3,
        list(range(200)),
        [5, 5, 5, 1, 2, 2, 9, 9, 9, 9, 0, 3],  # a telephone number
    ],
)
def test_no_loops(tokens):
    assert not is_repetitive(tokens)


def test_random_digit_strings_pass():
    generator = random.Random(0)
    for _ in range(200):
        assert not is_repetitive([generator.randrange(10) for _ in range(generator.randrange(60))])
