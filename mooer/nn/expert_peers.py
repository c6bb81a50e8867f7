"""Experts of several processes: a frame travels to the process that holds its expert, and what becomes of it travels back.

Any number of frames may go anywhere, none too: nothing is padded, dropped or waited for. Every process of a group must run the
same layers in the same order, with and without gradient.

Shapes: G processes of the group, E experts in all, N rows of this process, R rows that come to it.
"""

from typing import Any

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor


class _Exchange(torch.autograd.Function):
    """Rows to the processes of a group in order of rank, `sent` to each, against `received` of each; gradients go back."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sent: list[int], received: list[int], group: torch.distributed.ProcessGroup) -> Tensor:
        ctx.settings = (received, sent, group)
        output = rows.new_empty(sum(received), *rows.shape[1:])
        torch.distributed.all_to_all_single(output, rows.contiguous(), received, sent, group)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return _Exchange.apply(gradient, *ctx.settings), None, None, None


class Journey:
    """The ways of the rows of one layer and batch, there and back.

    Args:
        counts: [G, E] int64 on the CPU, the rows of each process for each expert.
    """

    def __init__(self, counts: Tensor, group: torch.distributed.ProcessGroup) -> None:
        self._group = group
        rank, size = group.rank(), len(counts)
        by_owner = counts.unflatten(1, (size, -1))  # [G, G, E / G]
        self._sent = by_owner[rank].sum(dim=1).tolist()
        here = by_owner[:, rank]  # [G, E / G]
        self._received = here.sum(dim=1).tolist()
        self.counts: list[int] = here.sum(dim=0).tolist()
        """Rows that come for each expert of this process."""
        # They come by process, then by expert.
        experts = torch.arange(here.shape[1]).repeat(size).repeat_interleave(here.flatten())
        self._by_expert = experts.argsort(stable=True)
        self._by_process = self._by_expert.argsort()

    def there(self, rows: Tensor) -> Tensor:
        """[N, ...] by expert -> [R, ...] by this process's experts, for each by process, in the order that they had."""
        return _Exchange.apply(rows, self._sent, self._received, self._group)[self._by_expert.to(rows.device)]

    def flags_there(self, flags: Tensor) -> Tensor:
        """The same for [N, H] bool, eight of which travel as one byte."""
        return _unpacked(self.there(_packed(flags)), flags.shape[1])

    def back(self, rows: Tensor) -> Tensor:
        """[R, ...] -> [N, ...], each where it came from."""
        return _Exchange.apply(rows[self._by_process.to(rows.device)], self._received, self._sent, self._group)


def _packed(flags: Tensor) -> Tensor:
    """[N, H] bool -> [N, H / 8 rounded up] uint8."""
    bits = F.pad(flags, (0, -flags.shape[1] % 8)).unflatten(1, (-1, 8)).to(torch.uint8)
    return (bits << torch.arange(8, dtype=torch.uint8, device=flags.device)).sum(dim=2, dtype=torch.uint8)


def _unpacked(packed: Tensor, size: int) -> Tensor:
    """What was packed, [N, H] bool with H = `size`."""
    bits = packed[:, :, None] >> torch.arange(8, dtype=torch.uint8, device=packed.device)
    return (bits & 1).flatten(1)[:, :size].bool()


class ExpertPeers:
    """The processes that hold a layer's experts, in order of rank, as many each. Its methods are a matter of all of them."""

    def __init__(self, group: torch.distributed.ProcessGroup) -> None:
        self._group = group

    def journey(self, counts: list[int], device: torch.device) -> Journey:
        """The ways of rows, of which `counts` are for each of the E experts."""
        return Journey(self._of_all(torch.tensor(counts, device=device)).cpu(), self._group)

    def queue(self, counts: list[int], device: torch.device) -> tuple[int, list[int]]:
        """The rows of all processes, and how many of each expert's come before those of this one."""
        of_all = self._of_all(torch.tensor(counts, device=device))
        return int(of_all.sum()), of_all[: self._group.rank()].sum(dim=0).tolist()

    def mean(self, rows: Tensor) -> Tensor:
        """[N, E] -> the mean over the rows of all processes [E], without gradient."""
        sums = torch.cat([rows.detach().sum(dim=0), rows.new_tensor([len(rows)])])
        torch.distributed.all_reduce(sums, group=self._group)
        return sums[:-1] / sums[-1].clamp(min=1)

    def _of_all(self, row: Tensor) -> Tensor:
        """[E] -> [G, E]."""
        rows = row.new_empty(self._group.size(), len(row))
        torch.distributed.all_gather(list(rows.unbind()), row, group=self._group)
        return rows
