"""Conformer with CTC and an attention decoder, dense or with a mixture of experts."""

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

from mooer.data.batch import CtcBatch
from mooer.data.dataset import Loader, build_loader, list_files
from mooer.data.tasks import CtcSamples
from mooer.models.builders import check_frontend
from mooer.models.conformer_aed import ConformerAed
from mooer.models.conformer_builder import ConformerConfig, build_conformer, outline_conformer
from mooer.models.model_dir import LoadedModel
from mooer.models.model_export import ModelAssets, export_conformer_dir
from mooer.models.parts import MODEL_FILE
from mooer.text.vocabulary import Vocabulary, load_vocabulary
from mooer.train.config import RunConfig
from mooer.train.families.base import Family, Form, Split, refuse_form


class ConformerFamily(Family):
    """Encoder, CTC layer and decoder; with experts, also the network whose output their routers read."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self.frame_seconds = config.data.frontend.frame_seconds

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Read when it is asked for first. Raises PathError, ConfigError or DataError."""
        return load_vocabulary(self._config.model.tokenizer_path)

    @property
    def _model(self) -> ConformerConfig:
        """The section `model` with the vocabulary's own tokens; what ends a sentence stands before it, too."""
        return dataclasses.replace(self._config.model, blank_id=self.vocabulary.blank_id, boundary_id=self.vocabulary.end_id)

    def build_model(self, outline: bool = False) -> ConformerAed:
        """The model of the section `model`."""
        build = outline_conformer if outline else build_conformer
        model = build(self._model, len(self.vocabulary.tokens))
        check_frontend(model.encoder, self._config.data.frontend)
        return model

    def loader(self, split: Split, rank: int = 0, world_size: int = 1) -> Loader:
        """The batches of a rank."""
        data = self._config.data
        return build_loader(data, split, CtcSamples(self.vocabulary, data.frontend.encoder_frames), rank, world_size)

    def count_targets(self, batch: CtcBatch) -> int:
        """Tokens, and an end for each sentence where there is a decoder."""
        return int(batch.target_lengths.sum()) + (0 if self._config.model.decoder is None else len(batch.ids))

    def count_frames(self, batch: CtcBatch) -> int:
        """Frames of the front end."""
        return int(batch.frame_lengths.sum())

    def data_files(self) -> list[str]:
        """The data lists, the file of the mixture, and the tokens."""
        folder = Path(self._config.model.tokenizer_path)
        return [*list_files(self._config.data), *(str(path) for path in sorted(folder.iterdir()) if path.is_file())]

    def parts_from_files(self) -> set[str]:
        """Both where there is a base model; the embedding network alone is no part."""
        return set() if self._config.model.base_path is None else {"encoder", "decoder"}

    def weight_files(self) -> list[Path]:
        """The base model's and the embedding network's."""
        paths = [Path(path) for path in (self._config.model.base_path, self._config.model.embedding_path) if path is not None]
        return [path / MODEL_FILE if path.is_dir() else path for path in paths]

    def for_decoding(self, model: ConformerAed, frontend_path: Path) -> LoadedModel:
        """The model as it is."""
        cmvn_path = self._config.data.cmvn_path
        return LoadedModel(
            model=model,
            config=self._model,
            tokenizer_dir=Path(self._config.model.tokenizer_path),
            cmvn_path=None if cmvn_path is None else Path(cmvn_path),
            frontend_path=frontend_path,
            weight_files=(),
        )

    def export(self, model: ConformerAed, directory: Path, record: dict[str, Any], form: Form, task: str) -> None:
        """Write a model directory of ours."""
        refuse_form(form, ("safetensors", "int8"), "conformer")
        data = self._config.data
        assets = ModelAssets(
            tokenizer_dir=Path(self._config.model.tokenizer_path),
            cmvn_path=None if data.cmvn_path is None else Path(data.cmvn_path),
            frontend=data.frontend,
            record=record,
        )
        export_conformer_dir(model, self._model, directory, assets, int8=form == "int8")
