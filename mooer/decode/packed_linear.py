"""Linear layers whose weights lie in the order in which a CPU's matrix kernels read them.

Generation multiplies a few rows at a time, where a plain layer spends most of its time reordering its weights anew at every
call. The results agree with plain layers to rounding.
"""

import time

import torch
from torch import Tensor, nn

from mooer.common.log import get_logger

log = get_logger(__name__)

# What the reordering is tuned for; other numbers of rows are right as well.
TYPICAL_ROWS = 32
# Below this, nothing that could be gained is worth the time of packing.
MIN_WEIGHTS = 10_000_000
MIN_GAIN = 1.1
_TRIALS = 5


class PackedLinear(nn.Module):
    """A linear layer for inference, made of a plain one."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        # Opaque to all but the kernels, but it tells its type and device as a plain layer's does.
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), TYPICAL_ROWS)

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]."""
        return torch.ops.mkldnn._linear_pointwise(inputs, self.weight, self.bias, "none", [], "")


def pack_linears(model: nn.Module) -> bool:
    """Replace the linear layers of a model in eval mode in place, if it is on a CPU, large, and gains by it.

    The model can then neither be trained nor saved. Returns whether it was done.
    """
    linears = [module for module in model.modules() if type(module) is nn.Linear]
    if not linears or linears[0].weight.device.type != "cpu" or sum(item.weight.numel() for item in linears) < MIN_WEIGHTS:
        return False
    gain = _gain(max(linears, key=lambda item: min(item.in_features, item.out_features)))
    if gain < MIN_GAIN:
        log.info("linear layers are left as they are: packed ones take %.2f times as long", 1 / gain if gain else 0)
        return False
    log.info("linear layers are packed, which makes them %.1f times as fast", gain)
    _replace(model)
    return True


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, PackedLinear(child))
        else:
            _replace(child)


@torch.inference_mode()
def _gain(linear: nn.Linear) -> float:
    """How many times as fast a layer is when packed; 0 if this torch cannot do it, or not rightly."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return 0.0
    inputs = torch.randn(TYPICAL_ROWS, linear.in_features, generator=torch.Generator().manual_seed(0)).to(linear.weight.dtype)
    try:
        packed = PackedLinear(linear)
        tolerance = 1e-4 if linear.weight.dtype == torch.float32 else 3e-2
        same = torch.allclose(packed(inputs).float(), linear(inputs).float(), rtol=tolerance, atol=tolerance)
    except RuntimeError as error:
        log.info("linear layers cannot be packed here: %s", str(error).splitlines()[0])
        return 0.0
    return least_seconds(linear, inputs) / least_seconds(packed, inputs) if same else 0.0


@torch.inference_mode()
def least_seconds(layer: nn.Module, *inputs: Tensor) -> float:
    """The least time of a few calls of a layer."""
    times = []
    for _ in range(_TRIALS):
        started = time.perf_counter()
        layer(*inputs)
        times.append(time.perf_counter() - started)
    return min(times)
