"""Answers of what was found in CTC's probabilities."""

import math

import pytest
import torch

from mooer.decode.ctc_answers import NOT_FINITE, CtcAnswers
from mooer.decode.fusion import Found, Fusion, FusionConfig
from mooer.decode.hypothesis import CUT

LETTERS = " abc"
FUSION = Fusion(config=FusionConfig(), num_alternatives=2)


@pytest.fixture
def answers():
    return CtcAnswers(lambda tokens: "".join(LETTERS[token] for token in tokens), blank_id=0, frame_seconds=0.04)


def frames(*ids):
    """Log probabilities of frames in each of which one symbol is all but certain."""
    return (torch.nn.functional.one_hot(torch.tensor(ids), len(LETTERS)) * 20.0).log_softmax(-1)


def test_greedy(answers):
    answer = answers.greedy(frames(0, 1, 1, 0, 2))
    assert (answer.text, answer.tokens) == ("ab", (1, 2))
    assert answer.token_seconds == ((0.04, 0.12), (0.16, 0.2))
    assert answer.score == pytest.approx(0.0, abs=1e-4)
    assert answers.greedy(frames(1) * math.nan) == NOT_FINITE
    assert answers.greedy(frames(1) - math.inf) == NOT_FINITE


def test_the_best_is_laid_over_the_frames(answers):
    found = [Found((1, 3), -1.0, ctc_score=-4.0), Found((2,), -2.0)]
    answer = answers.best(frames(0, 1, 1, 0, 2), found, FUSION)
    assert (answer.text, answer.score, answer.mean_log_prob) == ("ac", -1.0, -2.0)
    assert answer.token_seconds == ((0.04, 0.12), (0.16, 0.2))
    assert [(item.text, item.score) for item in answer.alternatives] == [("ac", -1.0), ("b", -2.0)]
    assert answer.flags == ()


def test_what_a_decoder_says(answers):
    """Its own log probability counts, the end included; blanks are not heard; an answer that has not ended is told."""
    found = [Found((1, 0, 2), -3.0, attention_score=-8.0, ended=False)]
    answer = answers.best(frames(1, 0, 2), found, FUSION)
    assert (answer.text, answer.tokens, answer.mean_log_prob) == ("ab", (1, 2), -2.0)
    assert answer.flags == (CUT,)
    assert [item.tokens for item in answer.alternatives] == [(1, 2)]


def test_more_tokens_than_frames_have_no_times(answers):
    answer = answers.best(frames(1, 2), [Found((1, 2, 3), -1.0)], FUSION)
    assert answer.text == "abc"
    assert (answer.token_seconds, answer.words) == (None, None)


def test_nothing_to_go_by(answers):
    assert answers.best(frames(1), [], FUSION) == NOT_FINITE
    assert answers.best(frames(1) * math.nan, [Found((1,), -1.0)], FUSION) == NOT_FINITE
    assert answers.best(frames(1)[:0], [Found((), 0.0)], FUSION).tokens == ()
