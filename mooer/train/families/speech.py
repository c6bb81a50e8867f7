"""The families that `mooer.models.builders` builds: a speech LLM, and an encoder with CTC."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from mooer.common.errors import ConfigError
from mooer.data.batch import IGNORED_LABEL, CtcBatch, SpeechLlmBatch
from mooer.data.dataset import Loader, build_loader, list_files
from mooer.data.tasks import CtcSamples, Samples, SpeechLlmSamples
from mooer.models.builders import ModelConfig, build_model, check_frontend
from mooer.models.ctc_model import shortest_alignment
from mooer.models.model_dir import LoadedModel
from mooer.models.model_export import ModelAssets, export_model_dir
from mooer.models.released import export_released
from mooer.text.tokenizer import load_tokenizer
from mooer.train.config import RunConfig
from mooer.train.families.base import Family, Form, Split

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class SpeechFamily(Family):
    """What a speech LLM and an encoder with CTC have in common."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self.frame_seconds = config.data.frontend.frame_seconds

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """Read when it is asked for first. Raises PathError or ConfigError."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(tokenizer_dir(self._config.model))
        return self._tokenizer

    def build_model(self, outline: bool = False) -> nn.Module:
        """The model of the section `model`."""
        model = build_model(self._config.model, len(self.tokenizer), outline=outline)
        check_frontend(model.encoder, self._config.data.frontend)
        return model

    def loader(self, split: Split, rank: int = 0, world_size: int = 1) -> Loader:
        """The batches of a rank."""
        return build_loader(self._config.data, split, self._samples(), rank, world_size)

    def _samples(self) -> Samples:
        raise NotImplementedError

    def count_frames(self, batch: SpeechLlmBatch | CtcBatch) -> int:
        """Frames of the front end."""
        return int(batch.frame_lengths.sum())

    def data_files(self) -> list[str]:
        """The data lists, and the file of the mixture."""
        return list_files(self._config.data)

    def parts_from_files(self) -> set[str]:
        """Those with a path in the section `model`."""
        config = self._config.model
        paths = {"encoder": config.encoder_path, "adapter": config.adapter_path, "llm": config.llm.path}
        return {part for part, path in paths.items() if path is not None}

    def weight_files(self) -> Iterator[Path]:
        """The files of all parts with a path."""
        config = self._config.model
        for path in (config.encoder_path, config.adapter_path, config.llm.path, config.lora.path if config.lora else None):
            if path is None:
                continue
            yield from sorted(Path(path).glob("*.safetensors")) if Path(path).is_dir() else [Path(path)]

    def for_decoding(self, model: nn.Module, frontend_path: Path) -> LoadedModel:
        """The model as it is."""
        cmvn_path = self._config.data.cmvn_path
        return LoadedModel(
            model=model,
            config=self._config.model,
            tokenizer_dir=tokenizer_dir(self._config.model),
            cmvn_path=None if cmvn_path is None else Path(cmvn_path),
            frontend_path=frontend_path,
            weight_files=(),
        )

    def export(self, model: nn.Module, directory: Path, record: dict[str, Any], form: Form, task: str) -> None:
        """Write a model directory of ours, or the layout of the released checkpoints."""
        config = self._config
        cmvn_path = None if config.data.cmvn_path is None else Path(config.data.cmvn_path)
        if form == "released":
            if cmvn_path is None:
                raise ConfigError("the released layout needs a CMVN file, and the run was trained without one (data.cmvn_path)")
            export_released(model, config.model, directory, task, cmvn_path, tokenizer_dir(config.model))
            return
        assets = ModelAssets(
            tokenizer_dir=tokenizer_dir(config.model),
            cmvn_path=cmvn_path,
            frontend=config.data.frontend,
            record=record | {"instructions": {item.key: item.instruction_text for item in reversed(config.data.tasks)}},
        )
        export_model_dir(model, config.model, directory, assets, int8=form == "int8")


class SpeechLlmFamily(SpeechFamily):
    """Encoder, adapter and LLM."""

    def _samples(self) -> SpeechLlmSamples:
        return SpeechLlmSamples.of(self._config.data, self.tokenizer, self._config.model.adapter.downsample_rate)

    def count_targets(self, batch: SpeechLlmBatch) -> int:
        """Tokens of the answers."""
        return int((batch.labels[:, 1:] != IGNORED_LABEL).sum())


class CtcFamily(SpeechFamily):
    """An encoder with CTC."""

    def _samples(self) -> CtcSamples:
        return CtcSamples.of(self._config.data, self.tokenizer)

    def count_targets(self, batch: CtcBatch) -> int:
        """Tokens of the utterances that have an alignment."""
        fits = shortest_alignment(batch.targets, batch.target_lengths) <= batch.frame_lengths
        return int((batch.target_lengths * fits).sum())


def tokenizer_dir(config: ModelConfig) -> Path:
    """Where the tokenizer of a model lies: its own path, or in the LLM's folder. Raises ConfigError if neither is set."""
    if config.tokenizer_path is not None:
        return Path(config.tokenizer_path)
    if config.llm.path is None:
        raise ConfigError("model.tokenizer_path is needed where model.llm.path names no LLM with a tokenizer")
    inside = Path(config.llm.path) / "tokenizer"  # a model directory of ours
    return inside if inside.is_dir() else Path(config.llm.path)
