"""Attention of a step's tokens to an LLM's cache where several heads of queries share one of keys and values.

For more than one new token a row, transformers repeats keys and values for each head before every attention, which for long
prompts costs more than the attention. Here the heads that share keys stand one after another as queries of one head.

U rows, H heads of queries, G of keys and values, K new tokens, C columns, D width of a head.
"""

import contextlib
from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

_NAME = "mooer_grouped"
_PLAIN = "sdpa"


@contextlib.contextmanager
def grouped_heads(llm: nn.Module) -> Iterator[None]:
    """An LLM's steps within the block, each with an additive mask of four dimensions, repeat no keys.

    Nothing changes for an LLM that does not use scaled_dot_product_attention.
    """
    config = llm.config
    if config._attn_implementation != _PLAIN:
        yield
        return
    AttentionInterface.register(_NAME, _attend)
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = _PLAIN


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Queries [U, H, K, D], keys and values [U, G, C, D] and a mask [U, 1, K, C] -> [U, K, H, D], as transformers calls it."""
    rows, heads, tokens, _ = query.shape
    shared = heads // key.shape[1]
    if shared == 1 or kwargs.get("position_bias") is not None:
        plain = AttentionInterface()[_PLAIN]
        return plain(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs)
    queries = query.reshape(rows, heads // shared, shared * tokens, -1)
    mask = attention_mask.repeat(1, 1, shared, 1)
    context = F.scaled_dot_product_attention(queries, key, value, mask, scale=scaling)
    return context.reshape(rows, heads, tokens, -1).transpose(1, 2).contiguous(), None
