import pytest
import torch
from torch import nn

from mooer.decode import packed_linear
from mooer.decode.packed_linear import PackedLinear, pack_linears

TOLERANCE = {torch.float32: {"rtol": 1e-5, "atol": 1e-5}, torch.bfloat16: {"rtol": 2e-2, "atol": 1e-2}}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return (
        nn.Sequential(nn.Linear(48, 96), nn.ReLU(), nn.Sequential(nn.Linear(96, 48, bias=False))).eval().requires_grad_(False)
    )


@pytest.mark.parametrize("shape", [(1, 48), (5, 48), (3, 1, 48), (2, 70, 48)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_layers_give_the_same(monkeypatch, model, shape, dtype):
    monkeypatch.setattr(packed_linear, "MIN_WEIGHTS", 0)
    monkeypatch.setattr(packed_linear, "MIN_GAIN", 0.0)
    model = model.to(dtype)
    inputs = torch.randn(shape).to(dtype)
    with torch.inference_mode():
        expected = model(inputs)
        assert pack_linears(model)
        assert isinstance(model[2][0], PackedLinear)
        torch.testing.assert_close(model(inputs), expected, **TOLERANCE[dtype])
        assert model(inputs).dtype == dtype


def test_small_models_and_slow_machines_keep_their_layers(monkeypatch, model):
    assert not pack_linears(model)
    monkeypatch.setattr(packed_linear, "MIN_WEIGHTS", 0)
    monkeypatch.setattr(packed_linear, "MIN_GAIN", float("inf"))
    assert not pack_linears(model)
    assert type(model[0]) is nn.Linear
