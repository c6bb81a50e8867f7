"""The second look at answers: equal to asking the decoders for each one alone."""

import math

import pytest
import torch

from mooer.common.errors import ConfigError
from mooer.decode.attention_rescoring import AttentionRescoring
from mooer.decode.fusion import Found, FusionConfig
from mooer.models.transformer_decoder import TransformerDecoderConfig, build_decoder

SIZE, END, WIDTH = 6, 5, 8
FRAMES = 2 * torch.randn(4, 7, WIDTH, generator=torch.Generator().manual_seed(3))
LENGTHS = torch.tensor([4, 7, 0, 1])
FOUND = [
    [Found((1, 2, 2), -1.0, -2.0, -1.0), Found((), -2.0, -0.5, -3.0), Found((4,), -3.0, -1.5, -3.5)],
    [Found((3, 1, 2, 4, 0), -1.0, -7.0, -4.0)],
    [Found((), 0.0)],
    [Found((), -0.5, -0.1, -0.4), Found((2,), -1.5, -1.1, -1.4)],
]


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(11)
    config = TransformerDecoderConfig(attention_heads=2, linear_units=12, num_blocks=2, r_num_blocks=1)
    return build_decoder(config, SIZE, WIDTH).eval().requires_grad_(False)


def expected_score(decoder, row, answer, config):
    """Of one answer, by its words."""
    encoded, lengths = FRAMES[row : row + 1, : LENGTHS[row]], LENGTHS[row : row + 1]

    def by(one, tokens):
        log_probs = one(torch.tensor([[END, *tokens]]), one.remember(encoded, lengths))[0].log_softmax(dim=-1)
        return float(sum(log_probs[place, token] for place, token in enumerate([*tokens, END])))

    share = config.reverse_weight
    attention = (1 - share) * by(decoder.left_decoder, answer.tokens) + share * by(decoder.right_decoder, answer.tokens[::-1])
    others = config.ctc_weight * answer.ctc_score + config.lm_weight * answer.lm_score
    return attention, attention + others + config.length_bonus * len(answer.tokens)


@pytest.mark.parametrize(
    "weights",
    [
        {"ctc_weight": 0.5},
        {"reverse_weight": 0.3},
        {"ctc_weight": 0.2, "reverse_weight": 1.0},
        {"ctc_weight": 0.5, "reverse_weight": 0.4, "lm_weight": 0.7, "length_bonus": 0.9},
    ],
)
def test_scores(decoder, weights):
    config = FusionConfig(**weights)
    rescored = AttentionRescoring(decoder, config, END).run(FRAMES, LENGTHS, FOUND)
    for row, before in enumerate(FOUND):
        if row == 2:
            continue
        assert {answer.tokens for answer in rescored[row]} == {answer.tokens for answer in before}
        known = {answer.tokens: answer for answer in before}
        for answer in rescored[row]:
            attention, score = expected_score(decoder, row, known[answer.tokens], config)
            assert answer.attention_score == pytest.approx(attention, abs=1e-4)
            assert answer.score == pytest.approx(score, abs=1e-4)
            assert (answer.ctc_score, answer.lm_score) == (known[answer.tokens].ctc_score, known[answer.tokens].lm_score)
        scores = [answer.score for answer in rescored[row]]
        assert scores == sorted(scores, reverse=True)


def test_an_answer_does_not_depend_on_its_batch(decoder):
    rescoring = AttentionRescoring(decoder, FusionConfig(ctc_weight=0.5, reverse_weight=0.3), END)
    noisy = FRAMES.clone()
    for row, length in enumerate(LENGTHS.tolist()):
        noisy[row, length:] = 50.0
    together = rescoring.run(noisy, LENGTHS, FOUND)
    for row in range(len(FOUND)):
        (alone,) = rescoring.run(FRAMES[row : row + 1], LENGTHS[row : row + 1], FOUND[row : row + 1])
        assert [answer.tokens for answer in alone] == [answer.tokens for answer in together[row]]
        assert [answer.score for answer in alone] == pytest.approx([answer.score for answer in together[row]], abs=1e-4)


def test_without_frames_answers_stay_as_they_are(decoder):
    rescoring = AttentionRescoring(decoder, FusionConfig(ctc_weight=0.5), END)
    assert rescoring.run(FRAMES, LENGTHS, FOUND)[2] == FOUND[2]
    assert rescoring.run(FRAMES[2:3, :0], LENGTHS[2:3], FOUND[2:3]) == FOUND[2:3]


def test_nothing_found_stays_nothing(decoder):
    rescored = AttentionRescoring(decoder, FusionConfig(), END).run(FRAMES[:2], LENGTHS[:2], [[], FOUND[1]])
    assert rescored[0] == []
    assert len(rescored[1]) == 1


def test_of_equal_answers_the_better_of_the_first_search_stays_first(decoder):
    twice = [[Found((1,), -1.0, ctc_score=-1.0), Found((1,), -2.0, ctc_score=-1.0, lm_score=-9.0)]]
    (found,) = AttentionRescoring(decoder, FusionConfig(), END).run(FRAMES[:1], LENGTHS[:1], twice)
    assert [answer.lm_score for answer in found] == [0.0, -9.0]
    assert found[0].score == pytest.approx(found[1].score, abs=1e-6)


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan])
def test_shares_that_cannot_be(weight):
    with pytest.raises(ConfigError, match="reverse_weight"):
        FusionConfig(reverse_weight=weight)
