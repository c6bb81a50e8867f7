"""Networks without values, for weights that are read from a file."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _NoInitialisation(TorchFunctionMode):
    """Calls to torch.nn.init do nothing."""

    def __torch_function__(self, function: Callable, types: Any, arguments: tuple = (), options: dict | None = None) -> Any:
        options = options or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return arguments[0] if arguments else options["tensor"]
        return function(*arguments, **options)


@contextlib.contextmanager
def outline() -> Iterator[None]:
    """Modules made here have parameters of their shapes that hold nothing (device `meta`) and nobody draws their values.

    torch would draw normal values even there, and import its compiler to do so: half of the time in which a command starts.
    """
    with torch.device("meta"), _NoInitialisation():
        yield
