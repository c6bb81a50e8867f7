"""Experts shared by ranks against the reference's run on 2 ranks, and on 4 that are two groups of 2."""

import pytest
import torch
from safetensors.torch import load_file

from ..ranks import run_ranks
from . import expert_parallel_rank as ranks

pytestmark = pytest.mark.slow
LOSS = {"atol": 0.0, "rtol": 2e-5}


@pytest.fixture(scope="module")
def results(golden_conformer, tmp_path_factory):
    """`results["w2.nocap"][1]`: what rank 1 had in that run."""
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(ranks.__file__, sorted(set(ranks.RUNS.values())), golden_conformer, folder)
    return {
        name: [load_file(folder / f"{name}.rank{rank}.safetensors") for rank in range(count)]
        for name, count in ranks.RUNS.items()
    }


@pytest.fixture(scope="module")
def known(golden_conformer):
    """`known("w2.nocap.rank1.")`: the reference's tensors whose names begin so, under the rest of their names."""
    tensors = load_file(golden_conformer / "expert_parallel.safetensors")
    return lambda prefix: {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def assert_gradient_like(got, wanted, name):
    highest = max(wanted.abs().max().item(), 0.1)  # a key's bias has a gradient of zero but for rounding
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-5 * highest, msg=lambda text: f"{name}: {text}")


@pytest.mark.parametrize("name", ranks.RUNS)
def test_routes_outputs_and_losses(name, results, known):
    for rank, found in enumerate(results[name]):
        wanted = known(f"{name}.rank{rank}.")
        assert torch.equal(found["chosen"], wanted["expert_idx"])
        torch.testing.assert_close(found["logits"], wanted["out_nosm"], atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(found["sparsity"], wanted["aux_per_layer.sparse_l1"], **LOSS)
        torch.testing.assert_close(found["importance"], wanted["aux_per_layer.importance"], **LOSS)
        torch.testing.assert_close(found["sums"], wanted["metric_sum"][:3], **LOSS)
        torch.testing.assert_close(found["loss"], wanted["loss_total"], **LOSS)


@pytest.mark.parametrize("name", [name for name in ranks.RUNS if not name.endswith("eval")])
def test_gradients_of_each_rank(name, results, known):
    for rank, found in enumerate(results[name]):
        wanted = known(f"{name}.rank{rank}.grad_before_sync.")
        assert any("router" in key for key in wanted) and any("experts" in key for key in wanted)
        for key, gradient in wanted.items():
            assert_gradient_like(found[f"before.{key}"], gradient, key)


@pytest.mark.parametrize("name", [name for name in ranks.RUNS if not name.endswith("eval")])
def test_gradients_averaged_over_ranks(name, results, known):
    """All are means over the ranks here. The reference divides those of experts by the groups alone."""
    wanted = known(f"{name}.grad_after_sync.")
    assert sum("experts" in key for key in wanted) == 12
    for key, gradient in wanted.items():
        for first in range(0, ranks.RUNS[name], ranks.SHARING):
            group = [found[f"after.{key}"] for found in results[name][first : first + ranks.SHARING]]
            got = ranks.SHARING * torch.cat(group) if ".experts." in key else group[-1]
            assert_gradient_like(got, gradient, key)
