"""Prefix beam search: equal to counting every way to say every answer."""

import copy
import itertools
import math

import pytest
import torch

from mooer.decode.ctc_prefix_beam import CtcPrefixBeam
from mooer.decode.ctc_prefix_score import CtcPrefixScorer
from mooer.decode.ctc_search import greedy_path
from mooer.decode.fusion import FusionConfig
from mooer.decode.language_model import LanguageModelScorer
from mooer.decode.prefixes import PrefixTree
from mooer.models.transformer_lm import SpecialTokens, TransformerLm, TransformerLmConfig

BLANK, START, END, SIZE = 0, 1, 2, 4


@pytest.fixture(scope="module")
def lm():
    torch.manual_seed(4)
    config = TransformerLmConfig(embed_unit=6, att_unit=8, head=2, unit=12, layer=2)
    return TransformerLm(config, SIZE, SpecialTokens(blank=BLANK, start=START, end=END)).eval().requires_grad_(False)


def noise(*shape, seed=0):
    """Log probabilities of frames or places."""
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(*shape, SIZE, generator=generator)).log_softmax(-1)


def all_answers(log_probs):
    """The log probability of every answer, over all ways to say it."""
    found = {}
    for path in itertools.product(range(SIZE), repeat=len(log_probs)):
        answer = tuple(token for token, _ in itertools.groupby(path) if token != BLANK)
        score = float(sum(log_probs[frame, token] for frame, token in enumerate(path)))
        found[answer] = torch.logaddexp(torch.tensor(found.get(answer, -math.inf)), torch.tensor(score)).item()
    return found


def lm_score(lm, answer):
    """The log probability of an answer and its end."""
    log_probs = lm.logits(torch.tensor([[START, *answer]]))[0].log_softmax(-1)
    return float(sum(log_probs[place, token] for place, token in enumerate([*answer, END])))


def run(log_probs, lengths=None, lm=None, symbols=None, **values):
    tree = PrefixTree()
    config = FusionConfig(**values)
    scorer = LanguageModelScorer(lm, tree) if config.lm_weight else None
    lengths = torch.tensor([log_probs.shape[1]] * len(log_probs) if lengths is None else lengths)
    return CtcPrefixBeam(config, BLANK, END, tree, scorer, symbols).run(log_probs, lengths)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("lm_weight", "length_bonus"), [(0.0, 0.0), (0.7, 0.0), (0.4, 0.9)])
def test_wide_enough_it_is_exact(lm, seed, lm_weight, length_bonus):
    log_probs = noise(1, 5, seed=seed)
    (found,) = run(log_probs, lm=lm, beam_size=400, lm_weight=lm_weight, length_bonus=length_bonus)
    exact = all_answers(log_probs[0])
    assert {answer.tokens for answer in found} == set(exact)
    for answer in found:
        assert answer.ctc_score == pytest.approx(exact[answer.tokens], abs=1e-4)
        by_lm = lm_score(lm, answer.tokens) if lm_weight else 0.0
        assert answer.lm_score == pytest.approx(by_lm, abs=1e-4)
        expected = exact[answer.tokens] + lm_weight * by_lm + length_bonus * len(answer.tokens)
        assert answer.score == pytest.approx(expected, abs=1e-4)
    assert [answer.score for answer in found] == sorted((answer.score for answer in found), reverse=True)


@pytest.mark.parametrize("lm_weight", [0.0, 0.5])
def test_an_answer_does_not_depend_on_its_batch(lm, lm_weight):
    log_probs, lengths = noise(5, 12, seed=9), [7, 12, 0, 12, 3]
    together = run(log_probs, lengths, lm, beam_size=3, lm_weight=lm_weight)
    for row, length in enumerate(lengths):
        (alone,) = run(log_probs[row : row + 1, :length], [length], lm, beam_size=3, lm_weight=lm_weight)
        assert [answer.tokens for answer in alone] == [answer.tokens for answer in together[row]]
        assert [answer.score for answer in alone] == pytest.approx([answer.score for answer in together[row]], abs=1e-4)
    assert [answer.tokens for answer in together[2]] == [()]


def test_no_answer_twice(lm):
    for seed in range(5):
        for found in run(noise(3, 20, seed=seed), lm=lm, beam_size=4, lm_weight=0.3):
            assert len({answer.tokens for answer in found}) == len(found) == 4


def test_a_sure_model_is_heard_as_the_best_path():
    log_probs = (20 * noise(4, 15, seed=3)).log_softmax(-1)
    for row, found in zip(log_probs, run(log_probs, beam_size=5), strict=True):
        assert found[0].tokens == greedy_path(row, BLANK).tokens


def test_the_language_model_decides_what_the_frames_leave_open(lm):
    log_probs = noise(1, 6, seed=2)
    best = max(all_answers(log_probs[0]), key=lambda answer: lm_score(lm, answer))
    (found,) = run(log_probs, lm=lm, beam_size=400, lm_weight=100.0)
    assert found[0].tokens == best


