"""Pieces of an utterance give what the whole gives."""

import pytest
import torch

from mooer.decode.ctc_prefix_beam import CtcPrefixBeam
from mooer.decode.ctc_search import greedy_path
from mooer.decode.ctc_stream import CtcGreedyStream, CtcPrefixStream
from mooer.decode.fusion import Fusion, FusionConfig
from mooer.decode.prefixes import PrefixTree
from mooer.models.transformer_lm import SpecialTokens, TransformerLm, TransformerLmConfig

BLANK, START, END, SIZE = 0, 1, 2, 7
CUTS = [[40], [1] * 40, [7, 0, 13, 20], [0, 39, 1]]


@pytest.fixture(scope="module")
def lm():
    torch.manual_seed(4)
    config = TransformerLmConfig(embed_unit=6, att_unit=8, head=2, unit=12, layer=2)
    return TransformerLm(config, SIZE, SpecialTokens(blank=BLANK, start=START, end=END)).eval().requires_grad_(False)


def frames(seed):
    return (3 * torch.randn(40, SIZE, generator=torch.Generator().manual_seed(seed))).log_softmax(-1)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("seed", range(3))
def test_greedy(cut, seed):
    whole, stream = frames(seed), CtcGreedyStream(BLANK)
    for piece in whole.split(cut):
        stream.accept(piece)
    assert stream.path() == greedy_path(whole, BLANK)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(("lm_weight", "symbols"), [(0.0, 4), (0.0, None), (0.4, None)])
def test_prefix_beam(lm, cut, lm_weight, symbols):
    whole = frames(5)
    fusion = Fusion(config=FusionConfig(beam_size=4, lm_weight=lm_weight, length_bonus=0.1), lm=lm if lm_weight else None)
    tree = PrefixTree()
    search = CtcPrefixBeam(fusion.config, BLANK, END, tree, fusion.scorer(tree), symbols)
    (expected,) = search.run(whole[None], torch.tensor([len(whole)]))
    stream = CtcPrefixStream(fusion, BLANK, END, SIZE, symbols)
    for piece in whole.split(cut):
        stream.accept(piece)
    assert stream.answers() == expected
    assert len(expected) == 4


def test_answers_on_the_way_are_those_of_what_was_heard():
    whole = frames(6)
    fusion = Fusion(config=FusionConfig(beam_size=3))
    greedy, stream = CtcGreedyStream(BLANK), CtcPrefixStream(fusion, BLANK, END, SIZE)
    heard = 0
    for piece in whole.split([0, 15, 25]):
        greedy.accept(piece)
        stream.accept(piece)
        heard += len(piece)
        (expected,) = CtcPrefixBeam(fusion.config, BLANK, END, PrefixTree()).run(whole[None], torch.tensor([heard]))
        assert stream.answers() == expected
        assert greedy.path() == greedy_path(whole[:heard], BLANK)


def test_nothing_heard():
    assert CtcGreedyStream(BLANK).path().tokens == ()
    (found,) = CtcPrefixStream(Fusion(config=FusionConfig(beam_size=3)), BLANK, END, SIZE).answers()
    assert (found.tokens, found.score) == ((), 0.0)
