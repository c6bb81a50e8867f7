"""torchaudio on a machine without its CUDA libraries.

The wheel of torchaudio 2.11 is linked against CUDA and its import fails on a CPU build of torch, although all the parts
that mooer uses (compliance.kaldi, functional, transforms) are Python. `ensure_torchaudio` puts an empty module in the place
of the binary loader in that case. transformers imports torchaudio when it loads some models, so it must run before that too.
"""

import importlib.util
import sys
import types


def ensure_torchaudio() -> None:
    """Make `import torchaudio` work; does nothing where it already does or where torchaudio is absent."""
    if "torchaudio" in sys.modules or importlib.util.find_spec("torchaudio") is None:
        return
    try:
        import torchaudio
    except OSError:
        for name in [name for name in sys.modules if name == "torchaudio" or name.startswith("torchaudio.")]:
            del sys.modules[name]
        extension = types.ModuleType("torchaudio._extension")
        extension._IS_TORCHAUDIO_EXT_AVAILABLE = False
        extension._IS_ALIGN_AVAILABLE = False
        extension.fail_if_no_align = _fail_if_no_align
        sys.modules["torchaudio._extension"] = extension
        import torchaudio  # noqa: F401


def _fail_if_no_align(function):
    """Stands for torchaudio's decorator of the functions that need its binary: calling one is an error."""

    def unavailable(*_args, **_kwargs):
        raise RuntimeError(f"torchaudio.{function.__name__} needs torchaudio's binary, which does not load on this machine")

    return unavailable
