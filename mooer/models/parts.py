"""Whose tensor is it: checkpoints of several origins, taken apart into encoder, adapter, CTC layer and LLM."""

from dataclasses import dataclass, field
from pathlib import Path

from mooer.common.errors import PathError, WeightsError
from mooer.models.weights import State, read_state

MODEL_FILE = "model.safetensors"

# The first prefix that fits a name decides.
_PREFIXES = (
    ("encoder_projector.", "adapter"),  # released adapter_project.pt
    ("encoder.model.", "encoder"),  # the same file, where the encoder was trained
    ("encoder.", "encoder"),  # our model.safetensors, from here on
    ("adapter.", "adapter"),
    ("ctc_head.", "ctc_head"),
    ("llm.", "llm"),
)
_BARE_ENCODER = ("encoders0.", "encoders.", "after_norm.")  # released paraformer-encoder.pth


@dataclass(frozen=True)
class Parts:
    """The tensors of one checkpoint, by part, under the names they have inside of it. A part that is not there is empty."""

    source: str
    """How messages call the checkpoint."""
    encoder: State = field(default_factory=dict)
    adapter: State = field(default_factory=dict)
    ctc_head: State = field(default_factory=dict)
    llm: State = field(default_factory=dict)

    def present(self) -> list[str]:
        """The names of the parts that are there."""
        return [name for name in ("encoder", "adapter", "ctc_head", "llm") if getattr(self, name)]

    def part(self, name: str) -> State:
        """One part's tensors. Raises WeightsError if there is none."""
        if not getattr(self, name):
            raise WeightsError(f"{self.source} holds no {name}, but {', '.join(self.present()) or 'nothing'}")
        return getattr(self, name)


def read_parts(path: str | Path, what: str) -> Parts:
    """The parts in a model directory of ours, or in a file of one of the known origins.

    Args:
        what: how messages call the path.

    Raises:
        PathError: no such file, or a folder that is no model directory.
        WeightsError: an unreadable or unsafe file, or tensors that belong to no known part.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / MODEL_FILE).is_file():
            raise PathError(f"{what} {path} is a folder without {MODEL_FILE}, so no model directory; name a file in it")
        path = path / MODEL_FILE
    return split_state(read_state(path, what), f"{what} {path}")


def split_state(state: State, source: str) -> Parts:
    """Take a state apart by its names' prefixes. Raises WeightsError for names of no known part."""
    parts = Parts(source)
    strange = []
    for name, tensor in state.items():
        if name.startswith(_BARE_ENCODER):
            parts.encoder[name] = tensor
            continue
        prefix, part = next((entry for entry in _PREFIXES if name.startswith(entry[0])), ("", None))
        if part is None:
            strange.append(name)
        else:
            getattr(parts, part)[name.removeprefix(prefix)] = tensor
    if strange:
        raise WeightsError(f"{source} holds tensors of no known part: {', '.join(sorted(strange)[:5])}")
    return parts
