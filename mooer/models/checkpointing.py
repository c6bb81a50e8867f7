"""Gradient checkpointing (Chen et al. 2016): a block's activations are computed again in the backward pass, not kept.

Only the block's forward function is exchanged, no module is put around it, so that the weights keep their names.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mooer.models.frozen import is_frozen

Context = Callable[[], contextlib.AbstractContextManager[object]]


def checkpoint_blocks(model: nn.Module, recomputing: Context = contextlib.nullcontext) -> int:
    """Let the blocks of every part that gradients pass through forget their activations; returns how many blocks.

    Args:
        recomputing: what a block is computed again in, beside autocast, which torch remembers.

    A part's blocks are the members of its outermost module lists. A frozen encoder runs without gradients and has nothing to
    forget; through a frozen LLM gradients pass to what is before it.
    """
    blocks = [block for name, part in model.named_children() if name == "llm" or not is_frozen(part) for block in _blocks(part)]
    for block in blocks:
        block.forward = functools.partial(_forgetting, recomputing, block.forward)
    return len(blocks)


def forgets_activations(block: nn.Module) -> bool:
    """Whether `checkpoint_blocks` was here, so that the block's forward pass runs again in the backward pass."""
    return getattr(block.forward, "func", None) is _forgetting


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from _blocks(child)


def _forgetting(recomputing: Context, forward: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs, **options)
    contexts = (contextlib.nullcontext(), recomputing())
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=lambda: contexts, **options)
