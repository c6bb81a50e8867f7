"""Paraformer."""

import json
from pathlib import Path
from typing import Any

from mooer.common.config import from_dict
from mooer.data.batch import CtcBatch
from mooer.data.dataset import Loader, build_loader, list_files
from mooer.data.tasks import ParaformerSamples
from mooer.models.model_dir import LoadedModel
from mooer.models.paraformer_builder import build_paraformer_training, published_settings
from mooer.models.paraformer_dir import ParaformerConfig, published_names
from mooer.models.paraformer_training import ParaformerTraining
from mooer.models.parts import MODEL_FILE
from mooer.models.published_folder import (
    CMVN_FILE,
    CONFIG_FILE,
    TOKENS_FILE,
    WEIGHTS_FILE,
    PublishedModel,
    write_published_folder,
)
from mooer.models.weights import own_tensors
from mooer.text.piece_tokenizer import SEG_DICT_FILE, PieceTokenizer, load_piece_tokenizer
from mooer.train.config import RunConfig
from mooer.train.families.base import Family, Form, Split, refuse_form

CONFIGURATION_FILE = "configuration.json"


class ParaformerFamily(Family):
    """Paraformer, with or without times; it has one form, the published directory."""

    def __init__(self, config: RunConfig) -> None:
        self._model, self._data = config.model, config.data
        self._tokenizer: PieceTokenizer | None = None
        self.frame_seconds = config.data.frontend.frame_seconds

    @property
    def tokenizer(self) -> PieceTokenizer:
        """Read when it is asked for first. Raises PathError or DataError."""
        if self._tokenizer is None:
            self._tokenizer = load_piece_tokenizer(self._model.token_folder)
        return self._tokenizer

    def build_model(self, outline: bool = False) -> ParaformerTraining:
        """The model of the section `model`, with its losses."""
        return build_paraformer_training(self._model, len(self.tokenizer.tokens))

    def loader(self, split: Split, rank: int = 0, world_size: int = 1) -> Loader:
        """The batches of a rank."""
        return build_loader(self._data, split, ParaformerSamples(self.tokenizer), rank, world_size)

    def count_targets(self, batch: CtcBatch) -> int:
        """Tokens, the end of each sequence included."""
        return int(batch.target_lengths.sum())

    def count_frames(self, batch: CtcBatch) -> int:
        """Frames of the front end."""
        return int(batch.frame_lengths.sum())

    def data_files(self) -> list[str]:
        """The data lists, the file of the mixture, and the tokens."""
        folder = self._model.token_folder
        files = [folder / TOKENS_FILE, folder / SEG_DICT_FILE]
        return [*list_files(self._data), *(str(path) for path in files if path.exists())]

    def parts_from_files(self) -> set[str]:
        """The encoder, if it has a path."""
        return set() if self._model.encoder_path is None and self._model.init_dir is None else {"encoder"}

    def weight_files(self) -> list[Path]:
        """The file that all parts, or the encoder, begin with."""
        if self._model.init_dir is not None:
            return [Path(self._model.init_dir) / WEIGHTS_FILE]
        if self._model.encoder_path is None:
            return []
        path = Path(self._model.encoder_path)
        return [path / MODEL_FILE if path.is_dir() else path]

    def for_decoding(self, model: ParaformerTraining, frontend_path: Path) -> LoadedModel:
        """The model without its losses."""
        settings = from_dict(ParaformerConfig, published_settings(self._model), "model")
        return LoadedModel(
            model=model.paraformer(),
            config=settings,
            tokenizer_dir=self._model.token_folder,
            cmvn_path=Path(self._data.cmvn_path),
            frontend_path=frontend_path,
            weight_files=(),
        )

    def export(self, model: ParaformerTraining, directory: Path, record: dict[str, Any], form: Form, task: str) -> None:
        """Write a published directory."""
        refuse_form(form, ("safetensors", "released"), "paraformer")
        seg_dict = self._model.token_folder / SEG_DICT_FILE
        texts = {SEG_DICT_FILE: seg_dict.read_text(encoding="utf-8")} if seg_dict.exists() else {}
        published = PublishedModel(
            settings=published_settings(self._model),
            weights=published_names(own_tensors(model.paraformer())),
            cmvn_path=Path(self._data.cmvn_path),
            tokens=self.tokenizer.tokens,
            others=texts | {CONFIGURATION_FILE: json.dumps(_configuration(bool(texts)), indent=2) + "\n"},
            record=record,
        )
        write_published_folder(directory, published)


def _configuration(has_seg_dict: bool) -> dict[str, Any]:
    """configuration.json: which file is which."""
    tokens = {"token_list": TOKENS_FILE} | ({"seg_dict_file": SEG_DICT_FILE} if has_seg_dict else {})
    files = {"init_param": WEIGHTS_FILE, "config": CONFIG_FILE, "tokenizer_conf": tokens}
    return {
        "framework": "pytorch",
        "task": "auto-speech-recognition",
        "model": {"type": "funasr"},
        "pipeline": {"type": "funasr-pipeline"},
        "file_path_metas": files | {"frontend_conf": {"cmvn_file": CMVN_FILE}},
    }
