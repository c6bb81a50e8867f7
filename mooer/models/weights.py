"""Reading and writing tensors: safely (no pickle is ever run), strictly (every name and shape accounted for), small (int8).

Everything that loads weights goes through here.
"""

import hashlib
import os
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mooer.common.errors import WeightsError
from mooer.common.files import atomic_write, give_usual_mode, require_file, sha256

State = dict[str, Tensor]

SCALE_SUFFIX = "::scale"
_REPORTED_NAMES = 5
_METADATA = {"format": "pt"}  # which transformers asks for


def read_state(path: str | Path, what: str = "checkpoint", containers: Sequence[str] = ()) -> State:
    """The tensors of a safetensors file or of a torch.save file, on the CPU; int8 matrices of ours are restored to float32.

    A torch.save file is read with weights_only, so that a pickle in it cannot run code.

    Args:
        what: how messages call the file.
        containers: keys of a torch.save file under which the tensors may lie, beside other things, in a mapping of their own.

    Raises:
        PathError: no such file.
        WeightsError: a damaged or unsafe file, or one that holds anything but named tensors.
    """
    path = require_file(path, what)
    state = _read_safetensors(path, what) if path.suffix == ".safetensors" else _read_torch(path, what, containers)
    return _restore_rows(state, path)


def _read_safetensors(path: Path, what: str) -> State:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{what} {path} is not a readable safetensors file: {error}") from error


def _read_torch(path: Path, what: str, containers: Sequence[str]) -> State:
    try:
        with warnings.catch_warnings():  # of a pickle protocol, just before the error that says more
            warnings.simplefilter("ignore", UserWarning)
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        kind = "damaged or holds more than tensors" if zipfile.is_zipfile(path) else "no file of torch.save's, or unsafe"
        raise WeightsError(f"{what} {path} is {kind}; nothing in it was run ({_first_line(error)})") from error
    if isinstance(state, Mapping):
        state = next((state[key] for key in containers if isinstance(state.get(key), Mapping)), state)
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise WeightsError(f"{what} {path} must hold a flat mapping of names to tensors, found {type(state).__name__}")
    others = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise WeightsError(f"{what} {path} must hold nothing but named tensors; found also {_some(others)}")
    return dict(state)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - _REPORTED_NAMES} more" if len(names) > _REPORTED_NAMES else ""
    return ", ".join(names[:_REPORTED_NAMES]) + more


def own_tensors(module: nn.Module) -> State:
    """The module's state with each tied tensor once, under its first name."""
    own = dict(module.named_parameters()) | dict(module.named_buffers())
    return {name: tensor for name, tensor in module.state_dict().items() if name in own}


def load_state(module: nn.Module, state: State, source: str, assign: bool = False) -> None:
    """Load `state` into the module: every tensor of the module must be there in its shape, and nothing else.

    Args:
        source: where the tensors come from, for messages.
        assign: put the tensors themselves in the place of the module's, as a module on the meta device needs.

    Raises:
        WeightsError: names the missing, the unexpected and the wrongly shaped tensors apart. The module is then unchanged.
    """
    expected = own_tensors(module)
    check_names({name: tuple(tensor.shape) for name, tensor in expected.items()}, state, source)
    module.load_state_dict(state, strict=False, assign=assign)


def check_names(expected: Mapping[str, tuple[int, ...]], state: State, source: str) -> None:
    """Compare a state's names and shapes with the expected ones. Raises WeightsError as `load_state` says."""
    complaints = []
    missing, unexpected = expected.keys() - state.keys(), state.keys() - expected.keys()
    if missing:
        complaints.append(f"{len(missing)} missing: {_some(missing)}")
    if unexpected:
        complaints.append(f"{len(unexpected)} unexpected: {_some(unexpected)}")
    wrong = [
        f"{name} is {list(state[name].shape)}, must be {list(shape)}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != tuple(shape)
    ]
    if wrong:
        complaints.append(f"{len(wrong)} of another shape: {_some(wrong)}")
    if complaints:
        raise WeightsError(f"{source} does not fit the model; {'; '.join(complaints)}")


def write_safetensors(path: str | Path, state: State) -> None:
    """Write the tensors as a safetensors file, which appears under its name only when complete."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file({name: tensor.detach().to("cpu").contiguous() for name, tensor in state.items()}, temporary, _METADATA)
        give_usual_mode(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_torch(path: str | Path, state: State) -> None:
    """Write the tensors as torch.save does, for programs that read no safetensors."""
    with atomic_write(path, "wb") as stream:
        torch.save({name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}, stream)


def quantise_rows(state: State) -> State:
    """Each floating matrix as int8 with one float32 scale a row (under NAME::scale); other tensors as they are.

    An element is off by at most half a step: its row's largest absolute value / 254.
    """
    small = {}
    for name, tensor in state.items():
        if tensor.dim() != 2 or not tensor.is_floating_point():
            small[name] = tensor
            continue
        scale = tensor.float().abs().amax(dim=1) / 127
        steps = tensor.float() / scale.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
        small[name] = steps.round().to(torch.int8)
        small[name + SCALE_SUFFIX] = scale
    return small


def _restore_rows(state: State, path: Path) -> State:
    restored = {name: tensor for name, tensor in state.items() if not name.endswith(SCALE_SUFFIX)}
    for name, scale in state.items():
        if not name.endswith(SCALE_SUFFIX):
            continue
        name = name.removesuffix(SCALE_SUFFIX)
        rows = restored.get(name)
        if rows is None or rows.dtype != torch.int8 or rows.dim() != 2 or scale.shape != rows.shape[:1]:
            raise WeightsError(f"{path} has row scales for {name}, but no int8 matrix with as many rows")
        restored[name] = rows.float() * scale[:, None]
    return restored


def checksums(paths: Iterable[Path]) -> dict[str, str]:
    """The SHA-256 of each file by its path, for run.json."""
    return {str(path): sha256(path) for path in paths}


def state_checksum(state: State) -> str:
    """A SHA-256 over names, types, shapes and values: equal exactly for equal states."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
