"""Parts of a model that are not trained: they stay in eval mode, without dropout, and need no gradients."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def is_frozen(part: nn.Module) -> bool:
    """Whether no parameter of the part is trained."""
    return not any(parameter.requires_grad for parameter in part.parameters())


def keep_frozen_in_eval(model: nn.Module) -> None:
    """Put the frozen ones among the model's direct parts in eval mode."""
    for part in model.children():
        if is_frozen(part):
            part.eval()


@contextmanager
def gradients_unless_frozen(part: nn.Module) -> Iterator[None]:
    """Record no gradients if the part is frozen; its inputs must need none."""
    with torch.set_grad_enabled(torch.is_grad_enabled() and not is_frozen(part)):
        yield
