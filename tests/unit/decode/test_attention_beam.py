"""Beam search over a decoder's tokens: equal to counting every answer."""

import itertools
import math

import pytest
import torch

from mooer.decode.attention_beam import AttentionBeam
from mooer.decode.fusion import FusionConfig
from mooer.decode.language_model import LanguageModelScorer
from mooer.decode.prefixes import PrefixTree
from mooer.models.transformer_decoder import TransformerDecoderConfig, build_decoder
from mooer.models.transformer_lm import SpecialTokens, TransformerLm, TransformerLmConfig

SIZE, END, WIDTH = 4, 3, 8
FRAMES = 2 * torch.randn(4, 9, WIDTH, generator=torch.Generator().manual_seed(3))
LENGTHS = torch.tensor([4, 9, 0, 1])


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(11)
    model = build_decoder(TransformerDecoderConfig(attention_heads=2, linear_units=12, num_blocks=2), SIZE, WIDTH)
    model.output_layer.weight.data *= 3
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def lm():
    torch.manual_seed(4)
    config = TransformerLmConfig(embed_unit=6, att_unit=8, head=2, unit=12, layer=2)
    return TransformerLm(config, SIZE, SpecialTokens(blank=0, start=END, end=END)).eval().requires_grad_(False)


def run(decoder, encoded, lengths, lm=None, max_tokens=None, num_answers=1000, **values):
    tree, config = PrefixTree(), FusionConfig(**values)
    scorer = LanguageModelScorer(lm, tree) if config.lm_weight else None
    return AttentionBeam(decoder, config, END, tree, scorer, max_tokens, num_answers).run(encoded, torch.as_tensor(lengths))


def log_prob(logits, answer, ended):
    """Of the tokens and, if it has ended, of the end, by logits [L, V] of what follows the start and each token."""
    log_probs = logits.log_softmax(dim=-1)
    return float(sum(log_probs[place, token] for place, token in enumerate([*answer, END][: len(answer) + ended])))


def all_answers(decoder, encoded, lm, lm_weight, length_bonus):
    """The score of every answer of up to as many tokens as there are frames; those of just as many have not ended."""
    scores, bound = {}, encoded.shape[1]
    memory = decoder.remember(encoded, torch.tensor([bound]))
    for length in range(bound + 1):
        for answer in itertools.product(range(END), repeat=length):
            for ended in {length < bound, False} if length == bound else {True}:
                inputs = torch.tensor([[END, *answer]])
                score = log_prob(decoder(inputs, memory)[0], answer, ended) + length_bonus * length
                score += lm_weight * log_prob(lm.logits(inputs)[0], answer, ended) if lm_weight else 0.0
                scores[answer, ended] = score
    return scores


@pytest.mark.parametrize(("lm_weight", "length_bonus"), [(0.0, 0.0), (0.6, 0.0), (0.4, 0.7)])
def test_wide_enough_it_is_exact(decoder, lm, lm_weight, length_bonus):
    encoded = FRAMES[:1, :4]
    exact = all_answers(decoder, encoded, lm, lm_weight, length_bonus)
    weights = {"lm_weight": lm_weight, "length_bonus": length_bonus}
    (found,) = run(decoder, encoded, [4], lm, beam_size=200, **weights)
    assert {(answer.tokens, answer.ended) for answer in found} == exact.keys()
    for answer in found:
        assert answer.score == pytest.approx(exact[answer.tokens, answer.ended], abs=1e-4)
        others = lm_weight * answer.lm_score + length_bonus * len(answer.tokens)
        assert answer.attention_score == pytest.approx(answer.score - others, abs=1e-6)
        if lm_weight:
            inputs = torch.tensor([[END, *answer.tokens]])
            assert answer.lm_score == pytest.approx(log_prob(lm.logits(inputs)[0], answer.tokens, answer.ended), abs=1e-4)
    assert [answer.score for answer in found] == sorted((answer.score for answer in found), reverse=True)


