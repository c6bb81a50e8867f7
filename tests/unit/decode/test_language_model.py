"""The language model over a tree: equal to the model over whole sentences, whatever is asked for and when."""

import pytest
import torch

from mooer.decode.language_model import LanguageModelScorer
from mooer.decode.prefixes import EMPTY, PrefixTree
from mooer.models.transformer_lm import SpecialTokens, TransformerLm, TransformerLmConfig

SIZES = {"embed_unit": 6, "att_unit": 8, "head": 2, "unit": 12, "layer": 2}


def model(pos_enc="sinusoidal", **special):
    torch.manual_seed(1)
    config = TransformerLmConfig(pos_enc=pos_enc, **SIZES)
    return TransformerLm(config, 11, SpecialTokens(**special)).eval().requires_grad_(False)


def test_the_tree_knows_equal_beginnings():
    tree = PrefixTree()
    first, second = tree.extend([EMPTY, EMPTY], [4, 5])
    third, fourth, again = tree.extend([first, second, first], [5, 4, 5])
    assert third == again != fourth
    assert [tree.tokens(node) for node in (EMPTY, first, third, fourth)] == [(), (4,), (4, 5), (5, 4)]
    assert len(tree) == 5


@pytest.mark.parametrize("pos_enc", ["sinusoidal", None])
@pytest.mark.parametrize("special", [{}, {"start": 0, "end": 0}])
def test_equal_to_whole_sentences(pos_enc, special):
    """Of sentences that part late, early and never, with a blank among them, and more of them than there are rows at first."""
    network, tree = model(pos_enc, **special), PrefixTree()
    scorer = LanguageModelScorer(network, tree)
    torch.testing.assert_close(scorer.log_probs([EMPTY])[0], expected(network, ()))
    generator = torch.Generator().manual_seed(3)
    nodes = [EMPTY] * 60
    for step in range(9):
        tokens = torch.randint(0 if step and not special else 1, 11, (len(nodes),), generator=generator).tolist()
        nodes = tree.extend(nodes, tokens)
        for node, scores in zip(nodes, scorer.log_probs(nodes), strict=True):
            torch.testing.assert_close(scores, expected(network, tree.tokens(node)), rtol=1e-4, atol=1e-5)
    assert len(tree) > 300


def expected(network, tokens):
    return network.logits(torch.tensor([[network.special.start, *tokens]]))[0, -1].log_softmax(-1)
