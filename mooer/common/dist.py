"""Rank and world size as torchrun sets them, and the few collectives that are used outside of the engine."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def rank() -> int:
    """This process's rank in the job, 0 for a single process."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """This process's rank on its machine, which is its accelerator's index."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """The number of processes in the job, 1 for a single process."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process is the one that writes files and progress."""
    return rank() == 0


def barrier() -> None:
    """Wait until all ranks are here; nothing to wait for in a single process."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()


def sum_over_ranks(values: "torch.Tensor") -> "torch.Tensor":
    """The element-wise sum of a tensor over all ranks, in place; unchanged in a single process."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(values)
    return values
