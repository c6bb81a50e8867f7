"""Drawn continuations: which tokens come into question, how often each is drawn, and whose draws they are."""

import math
from collections import Counter

import pytest
import torch

from mooer.common.errors import ConfigError
from mooer.decode.sampling import Draw, SamplingConfig, sampled_candidates

# Probabilities 0.5, 0.3, 0.15, 0.05 of four tokens; the others are next to impossible.
LOGITS = torch.full((1, 40), -50.0).index_put_((torch.tensor(0), torch.arange(4)), torch.tensor([0.5, 0.3, 0.15, 0.05]).log())


def generator(seed):
    return torch.Generator().manual_seed(seed)


def drawn(config, rounds=2000):
    """How often each token is the best of the drawn ones, over many seeds."""
    times = Counter()
    for seed in range(rounds):
        (candidates,) = sampled_candidates(LOGITS, torch.zeros(1, 1), Draw(1, 1), [generator(seed)], config)
        times[candidates[0].token] += 1
    return {token: count / rounds for token, count in times.items()}


def test_tokens_are_drawn_by_their_probability():
    found = drawn(SamplingConfig(top_p=1.0))
    assert set(found) == {0, 1, 2, 3}
    for token, share in enumerate((0.5, 0.3, 0.15, 0.05)):
        assert found[token] == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize(
    ("config", "allowed"),
    [
        (SamplingConfig(top_p=0.49), {0}),
        (SamplingConfig(top_p=0.51), {0, 1}),
        (SamplingConfig(top_p=0.85), {0, 1, 2}),
        (SamplingConfig(top_p=1.0, top_k=2), {0, 1}),
        # With top_k 2 the two are 0.625 and 0.375 of what is left.
        (SamplingConfig(top_p=0.62, top_k=2), {0}),
        (SamplingConfig(top_p=0.49, temperature=0.5), {0}),
        (SamplingConfig(top_p=0.51, temperature=0.5), {0}),
    ],
)
def test_what_comes_into_question(config, allowed):
    assert set(drawn(config, rounds=300)) == allowed


def test_a_higher_temperature_makes_the_unlikely_likelier():
    found = drawn(SamplingConfig(top_p=1.0, top_k=4, temperature=2.0))
    roots = [math.sqrt(share) for share in (0.5, 0.3, 0.15, 0.05)]
    for token, root in enumerate(roots):
        assert found[token] == pytest.approx(root / sum(roots), abs=0.04)


def test_two_tokens_a_beam_are_kept_so_that_there_are_enough():
    logits = torch.full((2, 40), -50.0)
    logits[:, 5] = 0.0
    (candidates,) = sampled_candidates(logits, torch.zeros(1, 2), Draw(2, 4), [generator(0)], SamplingConfig())
    assert sorted((item.beam, item.token == 5) for item in candidates) == [(0, False), (0, True), (1, False), (1, True)]
    assert [item.score for item in candidates] == sorted((item.score for item in candidates), reverse=True)


def test_the_first_step_draws_for_every_beam_from_the_one_row():
    (candidates,) = sampled_candidates(LOGITS, torch.zeros(1, 1), Draw(4, 8), [generator(3)], SamplingConfig(top_p=0.51))
    # Of 4 beams of the tokens 0 and 1, all are drawn; a search has one beam to continue as yet.
    assert sorted(item.token for item in candidates) == [0] * 4 + [1] * 4
    assert {item.beam for item in candidates} == {0}
    assert {round(math.exp(item.score), 6) for item in candidates} == {0.5, 0.3}


def test_draws_do_not_depend_on_the_company():
    logits = torch.randn(6, 50, generator=generator(1))
    scores = torch.randn(3, 2, generator=generator(2))
    config, draw = SamplingConfig(), Draw(2, 4)
    together = sampled_candidates(logits, scores, draw, [generator(seed) for seed in (7, 8, 9)], config)
    for index, seed in enumerate((7, 8, 9)):
        rows, row = logits[2 * index : 2 * index + 2], scores[index : index + 1]
        assert sampled_candidates(rows, row, draw, [generator(seed)], config) == [together[index]]
    assert together[0] != sampled_candidates(logits[:2], scores[:1], draw, [generator(70)], config)[0]


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_broken_logits_are_seen(broken):
    logits = LOGITS.clone()
    logits[0, 7] = broken
    (candidates,) = sampled_candidates(logits, torch.zeros(1, 1), Draw(2, 4), [generator(0)], SamplingConfig())
    assert not all(math.isfinite(item.score) for item in candidates)


@pytest.mark.parametrize(("name", "value"), [("top_p", 0.0), ("top_p", 1.1), ("top_k", 1), ("temperature", 0.0)])
def test_impossible_settings(name, value):
    with pytest.raises(ConfigError, match=name):
        SamplingConfig(**{name: value})
