import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mooer.nn import fused
from mooer.nn.fused import FusedConvolution, FusedLinear

ACTIVATIONS = {"none": lambda values: values, "relu": torch.relu, "sigmoid": torch.sigmoid}


@pytest.fixture(params=["the kernels of this machine", "plain layers"], autouse=True)
def kernels(request, monkeypatch):
    if request.param == "plain layers":
        monkeypatch.setattr(fused, "can_fuse", lambda weight: False)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("with_bias", [True, False])
def test_linear(activation, with_bias):
    torch.manual_seed(0)
    weight, bias, rows = torch.randn(5, 12), torch.randn(5) if with_bias else None, torch.randn(2, 7, 20)[:, :, :12]
    layer = FusedLinear(weight, bias, activation)
    torch.testing.assert_close(layer(rows), ACTIVATIONS[activation](F.linear(rows, weight, bias)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("last", [True, False])
@torch.no_grad()
def test_convolution_and_sum(dtype, last):
    """However channels lie in memory."""
    torch.manual_seed(1)
    plain = nn.Conv2d(6, 4, (3, 5), stride=(2, 1), padding=(1, 4), dilation=(1, 2)).to(dtype)
    maps = torch.randn(2, 6, 8, 11, dtype=dtype)
    maps = maps.contiguous(memory_format=torch.channels_last) if last else maps
    expected = plain(maps)
    others = torch.randn_like(expected)
    tolerance = {"atol": 2e-6, "rtol": 2e-6} if dtype == torch.float32 else {"atol": 3e-2, "rtol": 1e-2}
    layer = FusedConvolution(plain, "relu")
    torch.testing.assert_close(layer(maps), expected.relu(), **tolerance)
    torch.testing.assert_close(layer.added_to(others.clone(), maps), (others + expected).relu(), **tolerance)