@pytest.mark.parametrize("length", [5, 6])
def test_prefix_scores_are_sums_over_all_that_begins_so(length):
    """Of padded frames; the scorer is given the answers token by token."""
    frames = noise(1, length, seed=5)
    padded = torch.cat([frames, noise(1, 6 - length, seed=6)], dim=1) if length < 6 else frames
    scorer = CtcPrefixScorer(padded, torch.tensor([length]), BLANK, END)
    exact = all_answers(frames[0])
    state = scorer.start(1)
    for place, token in enumerate((3, 3, 1)):
        tokens = torch.tensor([[[1, 2, 3]]])
        extended = scorer.extend(state, tokens)
        scores = extended[0]
        for candidate in (1, 3):
            beginning = (*(3, 3, 1)[:place], candidate)
            total = [score for answer, score in exact.items() if answer[: place + 1] == beginning]
            assert float(scores[0, 0, candidate - 1]) == pytest.approx(float(torch.tensor(total).logsumexp(0)), abs=1e-4)
        assert float(scores[0, 0, END - 1]) == pytest.approx(exact[(3, 3, 1)[:place]], abs=1e-4)
        # An end in between changes nothing but the score.
        state = scorer.select(state, tokens, extended, torch.tensor([[END - 1]]))
        assert float(state.scores) == pytest.approx(exact[(3, 3, 1)[:place]], abs=1e-4)
        extended = scorer.extend(state, tokens)
        torch.testing.assert_close(extended[0], scores)
        state = scorer.select(state, tokens, extended, torch.tensor([[token - 1]]))


def by_dictionary(log_probs, size):
    """The search as the reference does it: the best symbols of a frame, each behind each beginning; the best beginnings."""
    beams = {(): (0.0, -math.inf)}
    for frame in log_probs.double():
        grown = {}

        def add(answer, blank, spoken, grown=grown):
            before = grown.get(answer, (-math.inf, -math.inf))
            grown[answer] = tuple(float(torch.tensor(pair).logsumexp(0)) for pair in zip(before, (blank, spoken), strict=True))

        for value, symbol in zip(*(part.tolist() for part in frame.topk(min(size, len(frame)))), strict=True):
            for answer, (blank, spoken) in beams.items():
                total = float(torch.tensor([blank, spoken], dtype=torch.float64).logsumexp(0))
                if symbol == BLANK:
                    add(answer, total + value, -math.inf)
                elif answer[-1:] == (symbol,):
                    add(answer, -math.inf, spoken + value)
                    add((*answer, symbol), -math.inf, blank + value)
                else:
                    add((*answer, symbol), -math.inf, total + value)
        ranked = sorted(grown.items(), key=lambda item: -float(torch.tensor(item[1]).logsumexp(0)))
        beams = dict(ranked[:size])
    return {answer: float(torch.tensor(scores).logsumexp(0)) for answer, scores in beams.items()}


@pytest.mark.parametrize("beam_size", [1, 2, 3, 4, 9])
def test_pruned_as_the_reference_prunes(beam_size):
    log_probs = noise(3, 14, seed=beam_size)
    for row, found in zip(log_probs, run(log_probs, beam_size=beam_size, symbols=beam_size), strict=True):
        expected = by_dictionary(row, beam_size)
        assert [answer.tokens for answer in found] == list(expected)
        assert [answer.score for answer in found] == pytest.approx(list(expected.values()), abs=1e-4)


@pytest.mark.parametrize("symbols", [None, 10])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_fewer_symbols_than_beams(size, symbols):
    log_probs = torch.randn(2, 3, size, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    for found in run(log_probs, beam_size=10, symbols=symbols):
        assert len({answer.tokens for answer in found}) == len(found) == {1: 1, 2: 3, 3: 9}[size]  # all that there are
        assert sum(math.exp(answer.score) for answer in found) == pytest.approx(1)


def test_one_frame():
    (found,) = run(noise(1, 1), beam_size=10)
    assert {answer.tokens for answer in found} == {(), (1,), (2,), (3,)}
    assert sum(math.exp(answer.score) for answer in found) == pytest.approx(1)


def test_frames_in_which_nothing_is_possible():
    log_probs = noise(2, 5)
    log_probs[0, 2] = -math.inf
    nothing, found = run(log_probs, beam_size=3)
    assert nothing == []
    assert len(found) == 3


def test_what_the_language_model_rules_out(lm):
    """Beginnings that cannot be leave nothing behind in those that can, where there are more beams than these."""
    strict = copy.deepcopy(lm)
    strict.decoder.bias[3] = -math.inf
    log_probs = noise(1, 5, seed=3)
    (found,) = run(log_probs, lm=strict, beam_size=400, lm_weight=0.4)
    exact = {answer: score for answer, score in all_answers(log_probs[0]).items() if 3 not in answer}
    assert {answer.tokens for answer in found} == exact.keys()
    for answer in found:
        assert answer.ctc_score == pytest.approx(exact[answer.tokens], abs=1e-4)


def test_what_is_no_number_leaves_the_others_alone():
    log_probs = noise(2, 5)
    (alone,) = run(log_probs[1:], beam_size=3)
    log_probs[0, 2] = math.nan
    assert run(log_probs, beam_size=3)[1] == alone


def test_of_equal_answers_the_earlier_symbol_comes_first():
    even = torch.full((1, 1, SIZE), -math.log(SIZE))
    (found,) = run(even, beam_size=3)
    again = run(even.repeat(4, 1, 1), beam_size=3)
    assert [answer.tokens for answer in found][:1] == [()]
    assert all(other == found for other in again)
