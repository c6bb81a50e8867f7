"""The language model and its use in search: equal to the reference."""

import json

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from mooer.common.config import from_dict
from mooer.decode.ctc_prefix_score import CtcPrefixScorer
from mooer.decode.fusion import FusionConfig
from mooer.decode.language_model import LanguageModelScorer
from mooer.decode.paraformer_search import ParaformerSearch
from mooer.decode.prefixes import PrefixTree
from mooer.models.transformer_lm import TransformerLm, TransformerLmConfig
from mooer.models.weights import load_state, read_state


@pytest.fixture(scope="module")
def stored(golden_paraformer):
    """The tensors, and the manifest's entry about them."""
    manifest = json.loads((golden_paraformer / "manifest.json").read_text(encoding="utf-8"))
    return read_state(golden_paraformer / "beam_search.safetensors"), manifest["files"]["beam_search.safetensors"]


@pytest.fixture(scope="module")
def model(stored):
    tensors, facts = stored
    sizes = dict(facts["lm_config"])
    vocab_size = sizes.pop("vocab_size")
    network = TransformerLm(from_dict(TransformerLmConfig, sizes), vocab_size)
    load_state(network, {name[3:]: tensor for name, tensor in tensors.items() if name.startswith("lm.")}, "the golden model")
    return network.eval().requires_grad_(False)


def test_logits(model, stored):
    tensors, _ = stored
    torch.testing.assert_close(model.logits(tensors["lm_probe_ids"]), tensors["lm_probe_logits"], rtol=0, atol=2e-5)


def search(stored, model, case, utterances):
    """The search of a stored case, for some of the stored utterances together."""
    tensors, _ = stored
    places = [tensors[f"utt{number}.am_logprob"] for number in utterances]
    heard = [tensors[f"utt{number}.ctc_logprob"] for number in utterances]
    config = FusionConfig(
        beam_size=case["beam"], lm_weight=case["lm_weight"], ctc_weight=case["ctc_weight"], length_bonus=case["penalty"]
    )
    tree = PrefixTree()
    lm = LanguageModelScorer(model, tree) if case["lm_weight"] else None
    lengths = torch.tensor([len(frames) for frames in heard])
    ctc = CtcPrefixScorer(pad_sequence(heard, batch_first=True), lengths, 0, 2) if case["ctc_weight"] else None
    counts = torch.tensor([len(rows) for rows in places])
    return ParaformerSearch(2, config, tree, lm, ctc, ends_early=True).run(pad_sequence(places, batch_first=True), counts)


def test_beam_search(stored, model):
    cases = stored[1]["results"]
    assert len(cases) == 12
    for case in cases:
        (found,) = search(stored, model, case, [case["utt"]])
        assert len(found) >= len(case["nbest"])
        count = len(stored[0][f"utt{case['utt']}.am_logprob"])
        for answer, wanted in zip(found, case["nbest"], strict=False):
            _, *tokens = wanted["yseq"]
            # The reference puts an end after the last place; one before it is an answer's own.
            assert list(answer.tokens) == (tokens[:-1] if len(tokens) > count else tokens)
            assert answer.score == pytest.approx(wanted["score"], abs=2e-3)
            assert answer.lm_score == pytest.approx(wanted["scores"].get("lm", 0.0), abs=2e-3)
            assert answer.ctc_score == pytest.approx(wanted["scores"].get("ctc", 0.0), abs=2e-3)


def test_an_answer_does_not_depend_on_its_batch(stored, model):
    for case in stored[1]["results"]:
        for alone, together in zip(
            [search(stored, model, case, [number])[0] for number in (0, 1, 0)],
            search(stored, model, case, [0, 1, 0]),
            strict=True,
        ):
            assert [answer.tokens for answer in alone] == [answer.tokens for answer in together]
            assert [answer.score for answer in alone] == pytest.approx([answer.score for answer in together], abs=1e-4)
