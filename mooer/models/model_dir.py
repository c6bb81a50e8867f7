"""Model directories of ours: everything that decoding needs in one folder.

config.yaml  the ModelConfig           tokenizer/       Hugging Face files
model.safetensors  all weights but     llm/config.json  the LLM's sizes, if its weights are here
  those of an untouched outside LLM    am.mvn           CMVN
lora/  in peft's form, if there is one frontend.yaml, run.json
encoder/  settings of an encoder of transformers, if it is one
"""

import contextlib
import dataclasses
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

import mooer
from mooer.common.config import dump_yaml, load_yaml
from mooer.common.errors import ConfigError, PathError, WeightsError
from mooer.common.files import atomic_write, require_dir, require_file, staged_folder
from mooer.models.builders import (
    ENCODER_DIR,
    ModelConfig,
    adapter_from_state,
    encoder_from_state,
    encoder_sizes,
    published_encoder,
    read_encoder_state,
)
from mooer.models.ctc_model import CtcModel
from mooer.models.encoder_folder import write_settings
from mooer.models.llm import LlmConfig, llm_from_state, load_llm
from mooer.models.lora import LoraConfig, base_llm_state, load_lora, merge_lora, write_lora
from mooer.models.paraformer import Paraformer
from mooer.models.paraformer_dir import ParaformerConfig
from mooer.models.parts import MODEL_FILE, Parts, read_parts
from mooer.models.speech_llm import SpeechLlm
from mooer.models.weights import State, check_names, own_tensors, quantise_rows, write_safetensors

CONFIG_FILE = "config.yaml"
FRONTEND_FILE = "frontend.yaml"
CMVN_FILE = "am.mvn"
RECORD_FILE = "run.json"
TOKENIZER_DIR = "tokenizer"
LLM_DIR = "llm"
LORA_DIR = "lora"
FINAL_DIR = "final"
PACKAGED = ("mini",)
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
)


@dataclass(frozen=True, kw_only=True)
class PartPaths:
    """Where the parts of a model lie; None for a part that is not named."""

    encoder: Path | None = None
    """A released .pth, a model directory of ours, or the Hugging Face folder of an encoder of transformers."""
    adapter: Path | None = None
    """A released adapter_project.pt, or a model directory of ours."""
    llm: Path | None = None
    """A Hugging Face folder, or a model directory of ours."""
    lora: Path | None = None
    """A folder in peft's form."""
    cmvn: Path | None = None
    """A file in Kaldi's text form."""


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model ready to decode, and the files that belong to it."""

    model: SpeechLlm | CtcModel | Paraformer
    """In eval mode, without gradients, its LoRA merged."""
    config: ModelConfig | ParaformerConfig
    """With the sizes of the loaded parts; both know their family."""
    tokenizer_dir: Path
    """Folder that `mooer.text.tokenizer.load_tokenizer` reads, or a published Paraformer's with its tokens.json."""
    cmvn_path: Path | None
    """CMVN file; None for a model trained without."""
    frontend_path: Path | None
    """The front end's settings; None for the released ones."""
    weight_files: tuple[Path, ...]
    """The files that weights were read from."""


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


def find_model_dir(path: str | Path) -> Path:
    """The folder meant by a model directory, a run folder (its final/), or the name of a packaged model (mini).

    Raises:
        PathError: none of these.
    """
    folder = Path(path)
    if str(path) in PACKAGED and not folder.exists():
        folder = Path(mooer.__file__).parent / "pretrained" / str(path)
    require_dir(folder, "model directory")
    for candidate in (folder, folder / FINAL_DIR):
        if is_model_dir(candidate):
            return candidate
    raise PathError(f"{folder} is no model directory: it lacks {CONFIG_FILE} or {MODEL_FILE}")


def is_model_dir(folder: Path) -> bool:
    """Whether the folder has the form of a model directory of ours."""
    return (folder / CONFIG_FILE).is_file() and (folder / MODEL_FILE).is_file()


def load_model_dir(path: str | Path, *, dtype: torch.dtype = torch.float32, overrides: PartPaths | None = None) -> LoadedModel:
    """Load a model directory for decoding.

    Args:
        path: as `find_model_dir` takes it.
        overrides: parts to take from elsewhere.

    Raises:
        PathError, ConfigError, WeightsError: something is missing, or does not fit.
    """
    folder, overrides = find_model_dir(path), overrides or PartPaths()
    config = load_yaml(folder / CONFIG_FILE, ModelConfig)
    parts = read_parts(folder, "model directory")
    _check_parts(config, parts, overrides)
    parts = _with_overrides(config, parts, overrides)
    encoder = _load_encoder(folder, config, parts)
    files = [folder / MODEL_FILE, overrides.encoder, overrides.adapter]
    if config.family == "ctc":
        model = CtcModel(encoder, _ctc_head(parts, encoder.output_size), config.blank_id)
    else:
        llm, llm_files = _load_llm_with_lora(folder, config, parts, overrides, dtype)
        width = llm.get_input_embeddings().embedding_dim
        rate = config.adapter.downsample_rate
        model = SpeechLlm(
            encoder, adapter_from_state(parts.part("adapter"), encoder.output_size, width, rate, parts.source), llm
        )
        files += llm_files
    cmvn = overrides.cmvn or folder / CMVN_FILE
    return LoadedModel(
        model=model.to(dtype).eval().requires_grad_(False),
        config=_with_encoder_sizes(config, parts.encoder, parts.source),
        tokenizer_dir=find_tokenizer(overrides.llm or folder),
        cmvn_path=require_file(cmvn, "CMVN file") if overrides.cmvn or cmvn.exists() else None,
        frontend_path=folder / FRONTEND_FILE if (folder / FRONTEND_FILE).exists() else None,
        weight_files=tuple(file for file in files if file is not None and file.is_file()),
    )


