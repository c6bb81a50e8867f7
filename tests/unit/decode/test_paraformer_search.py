"""Beam search over places: exact where it is wide enough, and not shorter than what is said."""

import itertools

import pytest
import torch

from mooer.decode.fusion import FusionConfig
from mooer.decode.language_model import LanguageModelScorer
from mooer.decode.paraformer_search import ParaformerSearch
from mooer.decode.prefixes import PrefixTree
from mooer.models.transformer_lm import TransformerLm, TransformerLmConfig

START, END, SIZE = 1, 2, 5


@pytest.fixture(scope="module")
def lm():
    torch.manual_seed(4)
    config = TransformerLmConfig(embed_unit=6, att_unit=8, head=2, unit=12, layer=2)
    return TransformerLm(config, SIZE).eval().requires_grad_(False)


def places(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(*shape, SIZE, generator=generator)).log_softmax(-1)


def run(log_probs, counts, lm, **values):
    tree = PrefixTree()
    ends_early = values.pop("ends_early", False)
    scorer = LanguageModelScorer(lm, tree) if values.get("lm_weight") else None
    search = ParaformerSearch(END, FusionConfig(**values), tree, scorer, ends_early=ends_early)
    return search.run(log_probs, torch.tensor(counts))


def score(log_probs, lm, answer, lm_weight, length_bonus):
    """Of one token a place; where an end stands, the language model is asked for it and goes on from before it."""
    total, said = 0.0, [START]
    for place, token in enumerate(answer):
        by_lm = lm.logits(torch.tensor([said]))[0, -1].log_softmax(-1)[token]
        total += float(log_probs[place, token] + lm_weight * by_lm) + length_bonus * (token != END)
        said += [token] * (token != END)
    return total


@pytest.mark.parametrize(("lm_weight", "length_bonus"), [(0.0, 0.0), (0.6, 0.0), (0.3, 0.5)])
def test_wide_enough_it_is_exact(lm, lm_weight, length_bonus):
    log_probs = places(1, 4)
    (found,) = run(log_probs, [4], lm, beam_size=700, lm_weight=lm_weight, length_bonus=length_bonus)
    assert {answer.tokens for answer in found} == set(itertools.product(range(SIZE), repeat=4))
    for answer in found[::23]:
        expected = score(log_probs[0], lm, answer.tokens, lm_weight, length_bonus)
        assert answer.score == pytest.approx(expected, abs=1e-4)
    assert [answer.score for answer in found] == sorted((answer.score for answer in found), reverse=True)


def test_counts_of_a_batch(lm):
    log_probs, counts = places(4, 6, seed=2), [3, 0, 6, 1]
    together = run(log_probs, counts, lm, beam_size=3, lm_weight=0.4)
    for row, count in enumerate(counts):
        (alone,) = run(log_probs[row : row + 1, :count], [count], lm, beam_size=3, lm_weight=0.4)
        assert [answer.tokens for answer in alone] == [answer.tokens for answer in together[row]]
        assert all(len(answer.tokens) == count for answer in alone)


def test_much_to_say_is_not_left_unsaid(lm):
    """The places are sure, the language model finds words improbable: no answer may be empty for that."""
    log_probs = torch.full((1, 60, SIZE), 1e-5)
    log_probs[:, :, 3] = 1.0
    log_probs = log_probs.log()
    (found,) = run(log_probs, [60], lm, beam_size=4, lm_weight=0.5)
    assert found[0].tokens == (3,) * 60
    (early,) = run(log_probs, [60], lm, beam_size=4, lm_weight=0.5, ends_early=True)
    assert early[0].tokens == (END,)
