"""The experts of a model shared by ranks: which of them are here.

With `expert_parallel: N`, N consecutive ranks hold E / N experts of each layer each; the next N ranks hold copies of them.
"""

from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor, nn

from mooer.common import dist
from mooer.nn.expert_peers import ExpertPeers
from mooer.nn.moe import Experts


@dataclass(frozen=True)
class Share:
    """What this rank has of a parameter whose first axis are the experts."""

    shape: torch.Size
    """Of the whole parameter."""
    start: int
    """First of the values here in the flattened whole."""
    counts: bool
    """Whether this rank's copy is the one that counts where each value must count once; the others are equal."""


def share_experts(model: nn.Module, expert_parallel: int) -> None:
    """Leave this rank its experts, in place, with the marks by which DeepSpeed knows such parameters; nothing for 1.

    Every rank's model must have the same weights. The model runs once `connect_experts` has told it who has the others.
    """
    if expert_parallel == 1:
        return
    number = dist.rank() % expert_parallel
    for parameter in (parameter for experts in _layers(model) for parameter in experts.parameters()):
        shape = parameter.shape
        parameter.data = parameter.data.chunk(expert_parallel)[number].clone()
        parameter.share = Share(shape, number * parameter.numel(), dist.rank() < expert_parallel)
        parameter.allreduce = False
        parameter.group_name = group_name(expert_parallel)


def connect_experts(model: nn.Module, group: torch.distributed.ProcessGroup) -> None:
    """Let the frames of every layer travel to the experts of all ranks of the group."""
    peers = ExpertPeers(group)
    for experts in _layers(model):
        experts.peers = peers


def share_of(parameter: Tensor) -> Share | None:
    """What of a parameter is here; None for one that ranks do not share."""
    return getattr(parameter, "share", None)


def group_name(expert_parallel: int) -> str:
    """How DeepSpeed calls the process groups of so many ranks that share experts."""
    return f"ep_size_{expert_parallel}"


def group_of_experts(parameter: Tensor) -> str | None:
    """The name of the groups that share the parameter; None for one that ranks do not share."""
    return getattr(parameter, "group_name", None)


def _layers(model: nn.Module) -> list[Experts]:
    return [module for module in model.modules() if isinstance(module, Experts)]
