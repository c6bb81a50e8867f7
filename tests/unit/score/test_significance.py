"""The paired bootstrap: sure where a difference is everywhere, unsure where it is not, and the same for the same seed."""

import random

import pytest

from mooer.common.errors import ConfigError
from mooer.score.significance import compare_error_rates, describe
from mooer.score.wer import score_error_rate

REFERENCES = {f"u{index:03d}": "a b c d e f g h" for index in range(200)}


def system(errors, seed):
    """Hypotheses with `errors` of a hundred words wrong."""
    draw = random.Random(seed)
    wrong = {name: [draw.random() * 100 < errors for _ in range(8)] for name in REFERENCES}
    hypotheses = {
        name: " ".join("x" if bad else word for bad, word in zip(wrong[name], text.split(), strict=True))
        for name, text in REFERENCES.items()
    }
    return score_error_rate(REFERENCES, hypotheses, "wer")


def test_a_large_difference_is_significant():
    comparison = compare_error_rates(system(20, 1), system(10, 2), samples=500)
    assert comparison.p_value < 0.01
    assert comparison.difference_low < comparison.difference < comparison.difference_high < 0


def test_the_same_system_is_not_different():
    comparison = compare_error_rates(system(10, 1), system(10, 1), samples=200)
    assert comparison.p_value == 1.0
    assert comparison.difference_low == comparison.difference_high == 0.0


def test_the_seed_decides_the_draws():
    a, b = system(10, 1), system(10, 2)
    assert compare_error_rates(a, b, seed=3, samples=200) == compare_error_rates(a, b, seed=3, samples=200)
    assert compare_error_rates(a, b, seed=3, samples=200) != compare_error_rates(a, b, seed=4, samples=200)
    assert "seed 3" in describe(compare_error_rates(a, b, seed=3, samples=200))


def test_only_like_is_compared_with_like():
    with pytest.raises(ConfigError, match="same references"):
        compare_error_rates(system(10, 1), score_error_rate({"u000": "a"}, {}, "wer"))
