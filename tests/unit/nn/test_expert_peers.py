"""Two ranks with half of the experts each against each rank's batch alone with all experts."""

import pytest
import torch
from safetensors.torch import load_file

from ...ranks import run_ranks
from . import expert_peers_rank as ranks


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(ranks.__file__, [2], folder)
    return lambda case: [load_file(folder / f"{case}.{rank}.safetensors") for rank in range(2)]


@pytest.mark.parametrize("case", ranks.CASES)
def test_ranks_with_half_of_the_experts_each_do_as_with_all(case, of_ranks):
    found = of_ranks(case)
    wanted = [ranks.results_of(ranks.layer_of(case), case, rank) for rank in range(2)]
    for name in wanted[0]:
        if name.startswith("experts."):  # what both losses say of an expert comes together where it is
            here = torch.cat([results[name] for results in found])
            torch.testing.assert_close(here, wanted[0][name] + wanted[1][name])
        else:
            for rank in range(2):
                torch.testing.assert_close(found[rank][name], wanted[rank][name])


def test_the_cases_are_what_they_are_called(of_ranks):
    everywhere = {number for results in of_ranks("usual") for number in results["chosen"].tolist()}
    assert everywhere == set(range(ranks.EXPERTS))
    for case, expert in (("collapsed", 0), ("swapped", ranks.EXPERTS - 1)):
        assert all((results["chosen"] == expert).all() and len(results["chosen"]) for results in of_ranks(case))
    assert [len(results["chosen"]) > 0 for results in of_ranks("nothing_here")] == [True, False]
    assert not any(len(results["chosen"]) for results in of_ranks("nothing_anywhere"))
    zeros = (of_ranks("capacity")[0]["output"] == 0).all(dim=2).sum()
    assert zeros > (of_ranks("usual")[0]["output"] == 0).all(dim=2).sum()
    assert not torch.equal(of_ranks("dropout")[0]["output"], of_ranks("usual")[0]["output"])
