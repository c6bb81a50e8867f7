#!/usr/bin/env python3
"""A layer of experts beside a dense feed-forward part of the same active size, and beside other ways to compute it.

All ways run in turns, round after round, in one process; printed are the fastest round and the median, in milliseconds, and
their ratio to the dense part. Frames are routed at random, so that each expert has about its even share. Run from the
repository: python tools/bench/moe.py
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mooer.nn.feed_forward import FeedForward
from mooer.nn.moe import Experts, MoeFeedForward


class LoopOverExperts(nn.Module):
    """What is written first: a module an expert, its frames found by comparing."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        num_experts, hidden, width = layer.experts.w_1.weight.shape
        self.experts = nn.ModuleList(FeedForward(width, hidden, 0.0, F.silu) for _ in range(num_experts))
        for number, expert in enumerate(self.experts):
            for name, parameter in expert.named_parameters():
                parameter.data = layer.experts.get_parameter(name).data[number].clone()

    def forward(self, frames, embedding):
        routing = self.layer._route(frames, embedding, None)
        flat, gates = frames.flatten(0, 1), routing.probabilities.amax(dim=1)
        output = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            own = routing.chosen == number
            output[own] = expert(flat[own]) * gates[own, None]
        return output.view_as(frames), routing


class SameExperts(Experts):
    """The weights of others, computed in another way."""

    def __init__(self, experts):
        super().__init__(1, 1, 1, 0.0, -1.0)
        self.w_1, self.w_2 = experts.w_1, experts.w_2


class PaddedExperts(SameExperts):
    """One product of stacked matrices: each expert's frames are padded to those of the fullest."""

    def forward(self, frames, counts):
        highest, counts = max(counts), torch.tensor(counts)
        number = torch.arange(len(counts)).repeat_interleave(counts)
        place = torch.arange(len(frames)) - (counts.cumsum(0) - counts)[number]
        padded = frames.new_zeros(len(counts), highest, frames.shape[1]).index_put((number, place), frames)
        hidden = F.silu(torch.baddbmm(self.w_1.bias[:, None], padded, self.w_1.weight.transpose(1, 2)))
        return torch.baddbmm(self.w_2.bias[:, None], hidden, self.w_2.weight.transpose(1, 2))[number, place]


class GroupedExperts(SameExperts):
    """torch.nn.functional.grouped_mm."""

    def forward(self, frames, counts):
        counts = torch.tensor(counts)
        number, ends = torch.arange(len(counts)).repeat_interleave(counts), counts.cumsum(0).to(torch.int32)
        hidden = F.grouped_mm(frames, self.w_1.weight.transpose(1, 2), offs=ends) + self.w_1.bias[number]
        return F.grouped_mm(F.silu(hidden), self.w_2.weight.transpose(1, 2), offs=ends) + self.w_2.bias[number]


def make_layers(arguments):
    """The ways by name; all but the dense one have the same weights."""
    width, hidden, num_experts = arguments.width, arguments.hidden, arguments.experts
    ours = MoeFeedForward(Experts(num_experts, width, hidden, 0.0, -1.0), width, False, False, True)
    layers = {"dense": FeedForward(width, hidden, 0.0, F.silu), "experts": ours, "loop over experts": LoopOverExperts(ours)}
    for name, kind in (("padded bmm", PaddedExperts), ("grouped_mm", GroupedExperts)):
        layers[name] = MoeFeedForward(ours.experts, width, False, False, False)
        layers[name].router_weights, layers[name].experts = ours.router_weights, kind(ours.experts)
    return layers


def run(name, layer, frames, embedding, backward):
    """Seconds of a pass, and its output."""
    frames = frames.clone().requires_grad_(backward)
    layer.zero_grad()
    started = time.perf_counter()
    with torch.set_grad_enabled(backward):
        output = layer(frames) if name == "dense" else layer(frames, embedding)[0]
        if backward:
            output.backward(torch.ones_like(output))
    return time.perf_counter() - started, output.detach()


def measure(layers, inputs, backward, rounds):
    """Milliseconds and ratios to the dense part, by way."""
    seconds = {name: [] for name in layers}
    for _ in range(rounds + 1):
        for name, layer in layers.items():
            seconds[name].append(run(name, layer, *inputs, backward)[0])
    found = {}
    for name, values in seconds.items():
        best, median = min(values[1:]), statistics.median(values[1:])  # the first round warms up
        dense = seconds["dense"][1:]
        ratios = (best / min(dense), median / statistics.median(dense))
        found[name] = {"ms": round(1e3 * best), "median_ms": round(1e3 * median)}
        found[name] |= {"ratio": round(ratios[0], 2), "median_ratio": round(ratios[1], 2)}
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, value in (("frames", 4000), ("experts", 32), ("width", 512), ("hidden", 2048), ("rounds", 9), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    layers = make_layers(arguments)
    inputs = [torch.randn(1, arguments.frames, arguments.width) for _ in range(2)]
    outputs = {name: run(name, layer, *inputs, False)[1] for name, layer in layers.items() if name != "dense"}
    for output in outputs.values():
        torch.testing.assert_close(output, outputs["experts"], atol=1e-5, rtol=1e-4)
    passes = {"forward": False, "forward and backward": True}
    found = {name: measure(layers, inputs, backward, arguments.rounds) for name, backward in passes.items()}
    print(json.dumps({"settings": vars(arguments), **found}, indent=2))


if __name__ == "__main__":
    main()
