"""A trained model as a model directory of ours, whose form `mooer.models.model_dir` describes."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mooer.common.config import dump_yaml
from mooer.common.errors import PathError
from mooer.common.files import atomic_write, require_file, staged_folder
from mooer.models.builders import ENCODER_DIR, PUBLISHED_ENCODERS, ModelConfig
from mooer.models.conformer_aed import ConformerAed
from mooer.models.conformer_builder import ConformerConfig
from mooer.models.ctc_model import CtcModel
from mooer.models.encoder_folder import write_settings
from mooer.models.llm import LlmConfig
from mooer.models.lora import LoraConfig, base_llm_state, write_lora
from mooer.models.model_dir import (
    CMVN_FILE,
    CONFIG_FILE,
    FRONTEND_FILE,
    LLM_DIR,
    LORA_DIR,
    RECORD_FILE,
    TOKENIZER_DIR,
    is_model_dir,
    with_encoder_sizes,
)
from mooer.models.parts import MODEL_FILE
from mooer.models.speech_llm import SpeechLlm
from mooer.models.weights import State, own_tensors, quantise_rows, write_safetensors

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "tokens.json",
    "seg_dict",
    "lang_char.txt",
)


@dataclass(frozen=True, kw_only=True)
class ModelAssets:
    """What an exported model directory holds beside configuration and weights."""

    tokenizer_dir: Path
    """Folder to copy the tokenizer's files from."""
    cmvn_path: Path | None = None
    """CMVN file to copy."""
    frontend: Any = None
    """A configuration dataclass, written to frontend.yaml."""
    record: dict[str, Any] = field(default_factory=dict)
    """Command, commit, versions and the like, written to run.json."""


def export_model_dir(
    model: SpeechLlm | CtcModel,
    config: ModelConfig,
    directory: str | Path,
    assets: ModelAssets,
    *,
    int8: bool = False,
) -> None:
    """Write a model directory that `load_model_dir` reads; it appears under its name only when complete.

    An LLM that came from a path and was not trained itself is named by its path, not copied.

    Args:
        config: what the model was built from.
        int8: matrices as int8 with a scale a row.

    Raises:
        PathError: the directory exists and is no model directory; it is left alone.
    """
    outside = config.family == "speech_llm" and has_outside_llm(config)
    state = _own_state(model, with_llm=not outside)
    with _new_directory(directory, state, assets, int8) as folder:
        if config.encoder_type in PUBLISHED_ENCODERS:
            write_settings(folder / ENCODER_DIR, model.encoder.network.config, model.encoder.preprocessor)
        if config.family == "speech_llm":
            _write_llm_files(model, config, folder, outside)
        _write_text(folder / CONFIG_FILE, dump_yaml(_exported_config(model, config, outside)))


def export_conformer_dir(
    model: ConformerAed, config: ConformerConfig, directory: str | Path, assets: ModelAssets, *, int8: bool = False
) -> None:
    """The same for a Conformer: all of it, experts too, in one file."""
    config = dataclasses.replace(config, tokenizer_path=None, base_path=None, embedding_path=None, freeze=[])
    with _new_directory(directory, own_tensors(model), assets, int8) as folder:
        _write_text(folder / CONFIG_FILE, dump_yaml(config))


@contextmanager
def _new_directory(directory: str | Path, state: State, assets: ModelAssets, int8: bool) -> Iterator[Path]:
    """A temporary folder with weights and assets, which takes its name when the caller has added the rest."""
    with staged_folder(directory, is_model_dir) as folder:
        write_safetensors(folder / MODEL_FILE, quantise_rows(state) if int8 else state)
        copy_tokenizer(assets.tokenizer_dir, folder / TOKENIZER_DIR)
        if assets.cmvn_path is not None:
            shutil.copyfile(require_file(assets.cmvn_path, "CMVN file"), folder / CMVN_FILE)
        if assets.frontend is not None:
            _write_text(folder / FRONTEND_FILE, dump_yaml(assets.frontend))
        _write_text(folder / RECORD_FILE, json.dumps(assets.record, indent=2, ensure_ascii=False) + "\n")
        yield folder


def has_outside_llm(config: ModelConfig) -> bool:
    """Whether the LLM's own weights are still those of `config.llm.path`."""
    return config.llm.path is not None and (config.lora is not None or "llm" in config.freeze)


def _own_state(model: SpeechLlm | CtcModel, with_llm: bool) -> State:
    names = ("encoder", "ctc_head") if isinstance(model, CtcModel) else ("encoder", "adapter")
    state = {f"{name}.{key}": tensor for name in names for key, tensor in own_tensors(getattr(model, name)).items()}
    if with_llm and isinstance(model, SpeechLlm):
        state |= {f"llm.{key}": tensor for key, tensor in base_llm_state(model.llm).items()}
    return state


def _write_llm_files(model: SpeechLlm, config: ModelConfig, folder: Path, outside: bool) -> None:
    if not outside:
        _write_text(folder / LLM_DIR / "config.json", model.llm.config.to_json_string(use_diff=False))
    if config.lora is not None:
        write_lora(model.llm, folder / LORA_DIR)


def _exported_config(model: SpeechLlm | CtcModel, config: ModelConfig, outside: bool) -> ModelConfig:
    """The config with the model's true sizes and without the paths it was started from."""
    config = with_encoder_sizes(config, model.encoder.state_dict(), "the trained model")
    config = dataclasses.replace(config, encoder_path=None, adapter_path=None, tokenizer_path=None)
    if config.family == "ctc":
        return config
    adapter = dataclasses.replace(
        config.adapter,
        hidden_size=model.adapter.linear1.out_features,
        layer_norm=model.adapter.norm is not None,
    )
    llm = LlmConfig(path=str(Path(config.llm.path).resolve())) if outside else _llm_sizes(model, config.llm)
    lora = None if config.lora is None else LoraConfig(**(dataclasses.asdict(config.lora) | {"path": None}))
    return dataclasses.replace(config, adapter=adapter, llm=llm, lora=lora)


def _llm_sizes(model: SpeechLlm, config: LlmConfig) -> LlmConfig:
    sizes = model.llm.config
    return dataclasses.replace(
        config,
        path=None,
        hidden_size=sizes.hidden_size,
        num_layers=sizes.num_hidden_layers,
        num_heads=sizes.num_attention_heads,
        num_kv_heads=getattr(sizes, "num_key_value_heads", None) or sizes.num_attention_heads,
        intermediate_size=getattr(sizes, "intermediate_size", config.intermediate_size),
        tie_word_embeddings=bool(getattr(sizes, "tie_word_embeddings", False)),
    )


def copy_tokenizer(source: Path, destination: Path) -> None:
    """Copy a tokenizer's files, and nothing else of the folder. Raises PathError if there are none."""
    present = [source / name for name in _TOKENIZER_FILES if (source / name).is_file()]
    if not present:
        raise PathError(f"there is no tokenizer in {source}: none of {', '.join(_TOKENIZER_FILES)}")
    destination.mkdir(parents=True, exist_ok=True)
    for path in present:
        shutil.copyfile(path, destination / path.name)


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as stream:
        stream.write(text)
