"""Linear layers that multiply whole numbers of 8 bits, of which a CPU with such instructions does several times as many.

Weights have a scale an output, inputs one scale a call, found from the least and the greatest of them. So what is computed
together shares a scale, and utterances must be computed one by one to be what they are alone.
"""

import warnings

import torch
from torch import Tensor, nn

from mooer.common.errors import ConfigError

# torch's kernels that are meant here; on other processors it has others.
_ENGINES = ("x86", "fbgemm", "onednn")
# Of a Paraformer or an encoder with a CTC layer: what decides about the number of tokens stays as it is.
_PARTS = ("encoder", "decoder")
_LARGEST = 127


class Int8Linear(nn.Module):
    """A linear layer for inference on a CPU, made of a plain one."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()
        scales = weight.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / _LARGEST
        with warnings.catch_warnings():
            # torch means to drop this type of tensors one day, and has no other way yet to kernels that also scale.
            warnings.filterwarnings("ignore", "torch.quantize_per_tensor")
            integers = torch.quantize_per_channel(weight, scales, torch.zeros(len(weight), dtype=torch.long), 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(integers, linear.bias)
        # Without VNNI the sums of products are kept in 16 bits, for which inputs must have 7.
        self._has_seven_bits = not torch.cpu._is_vnni_supported()

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features], both float32."""
        return torch.ops.quantized.linear_dynamic(inputs, self._packed, self._has_seven_bits)


def quantize_linears(model: nn.Module) -> None:
    """Replace the linear layers of a model's encoder and decoder in place; it is in eval mode, in float32 and on a CPU.

    The model can then neither be trained nor saved.

    Raises:
        ConfigError: this torch has no kernels for it.
    """
    if not has_int8():
        found, needed = torch.backends.quantized.engine, " or ".join(_ENGINES)
        raise ConfigError(f"int8 needs torch's kernels {needed}, on this machine it has {found}; use float32 or bfloat16")
    for part in _PARTS:
        if hasattr(model, part):
            _replace(getattr(model, part))


def has_int8() -> bool:
    """Whether torch has the kernels on this machine."""
    return torch.backends.quantized.engine in _ENGINES


def is_int8(model: nn.Module) -> bool:
    """Whether some of the model's layers are of this kind, so that each utterance is to be computed alone."""
    return any(isinstance(module, Int8Linear) for module in model.modules())


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, Int8Linear(child))
        else:
            _replace(child)
