"""Steps with grouped heads against the LLM's own way, which repeats keys and values."""

import contextlib

import pytest
import torch
from transformers import DynamicCache

from mooer.common.torchaudio_compat import ensure_torchaudio
from mooer.decode.grouped_attention import grouped_heads


def make_llm(num_key_value_heads, attention="sdpa"):
    ensure_torchaudio()
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=num_key_value_heads,
        intermediate_size=48,
        attn_implementation=attention,
    )
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def step(llm, way):
    """Logits [2, 3, V] of three tokens a row, which see a prompt of 5, but for its first column, and themselves."""
    cache = DynamicCache()
    llm(input_ids=torch.arange(10).view(2, 5), past_key_values=cache, use_cache=True)
    mask = torch.full((2, 1, 3, 8), torch.finfo(torch.float32).min)
    mask[..., 1:5] = 0
    mask[..., 5:].diagonal(dim1=2, dim2=3).zero_()
    tokens, positions = torch.tensor([[11, 12, 13], [14, 15, 16]]), torch.full((2, 3), 5)
    with way:
        return llm(input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=cache).logits


@pytest.mark.parametrize("num_key_value_heads", [1, 2, 8])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_equals_the_own_way(num_key_value_heads, attention):
    llm = make_llm(num_key_value_heads, attention)
    torch.testing.assert_close(step(llm, grouped_heads(llm)), step(llm, contextlib.nullcontext()), rtol=1e-5, atol=1e-5)
    assert llm.config._attn_implementation == attention


def test_nothing_is_repeated(monkeypatch):
    llm = make_llm(2)
    monkeypatch.setattr("transformers.integrations.sdpa_attention.repeat_kv", lambda *_: pytest.fail("repeated"))
    assert step(llm, grouped_heads(llm)).isfinite().all()
