"""The language model and its use in search: equal to the reference."""

import json

import pytest
import torch

from mooer.common.config import from_dict
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
