"""Folders of language models: config.yaml, model.safetensors, tokenizer/ (whose form is the vocabulary's own), run.json."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mooer.common.config import dump_yaml, load_yaml
from mooer.common.errors import ConfigError, WeightsError
from mooer.common.files import atomic_write, require_dir, staged_folder
from mooer.models.model_dir import CONFIG_FILE, RECORD_FILE, TOKENIZER_DIR, find_model_dir, is_model_dir
from mooer.models.parts import MODEL_FILE
from mooer.models.transformer_lm import SpecialTokens, TransformerLm, TransformerLmConfig
from mooer.models.weights import load_state, own_tensors, quantise_rows, read_state, write_safetensors
from mooer.nn.outline import outline


@dataclass(frozen=True, kw_only=True)
class LanguageModelFolder:
    """config.yaml of a folder."""

    model: TransformerLmConfig
    """Sizes."""
    special: SpecialTokens
    """Ids with a meaning of their own."""


@dataclass(frozen=True)
class LoadedLanguageModel:
    """A language model ready for use."""

    model: TransformerLm
    """In eval mode, without gradients."""
    tokenizer_dir: Path
    """Folder that `mooer.text.vocabulary.load_vocabulary` reads."""
    weight_files: tuple[Path, ...]
    """The files that weights were read from."""


def write_language_model(
    model: TransformerLm,
    config: TransformerLmConfig,
    directory: str | Path,
    save_vocabulary: Callable[[Path], None],
    record: dict[str, Any],
    int8: bool = False,
) -> None:
    """Write a folder that `load_language_model` reads; it appears under its name only when complete.

    Args:
        save_vocabulary: writes the vocabulary's files into an existing folder.
        record: for run.json.
        int8: matrices as int8 with a scale a row.

    Raises:
        PathError: the directory exists and is no model directory; it is left alone.
    """
    with staged_folder(directory, is_model_dir) as folder:
        state = own_tensors(model)
        write_safetensors(folder / MODEL_FILE, quantise_rows(state) if int8 else state)
        with atomic_write(folder / CONFIG_FILE) as stream:
            stream.write(dump_yaml(LanguageModelFolder(model=config, special=model.special)))
        (folder / TOKENIZER_DIR).mkdir()
        save_vocabulary(folder / TOKENIZER_DIR)
        with atomic_write(folder / RECORD_FILE) as stream:
            json.dump(record, stream, indent=2, ensure_ascii=False)
            stream.write("\n")


def load_language_model(path: str | Path, dtype: torch.dtype = torch.float32) -> LoadedLanguageModel:
    """The language model of a folder, or of the run folder that it is in.

    Raises:
        PathError, ConfigError, WeightsError: something is missing, or does not fit.
    """
    folder = find_model_dir(path)
    try:
        config = load_yaml(folder / CONFIG_FILE, LanguageModelFolder)
    except ConfigError as error:
        raise ConfigError(f"{folder} holds no language model: {error}") from error
    file = folder / MODEL_FILE
    state = read_state(file, "language model")
    matrix = state.get("embed.weight")
    if matrix is None or matrix.dim() != 2:
        raise WeightsError(f"{file} holds no language model: it has no matrix embed.weight")
    with outline():
        model = TransformerLm(config.model, len(matrix), config.special)
    load_state(model, state, f"{file} (sizes by its {CONFIG_FILE})", assign=True)
    return LoadedLanguageModel(
        model=model.to(dtype).eval().requires_grad_(False),
        tokenizer_dir=require_dir(folder / TOKENIZER_DIR, "tokenizer folder"),
        weight_files=(file,),
    )
