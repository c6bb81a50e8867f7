"""Computing in two bytes a value: which operations do, and what is stored so."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_attention = F.scaled_dot_product_attention


@contextlib.contextmanager
def computing_in(dtype: torch.dtype, device_type: str) -> Iterator[None]:
    """Matrix products in `dtype` by autocast; nothing is changed for float32."""
    if dtype == torch.float32:
        yield
        return
    with torch.autocast(device_type, dtype), attention_kept(dtype, device_type):
        yield


def attention_kept(dtype: torch.dtype, device_type: str) -> contextlib.AbstractContextManager[object]:
    """Attention as it is in `computing_in`, for checkpointed blocks, which are computed again in the backward pass."""
    return _Float32Attention() if dtype != torch.float32 and device_type == "cpu" else contextlib.nullcontext()


class _Float32Attention(TorchFunctionMode):
    """Attention in float32 under autocast on a CPU, whose backward pass is several times slower in two bytes a value."""

    def __torch_function__(
        self, function: Callable[..., Any], _types: Any, arguments: tuple[Any, ...] = (), options: dict[str, Any] | None = None
    ) -> Any:
        options = options or {}
        if function is not _attention:
            return function(*arguments, **options)
        dtype = arguments[0].dtype
        with torch.autocast("cpu", enabled=False):
            options = {name: _float32(value) for name, value in options.items()}
            return function(*map(_float32, arguments), **options).to(dtype)


def _float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def store_frozen_llm(model: nn.Module, dtype: torch.dtype) -> None:
    """Keep the frozen linear layers of `model.llm` in `dtype`, in place.

    Autocast would cast them in every forward pass otherwise. Embeddings, tied output layers and norms stay in float32.
    """
    llm = getattr(model, "llm", None)
    if llm is None:
        return
    embeddings = {id(module.weight) for module in llm.modules() if isinstance(module, nn.Embedding)}
    for module in llm.modules():
        if isinstance(module, nn.Linear):
            for parameter in module.parameters(recurse=False):
                if not parameter.requires_grad and id(parameter) not in embeddings:
                    parameter.data = parameter.data.to(dtype)
