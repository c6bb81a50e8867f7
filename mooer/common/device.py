"""Which device and number format a run uses; every other module asks here."""

from typing import TYPE_CHECKING

from mooer.common.errors import ConfigError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "musa")
DTYPES = ("float32", "bfloat16", "float16")


def select_device(name: str = "auto") -> "torch.device":
    """The torch device for `auto`, `cpu`, `cuda` or `musa`; auto takes the first accelerator present.

    Raises:
        ConfigError: a device asked for by name is not usable here.
    """
    import torch

    if name not in DEVICES:
        raise ConfigError(f"device {name!r} is unknown; allowed: {', '.join(DEVICES)}")
    if name == "auto":
        name = next((accelerator for accelerator in ("cuda", "musa") if _available(accelerator)), "cpu")
    elif name != "cpu" and not _available(name):
        raise ConfigError(f"device {name!r} was asked for but is not available on this machine; use --device cpu or auto")
    return torch.device(name)


def _available(name: str) -> bool:
    import torch

    if name == "musa":
        try:
            import torch_musa  # noqa: F401  (registers torch.musa)
        except ImportError:
            return False
        return torch.musa.is_available()
    return torch.cuda.is_available()


def select_dtype(name: str) -> "torch.dtype":
    """The torch dtype called `name`. Raises ConfigError for other names."""
    import torch

    if name not in DTYPES:
        raise ConfigError(f"dtype {name!r} is unknown; allowed: {', '.join(DTYPES)}")
    return getattr(torch, name)
