"""What ZeRO spreads over ranks, put together again: weights, optimizer state and gradients by parameter.

Stage 0 keeps all on every rank; 1 splits the optimizer state, 2 the gradients too, 3 the weights too. DeepSpeed flattens the
parameters of a group into one vector and gives each rank a stretch of it. `fragment` says which values of a parameter lie in
this rank's stretch; all else here follows from that, so a checkpoint is the same whatever the stage and the number of ranks.
Experts that ranks share (`mooer.models.shared_experts`) are put together likewise.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mooer.common import dist
from mooer.models.shared_experts import share_of


@dataclass(frozen=True)
class Fragment:
    """The values of a parameter that this rank's optimizer updates."""

    owner: Tensor
    """The tensor that the torch optimizer knows: the parameter itself, or this rank's stretch of a flattened group."""
    owner_start: int
    """First of the values in the owner."""
    start: int
    """First of the values in the flattened parameter, the whole of it where ranks share experts."""
    count: int

    def of(self, owned: Tensor) -> Tensor:
        """This fragment's part of a tensor of the owner's size, such as a moment of Adam; a view."""
        return owned.view(-1).narrow(0, self.owner_start, self.count)


def fragment(parameter: nn.Parameter, optimizer: Any, stage: int) -> Fragment | None:
    """The fragment of a trainable parameter on this rank; None where none of it is here.

    Args:
        optimizer: DeepSpeed's; the torch optimizer itself at stage 0.
    """
    share = share_of(parameter)
    first = 0 if share is None else share.start
    if stage == 0:
        return Fragment(parameter, 0, first, parameter.numel())
    if stage < 3:
        mapping = parameter._hp_mapping
        if mapping is None:
            return None
        flat = optimizer.single_partition_of_fp32_groups[mapping.param_group_index]
        here, whole = mapping.hp_fragment_address, mapping.lp_fragment_address
        return Fragment(flat, here.start, first + whole.start, here.numel)
    group, offset, size = optimizer.grad_position[optimizer.get_param_id(parameter)]
    start = size * dist.rank()
    count = min(size, parameter.ds_numel - start)
    return Fragment(optimizer.fp32_partitioned_groups_flat[group], offset, start, count) if count > 0 else None


def gradient_pieces(optimizer: Any, stage: int, offload: bool) -> list[Tensor]:
    """What this rank has to update by: every gradient at stage 0, its own share of their mean over ranks above."""
    if stage == 0:
        gradients = (parameter.grad for group in optimizer.param_groups for parameter in group["params"])
        return [gradient for gradient in gradients if gradient is not None]
    if offload:
        flat = optimizer.single_partition_of_fp32_groups if stage < 3 else optimizer.fp32_partitioned_groups_flat
        return [partition.grad for partition in flat]
    return [piece for pieces in optimizer.averaged_gradients.values() for piece in pieces]


def counted_gradients(optimizer: Any) -> list[Tensor]:
    """The gradients at stage 0 that this rank counts, so that over all ranks each counts once: where ranks share experts."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"] if parameter.grad is not None]
    shares = [(parameter.grad, share_of(parameter)) for parameter in parameters]
    return [gradient for gradient, share in shares if (dist.is_main() if share is None else share.counts)]


def whole_weight(parameter: Tensor) -> Tensor:
    """All values of a parameter or buffer, on the CPU; every rank must call it for the same one. Main rank's result counts."""
    if share_of(parameter) is not None:
        return gather(parameter, fragment(parameter, None, stage=0), parameter)
    if not hasattr(parameter, "ds_id"):
        return parameter.detach().cpu()
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter]):
        return parameter.detach().cpu().clone() if dist.is_main() else torch.empty(0)


def gather(parameter: nn.Parameter, part: Fragment | None, owned: Tensor | None) -> Tensor:
    """The whole of a parameter-shaped state that the ranks have fragments of, on the CPU; every rank must call it.

    Args:
        owned: the state of the fragment's owner; None where `part` is.
    """
    shape, share = whole_shape(parameter), share_of(parameter)
    is_copied = part is not None and part.owner is parameter
    if is_copied and share is None:
        return owned.detach().cpu()
    whole = torch.zeros(shape.numel(), dtype=torch.float32, device=parameter.device)
    if part is not None and (share.counts if is_copied else True):
        whole.narrow(0, part.start, part.count).copy_(part.of(owned))
    return dist.sum_over_ranks(whole).view(shape).cpu()


def scatter(part: Fragment, value: Tensor, owned: Tensor) -> None:
    """Put this rank's fragment of a parameter-shaped value into the state of its owner."""
    part.of(owned).copy_(value.reshape(-1).narrow(0, part.start, part.count))


def whole_shape(parameter: nn.Parameter) -> torch.Size:
    """Shape of the parameter, of which stage 3 leaves a stretch on each rank, and the sharing of experts some."""
    share = share_of(parameter)
    return getattr(parameter, "ds_shape", parameter.shape) if share is None else share.shape
