"""A mixture of experts as the feed-forward part: each frame goes to one of them (Fedus et al. 2021; You et al. 2021).

The router reads an embedding of the frame from another network beside the frame itself, as in SpeechMoE2 (You et al. 2022).

Shapes: B batch, T frames, N frames that are routed, D width, M width of the embedding, E experts.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mooer.nn.expert_peers import ExpertPeers

# Of Glorot's uniform initialisation, for experts and routers.
GAIN = 0.5


class Routing(NamedTuple):
    """How a layer's router decided, for the N frames that were routed, in the order in which they lie in the batch."""

    probabilities: Tensor
    """[N, E] float32, with gradient."""
    chosen: Tensor
    """[N] int64, the most probable expert."""
    mean: Tensor | None = None
    """[E], the mean of the probabilities of several processes, without gradient; None where these N frames are alone."""


def sparsity_loss(probabilities: Tensor) -> Tensor:
    """Mean over frames of the L1 norm, the L2 norm made one: from 1, one sure expert, to sqrt(E). [N, E] -> scalar."""
    return F.normalize(probabilities, dim=1).sum() / max(1, len(probabilities))


def importance_loss(probabilities: Tensor, mean_of_all: Tensor | None = None) -> Tensor:
    """E times the squared length of the mean over frames: from 1, all experts used alike, to E. [N, E] -> scalar.

    Args:
        mean_of_all: [E], a mean over more frames, to take the value of; the gradient is still that of a mean over these.
    """
    mean = probabilities.sum(dim=0) / max(1, len(probabilities))
    if mean_of_all is not None:
        mean = mean + (mean_of_all - mean).detach()
    return probabilities.shape[1] * mean.square().sum()


class _LinearByGroup(torch.autograd.Function):
    """Rows [N, in] in consecutive groups, each through a linear layer of its own.

    Every product is written where it belongs. Torch's own gradients of slices would lie apart first, each of full size where
    the weights are indexed, and then be put together: that alone takes as long as some of the products.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, counts: list[int]) -> Tensor:
        ctx.save_for_backward(rows, weight)
        ctx.counts = counts
        output = rows.new_empty(len(rows), weight.shape[1])
        for own, out, matrix, offset in zip(rows.split(counts), output.split(counts), weight, bias, strict=True):
            torch.addmm(offset, own, matrix.t(), out=out)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        of_rows, of_weight = torch.empty_like(rows), torch.empty_like(weight)
        of_bias = weight.new_empty(weight.shape[:2])
        groups = zip(*(tensor.split(ctx.counts) for tensor in (gradient, rows, of_rows)), strict=True)
        for number, (own, own_rows, out) in enumerate(groups):
            torch.mm(own, weight[number], out=out)
            torch.mm(own.t(), own_rows, out=of_weight[number])
            torch.sum(own, dim=0, out=of_bias[number])
        return of_rows, of_weight, of_bias, None


class StackedLinear(nn.Module):
    """A linear layer an expert: weight [E, out, in], bias [E, out]."""

    def __init__(self, num_experts: int, input_size: int, output_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_experts, output_size, input_size))
        self.bias = nn.Parameter(torch.zeros(num_experts, output_size))
        nn.init.xavier_uniform_(self.weight, gain=GAIN)

    def forward(self, rows: Tensor, counts: list[int]) -> Tensor:
        """[N, in] -> [N, out]: the first counts[0] rows through the first layer, and so on; in autocast's type inside of it."""
        device = rows.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.weight.dtype
        return _LinearByGroup.apply(rows.to(dtype), self.weight.to(dtype), self.bias.to(dtype), counts)