def find_tokenizer(folder: Path) -> Path:
    """The folder of the tokenizer that belongs to a model directory of ours or to a Hugging Face folder."""
    inside = folder / TOKENIZER_DIR
    return inside if inside.is_dir() else require_dir(folder, "tokenizer folder")


def _check_parts(config: ModelConfig, parts: Parts, overrides: PartPaths) -> None:
    """Nothing in the model file, and nothing asked for, that the model would not use."""
    expected = {"encoder", "ctc_head"} if config.family == "ctc" else {"encoder", "adapter"}
    if config.family == "speech_llm" and config.llm.path is None:
        expected.add("llm")
    if set(parts.present()) != expected:
        found = ", ".join(parts.present()) or "nothing"
        raise WeightsError(f"{parts.source} must hold {', '.join(sorted(expected))} by its {CONFIG_FILE}; it holds {found}")
    unused = [name for name in ("adapter", "llm", "lora") if getattr(overrides, name) is not None]
    if config.family == "ctc" and unused:
        raise ConfigError(f"{parts.source} is of family ctc, which has no {', no '.join(unused)}")


def _with_overrides(config: ModelConfig, parts: Parts, overrides: PartPaths) -> Parts:
    if overrides.encoder is not None:
        parts = dataclasses.replace(parts, encoder=read_encoder_state(config.encoder_type, overrides.encoder))
    if overrides.adapter is not None:
        parts = dataclasses.replace(parts, adapter=read_parts(overrides.adapter, "adapter weights").part("adapter"))
    return parts


def _load_encoder(folder: Path, config: ModelConfig, parts: Parts) -> nn.Module:
    state = parts.part("encoder")
    if config.encoder_type == "sanm":
        return encoder_from_state(state, config.encoder, parts.source)
    return published_encoder(config.encoder_type, folder / ENCODER_DIR, state, parts.source)


def _with_encoder_sizes(config: ModelConfig, state: State, source: str) -> ModelConfig:
    """The config with the true sizes of a SANM encoder; those of the others are in encoder/config.json."""
    if config.encoder_type != "sanm":
        return config
    return dataclasses.replace(config, encoder=encoder_sizes(state, config.encoder, source))


def _ctc_head(parts: Parts, width: int) -> nn.Linear:
    state = parts.part("ctc_head")
    vocab_size = state["bias"].shape[0] if "bias" in state and state["bias"].dim() == 1 else 1
    check_names({"weight": (vocab_size, width), "bias": (vocab_size,)}, state, f"the CTC layer of {parts.source}")
    head = nn.Linear(width, vocab_size)
    head.load_state_dict(state)
    return head


def _load_llm_with_lora(
    folder: Path, config: ModelConfig, parts: Parts, overrides: PartPaths, dtype: torch.dtype
) -> tuple[nn.Module, list[Path]]:
    """The LLM with its LoRA merged, and the files read."""
    outside = overrides.llm or (Path(config.llm.path) if config.llm.path else None)
    lora = overrides.lora or (folder / LORA_DIR if config.lora is not None else None)
    if outside is None:
        llm = llm_from_state(parts.part("llm"), folder / LLM_DIR, parts.source, dtype)
    else:
        llm = load_llm(outside, dtype)
    files = [] if outside is None else sorted(outside.glob("*.safetensors"))
    if lora is not None:
        llm = merge_lora(load_lora(llm, lora))
        files += sorted(lora.glob("adapter_model.*"))
    return llm, files


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
    with staged_directory(directory) as folder:
        outside = config.family == "speech_llm" and has_outside_llm(config)
        state = _own_state(model, with_llm=not outside)
        write_safetensors(folder / MODEL_FILE, quantise_rows(state) if int8 else state)
        if config.encoder_type != "sanm":
            write_settings(folder / ENCODER_DIR, model.encoder.network.config, model.encoder.preprocessor)
        if config.family == "speech_llm":
            _write_llm_files(model, config, folder, outside)
        _write_text(folder / CONFIG_FILE, dump_yaml(_exported_config(model, config, outside)))
        copy_tokenizer(assets.tokenizer_dir, folder / TOKENIZER_DIR)
        if assets.cmvn_path is not None:
            shutil.copyfile(require_file(assets.cmvn_path, "CMVN file"), folder / CMVN_FILE)
        if assets.frontend is not None:
            _write_text(folder / FRONTEND_FILE, dump_yaml(assets.frontend))
        _write_text(folder / RECORD_FILE, json.dumps(assets.record, indent=2, ensure_ascii=False) + "\n")


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
    config = _with_encoder_sizes(config, model.encoder.state_dict(), "the trained model")
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


def staged_directory(directory: str | Path) -> contextlib.AbstractContextManager[Path]:
    """A temporary folder that takes the name `directory`, which may be an earlier model directory's, when it is complete.

    Raises:
        PathError: `directory` exists and is neither empty nor a model directory.
    """
    return staged_folder(directory, is_model_dir)
