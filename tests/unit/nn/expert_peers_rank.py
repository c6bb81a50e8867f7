"""What a rank of test_expert_peers.py does, and what it is compared with."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from mooer.nn.expert_peers import ExpertPeers
from mooer.nn.moe import Experts, MoeFeedForward

WIDTH, HIDDEN, EMBEDDING, EXPERTS = 6, 10, 4, 4
LENGTHS = ((2, 9), (3, 5))
"""Batch and frames of each rank."""
CASES = ("usual", "collapsed", "swapped", "nothing_here", "nothing_anywhere", "capacity", "dropout", "evaluation")


def layer_of(case):
    """The layer with all experts, the same on every rank."""
    torch.manual_seed(0)
    rate, capacity = 0.5 if case == "dropout" else 0.0, 0.6 if case == "capacity" else -1.0
    layer = MoeFeedForward(Experts(EXPERTS, WIDTH, HIDDEN, rate, capacity), EMBEDDING, True, False, True).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    if case in ("collapsed", "swapped"):  # all frames to the first expert, of rank 0, or to the last, of rank 1
        layer.router_bias.data[0 if case == "collapsed" else -1] += 100.0
    return layer.train(case != "evaluation")


def inputs_of(case, rank):
    """Frames, embedding and mask of a rank."""
    generator = torch.Generator().manual_seed(rank)
    frames = torch.randn(*LENGTHS[rank], WIDTH, generator=generator, dtype=torch.float64).requires_grad_()
    embedding = torch.randn(*LENGTHS[rank], EMBEDDING, generator=generator, dtype=torch.float64)
    is_silent = case == "nothing_anywhere" or (case == "nothing_here" and rank == 1)
    mask = torch.zeros(LENGTHS[rank], dtype=torch.bool) if is_silent else torch.rand(LENGTHS[rank], generator=generator) < 0.8
    return frames, embedding, mask


def results_of(layer, case, rank):
    """Output, and the gradients of a loss of this rank's frames."""
    frames, embedding, mask = inputs_of(case, rank)
    torch.manual_seed(5 + rank)
    output, routing = layer(frames, embedding, mask)
    after = torch.rand(())  # how far the random numbers have come
    (output.square().sum() * (rank + 1)).backward()
    gradients = {name: parameter.grad for name, parameter in layer.named_parameters()}
    return gradients | {"output": output.detach(), "chosen": routing.chosen, "frames": frames.grad, "after": after}


def share(layer, rank, size):
    """Leave the layer the experts of this rank, and let it reach the others."""
    for parameter in layer.experts.parameters():
        parameter.data = parameter.data.chunk(size)[rank].clone()
    layer.experts.peers = ExpertPeers(torch.distributed.group.WORLD)


def main(output):
    """Write the results of every case to the folder."""
    torch.distributed.init_process_group("gloo")
    rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    for case in CASES:
        layer = layer_of(case)
        share(layer, rank, size)
        save_file(results_of(layer, case, rank), Path(output) / f"{case}.{rank}.safetensors")
    torch.distributed.destroy_process_group()
