"""Linear and convolution layers with their activation, for inference alone.

On a CPU the weights are put once into the order in which its kernels read them, where a plain layer does it at every call, and
the activation is done while a result is still in a register. Elsewhere, and where this torch cannot, the layers are plain ones.
The results agree with plain layers to rounding.

Shapes: B batch, C channels, F bins, T frames.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["none", "relu", "sigmoid"]

# What the order of weights is tuned for; other numbers of rows are right as well.
TYPICAL_ROWS = 1024


def can_fuse(weight: Tensor) -> bool:
    """Whether this torch has kernels with activations for weights of this number format and device."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if not all(hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_convolution_pointwise")):
        return False
    if weight.dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return weight.dtype == torch.float32


class FusedLinear(nn.Module):
    """A linear layer, then its activation.

    Args:
        weight: [output size, input size].
        bias: [output size], or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: Activation = "none") -> None:
        super().__init__()
        self._activation, self.bias = activation, bias
        self._fused = can_fuse(weight)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), TYPICAL_ROWS) if self._fused else weight

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., input size] -> [..., output size]."""
        if self._fused:
            return torch.ops.mkldnn._linear_pointwise(inputs, self.weight, self.bias, self._activation, [], "")
        return _activated(F.linear(inputs, self.weight, self.bias), self._activation)


class FusedConvolution(nn.Module):
    """A convolution over two dimensions, then its activation; fastest where channels lie last in memory.

    Args:
        convolution: neither grouped nor padded by other values than zero.
    """

    def __init__(self, convolution: nn.Conv2d, activation: Activation = "none") -> None:
        super().__init__()
        self._activation, self.bias = activation, convolution.bias
        self._shape = [list(convolution.padding), list(convolution.stride), list(convolution.dilation), 1]
        weight = convolution.weight.detach().contiguous(memory_format=torch.channels_last)
        self._fused = can_fuse(weight)
        self.weight = torch._C._nn.mkldnn_reorder_conv2d_weight(weight.to_mkldnn(), *self._shape) if self._fused else weight

    def forward(self, maps: Tensor) -> Tensor:
        """[B, C, F, T] -> [B, C', F', T']."""
        if self._fused:
            rest = (*self._shape, self._activation, [], "")
            return torch.ops.mkldnn._convolution_pointwise(maps, self.weight, self.bias, *rest)
        return _activated(self._plain(maps), self._activation)

    def added_to(self, others: Tensor, maps: Tensor) -> Tensor:
        """The activation of the sum of `others` [B, C', F', T'], which may be overwritten, and the convolved maps."""
        if self._fused:
            rest = (*self._shape, "add", 1.0, self._activation, [], "")
            # The kernel knows no other order.
            maps, others = (values.contiguous(memory_format=torch.channels_last) for values in (maps, others))
            return torch.ops.mkldnn._convolution_pointwise_.binary(others, maps, self.weight, self.bias, *rest)
        return _activated(others.add_(self._plain(maps)), self._activation)

    def _plain(self, maps: Tensor) -> Tensor:
        padding, stride, dilation, _ = self._shape
        return F.conv2d(maps, self.weight, self.bias, stride, padding, dilation)


def _activated(values: Tensor, activation: Activation) -> Tensor:
    """In place."""
    if activation == "relu":
        return values.relu_()
    return values.sigmoid_() if activation == "sigmoid" else values
