"""What a family of models brings to a training run: its model, its batches, and the form in which decoding opens it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from torch import Tensor, nn

from mooer.common.errors import ConfigError
from mooer.data.dataset import Loader
from mooer.models.model_dir import LoadedModel

if TYPE_CHECKING:
    import torch

    from mooer.train.step import Sums

Split = Literal["train", "dev"]
Form = Literal["safetensors", "int8", "released"]


class Batch(Protocol):
    """What a loader yields: a frozen dataclass of ids and tensors, the arguments of the model's forward."""

    ids: list[str]
    """Of the utterances, or of the lines of text."""

    def to(self, device: "torch.device | str") -> "Batch":
        """The same batch with its tensors on `device`."""


class Family(ABC):
    """A family of models, for the configuration of one run."""

    frame_seconds: float
    """Seconds of audio in a frame, of which `count_frames` counts; 0 where no audio is trained on."""

    @abstractmethod
    def build_model(self, outline: bool = False) -> nn.Module:
        """The model with its first weights; its forward takes a batch's fields but for the ids and returns a LossOutput.

        Args:
            outline: values of large parts may be left out: only names and sizes are asked for.

        Raises:
            PathError, ConfigError, WeightsError: files that are missing or do not fit.
        """

    @abstractmethod
    def loader(self, split: Split, rank: int = 0, world_size: int = 1) -> Loader:
        """The batches of a rank. Raises ConfigError, PathError or DataError."""

    @abstractmethod
    def count_targets(self, batch: Any) -> int:
        """The targets that the model will report for this batch (LossOutput.num_tokens), without running it."""

    @abstractmethod
    def count_frames(self, batch: Any) -> int:
        """Frames of audio of a batch, or tokens of text."""

    @abstractmethod
    def data_files(self) -> Iterable[str]:
        """The lists and tables that a run's data come from; a resumed run must find them unchanged."""

    @abstractmethod
    def export(self, model: nn.Module, directory: Path, record: dict[str, Any], form: Form, task: str) -> None:
        """Write the trained model as a new directory that the toolkit's other commands open.

        Args:
            record: of the run, for the directory's own record.
            form: float32 safetensors, int8 matrices, or the layout in which others publish such models.
            task: which folder of the released layout a checkpoint goes to; other forms do not use it.

        Raises:
            ConfigError: a form that this family does not have.
        """

    def for_decoding(self, model: nn.Module, frontend_path: Path) -> LoadedModel:
        """The model in training as `mooer.decode.recognizer` takes it; for families that write text.

        Args:
            frontend_path: the front end's settings.
        """
        raise NotImplementedError

    def parts_from_files(self) -> Set[str]:
        """The parts of the model (the first components of its parameters' names) that begin with the weights of a file."""
        return frozenset()

    def measures(self, _sums: "Sums") -> dict[str, float]:
        """What is told of a step's or a validation's sums beside loss and accuracy."""
        return {}

    def weight_files(self) -> Iterable[Path]:
        """The files that the model's weights begin with."""
        return ()


def refuse_form(form: Form, allowed: Iterable[Form], family: str) -> None:
    """Raises ConfigError for a form of export that a family does not have."""
    if form not in allowed:
        raise ConfigError(f"a model of family {family} is exported as {' or '.join(allowed)}, not as {form}")


def tensors_of(batch: Batch) -> dict[str, Tensor]:
    """The arguments of the model's forward: the batch's fields but for its ids."""
    return {name: getattr(batch, name) for name in batch.__dataclass_fields__ if name != "ids"}