@pytest.mark.parametrize("lm_weight", [0.0, 0.5])
@pytest.mark.parametrize("num_answers", [1, 1000])
def test_an_answer_does_not_depend_on_its_batch(decoder, lm, lm_weight, num_answers):
    noisy = FRAMES.clone()
    for row, length in enumerate(LENGTHS.tolist()):
        noisy[row, length:] = 50.0
    settings = {"beam_size": 3, "lm_weight": lm_weight, "num_answers": num_answers}
    together = run(decoder, noisy, LENGTHS, lm, **settings)
    for row, length in enumerate(LENGTHS.tolist()):
        (alone,) = run(decoder, FRAMES[row : row + 1, :length], [length], lm, **settings)
        assert [answer.tokens for answer in alone] == [answer.tokens for answer in together[row]]
        assert [answer.score for answer in alone] == pytest.approx([answer.score for answer in together[row]], abs=1e-4)


def test_stopping_early_changes_none_of_the_answers_asked_for(decoder, lm):
    whole = run(decoder, FRAMES, LENGTHS, lm, beam_size=6, lm_weight=0.3)
    for count in (1, 2, 4):
        early = run(decoder, FRAMES, LENGTHS, lm, beam_size=6, lm_weight=0.3, num_answers=count)
        for row, other in zip(whole, early, strict=True):
            assert [answer.tokens for answer in row[:count]] == [answer.tokens for answer in other[:count]]


def test_the_search_stops_early(decoder):
    """A sure end ends the search, whatever the other beams could still say."""
    sure = build_decoder(TransformerDecoderConfig(attention_heads=2, linear_units=12, num_blocks=2), SIZE, WIDTH).eval()
    sure.load_state_dict(decoder.state_dict())
    sure.output_layer.bias.data[END] += 30
    steps = []
    step, sure.step = sure.step, lambda *values: steps.append(1) or step(*values)
    (found,) = run(sure, FRAMES[1:2], [9], beam_size=3, num_answers=1)
    assert (found[0].tokens, found[0].ended) == ((), True)
    assert len(steps) == 1


def test_without_frames_there_is_no_token(decoder):
    (found,) = run(decoder, FRAMES[:1], [0], beam_size=3)
    assert [(answer.tokens, answer.score) for answer in found] == [((), 0.0)]
    assert run(decoder, FRAMES[:1, :0], [0], beam_size=3) == [found]


def test_one_frame_is_at_most_one_token(decoder):
    (found,) = run(decoder, FRAMES[:1, :1], [1], beam_size=10)
    assert {answer.tokens for answer in found} == {(), (0,), (1,), (2,)}
    assert sum(math.exp(answer.score) for answer in found) == pytest.approx(1)


def test_a_bound_cuts(decoder):
    whole = run(decoder, FRAMES, LENGTHS, beam_size=4)
    assert max(len(answer.tokens) for answer in whole[1]) > 2
    cut = run(decoder, FRAMES, LENGTHS, beam_size=4, max_tokens=2)
    assert max(len(answer.tokens) for found in cut for answer in found) == 2
    assert any(not answer.ended for answer in cut[1])
    assert len(cut[3][0].tokens) <= 1


def test_a_sure_decoder_is_heard_the_same_by_one_beam(decoder):
    """One beam takes the best token everywhere."""
    (found,) = run(decoder, FRAMES[1:2], [9], beam_size=1)
    memory = decoder.remember(FRAMES[1:2], torch.tensor([9]))
    tokens = []
    while len(tokens) < 9:
        best = int(decoder(torch.tensor([[END, *tokens]]), memory)[0, -1].argmax())
        if best == END:
            break
        tokens.append(best)
    assert list(found[0].tokens) == tokens


def test_what_is_no_number_leaves_the_others_alone(decoder):
    (alone,) = run(decoder, FRAMES[:1], LENGTHS[:1], beam_size=3)
    broken = FRAMES[:2].clone()
    broken[1, 2] = math.nan
    found, nothing = run(decoder, broken, LENGTHS[:2], beam_size=3)
    assert nothing == []
    assert [answer.tokens for answer in found] == [answer.tokens for answer in alone]
