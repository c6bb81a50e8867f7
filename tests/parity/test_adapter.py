"""The adapter against the reference's tensors, for each downsample rate."""

import pytest
import torch
from safetensors.torch import load_file

from mooer.models.builders import adapter_from_state


@pytest.mark.parametrize("rate", [2, 3, 4])
def test_output(golden, rate):
    known = load_file(golden / f"adapter_k{rate}.safetensors")
    state = {name.removeprefix("weights."): tensor for name, tensor in known.items() if name.startswith("weights.")}
    adapter = adapter_from_state(state, 16, 24, rate, "golden")
    lengths = sorted(int(name.removeprefix("in_T")) for name in known if name.startswith("in_T"))
    assert lengths
    for length in lengths:
        output, output_lengths = adapter(known[f"in_T{length}"], torch.tensor([length, length]))
        torch.testing.assert_close(output, known[f"out_T{length}"], atol=1e-5, rtol=1e-4)
        assert output_lengths.tolist() == [output.shape[1]] * 2