class Experts(nn.Module):
    """Feed-forward networks (linear, Swish, dropout, linear), each for frames of its own.

    The weights of all experts lie in one tensor a layer, as 3M-ASR has them (w_1.weight [E, hidden, D], ...): few and large
    parameters for the optimizer, and a slice of the first dimension is what one of several processes holds; `peers` are those
    processes then, and None where all experts are here.

    Args:
        capacity_factor: in training an expert takes at most this many times its even share of the frames; 0 or less is no
            limit. The frames that come last get zeros.
        as_one: let the frames of all `peers` be one batch in the capacity and in importance_loss, as in 3M-ASR. Otherwise each
            process's are a batch, so that it does not matter how many processes share the experts.
    """

    def __init__(
        self,
        num_experts: int,
        width: int,
        hidden_size: int,
        dropout: float,
        capacity_factor: float,
        as_one: bool = False,
    ) -> None:
        super().__init__()
        self.w_1 = StackedLinear(num_experts, width, hidden_size)
        self.w_2 = StackedLinear(num_experts, hidden_size, width)
        self.rate = dropout
        self.capacity_factor = capacity_factor
        self.as_one = as_one
        self.peers: ExpertPeers | None = None

    def forward(self, frames: Tensor, counts: list[int]) -> Tensor:
        """[N, D] -> [N, D].

        Args:
            frames: those of the first expert, then those of the second, and so on.
            counts: how many each has; their sum is N.
        """
        allowed = self._within_capacity(counts, frames.device)
        if allowed == counts:
            return self._networks(frames, counts)
        kept = torch.cat([torch.arange(count) < most for count, most in zip(counts, allowed, strict=True)])
        taken = kept.nonzero().squeeze(1).to(frames.device)
        outputs = self._networks(frames[taken], allowed)
        return outputs.new_zeros(len(frames), outputs.shape[1]).index_copy(0, taken, outputs)

    def _within_capacity(self, counts: list[int], device: torch.device) -> list[int]:
        """How many of its frames each expert takes."""
        if not self.training or self.capacity_factor <= 0:
            return counts
        total, before = sum(counts), [0] * len(counts)
        if self.peers is not None and self.as_one:
            total, before = self.peers.queue(counts, device)
        capacity = int(self.capacity_factor * total / len(counts))
        if capacity <= 0:
            return counts
        return [min(count, max(0, capacity - earlier)) for count, earlier in zip(counts, before, strict=True)]

    def _networks(self, frames: Tensor, counts: list[int]) -> Tensor:
        keep = self._draw(frames)
        if self.peers is None:
            return self._compute(frames, counts, keep)
        journey = self.peers.journey(counts, frames.device)
        keep = None if keep is None else journey.flags_there(keep.bool())
        return journey.back(self._compute(journey.there(frames), journey.counts, keep))

    def _draw(self, frames: Tensor) -> Tensor | None:
        """[N, hidden], 1 for what dropout keeps; None for everything.

        It is drawn where the frames are, not where their experts are, so that it is the same wherever those are.
        """
        if not self.training or self.rate == 0.0:
            return None
        return frames.new_empty(len(frames), self.w_1.weight.shape[1]).bernoulli_(1.0 - self.rate)

    def _compute(self, frames: Tensor, counts: list[int], keep: Tensor | None) -> Tensor:
        hidden = F.silu(self.w_1(frames, counts))
        if keep is not None:
            hidden = hidden * keep.to(hidden.dtype).div_(1.0 - self.rate)
        return self.w_2(hidden, counts)


class MoeFeedForward(nn.Module):
    """A router, and experts of which each frame is given to the most probable.

    Parameter names are 3M-ASR's: router_weights, router_bias, experts.*.

    Args:
        embedding_size: M.
        keep_expert_output: do not multiply an expert's output by its probability.
        random_router: begin with random routes instead of zeros, with which all frames go to the first expert.
    """

    def __init__(
        self, experts: Experts, embedding_size: int, has_bias: bool, keep_expert_output: bool, random_router: bool
    ) -> None:
        super().__init__()
        num_experts, _, width = experts.w_1.weight.shape
        self.experts = experts
        self.router_weights = nn.Parameter(torch.zeros(embedding_size + width, num_experts))
        self.router_bias = nn.Parameter(torch.zeros(num_experts)) if has_bias else None
        self.keep_expert_output = keep_expert_output
        if random_router:
            nn.init.xavier_uniform_(self.router_weights, gain=GAIN)

    def forward(self, frames: Tensor, embedding: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Routing]:
        """[B, T, D] -> [B, T, D], and how the frames went.

        Args:
            embedding: [B, T, M], what else the router reads.
            mask: [B, T] bool, the frames to route; the others get zeros. None for all.
        """
        routing = self._route(frames, embedding, mask)
        order = routing.chosen.argsort(stable=True)
        counts = routing.chosen.bincount(minlength=self.router_weights.shape[1]).tolist()
        places = order if mask is None else mask.flatten().nonzero().squeeze(1)[order]
        flat = frames.flatten(0, 1)
        outputs = self.experts(flat[places], counts)
        if not self.keep_expert_output:
            gates = routing.probabilities.gather(1, routing.chosen[:, None])[order]
            outputs = outputs * gates.to(outputs.dtype)
        combined = outputs.new_zeros(flat.shape).index_copy(0, places, outputs)
        return combined.view_as(frames), routing

    def _route(self, frames: Tensor, embedding: Tensor, mask: Tensor | None) -> Routing:
        """In float32, whatever the model computes in."""
        with torch.autocast(frames.device.type, enabled=False):
            of_embedding, of_frame = self.router_weights.float().split([embedding.shape[-1], frames.shape[-1]])
            logits = embedding.float() @ of_embedding + frames.float() @ of_frame
            if self.router_bias is not None:
                logits = logits + self.router_bias.float()
            logits = logits.flatten(0, 1) if mask is None else logits[mask]
            probabilities = logits.softmax(dim=-1)
        peers = self.experts.peers
        mean = peers.mean(probabilities) if peers is not None and self.experts.as_one else None
        return Routing(probabilities, probabilities.argmax(dim=-1), mean)
