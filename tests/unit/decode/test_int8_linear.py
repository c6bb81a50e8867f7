import pytest
import torch
from torch import nn

from mooer.common.errors import ConfigError
from mooer.decode import int8_linear
from mooer.decode.int8_linear import Int8Linear, is_int8, quantize_linears


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return nn.Linear(64, 48).eval().requires_grad_(False)


@pytest.mark.parametrize("shape", [(1, 64), (50, 64), (2, 7, 64)])
def test_close_to_the_plain_layer(linear, shape):
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    found, wanted = Int8Linear(linear)(inputs), linear(inputs)
    assert (found.shape, found.dtype) == (wanted.shape, torch.float32)
    assert 0 < (found - wanted).norm() < 0.02 * wanted.norm()


def test_each_output_has_its_own_scale(linear):
    """An output of small weights is as exact as the others."""
    linear.weight[3] *= 1e-4
    linear.weight[4] = 0.0
    linear.bias.zero_()
    inputs = torch.randn(50, 64, generator=torch.Generator().manual_seed(1))
    found, wanted = Int8Linear(linear)(inputs), linear(inputs)
    assert (found[:, 3] - wanted[:, 3]).norm() < 0.03 * wanted[:, 3].norm()
    assert not found[:, 4].any()


def test_only_encoder_and_decoder_are_changed():
    parts = {name: nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 4))) for name in ("encoder", "predictor")}
    model = nn.ModuleDict(parts).eval()
    assert not is_int8(model)
    quantize_linears(model)
    assert is_int8(model)
    assert [type(layer) for layer in (model["encoder"][0], model["encoder"][1][0])] == [Int8Linear] * 2
    assert not is_int8(model["predictor"])


def test_another_machine(monkeypatch):
    monkeypatch.setattr(int8_linear, "_ENGINES", ("none",))
    with pytest.raises(ConfigError, match=r"int8 needs torch's kernels none, on this machine it has .*; use float32"):
        quantize_linears(nn.ModuleDict({"encoder": nn.Linear(4, 4)}))
