"""Model directories of ours: everything that decoding needs in one folder.

config.yaml  the ModelConfig, or       tokenizer/       Hugging Face files, tokens.json or lang_char.txt
  the ConformerConfig
model.safetensors  all weights but     llm/config.json  the LLM's sizes, if its weights are here
  those of an untouched outside LLM    am.mvn           CMVN
lora/  in peft's form, if there is one frontend.yaml, run.json
encoder/  settings of an encoder of transformers, if it is one
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import mooer
from mooer.common.config import load_yaml
from mooer.common.errors import ConfigError, PathError, WeightsError
from mooer.common.files import require_dir, require_file
from mooer.models.builders import (
    ENCODER_DIR,
    ModelConfig,
    adapter_from_state,
    encoder_from_state,
    encoder_sizes,
    published_encoder,
    read_encoder_state,
)
from mooer.models.conformer_aed import ConformerAed
from mooer.models.conformer_builder import ConformerConfig, conformer_from_state, encoder_without_ctc
from mooer.models.ctc_model import CtcModel
from mooer.models.llm import llm_from_state, load_llm
from mooer.models.lora import load_lora, merge_lora
from mooer.models.paraformer import Paraformer
from mooer.models.paraformer_dir import ParaformerConfig
from mooer.models.parts import MODEL_FILE, Parts, read_parts
from mooer.models.speech_llm import SpeechLlm
from mooer.models.weights import State, check_names, read_state

CONFIG_FILE = "config.yaml"
FRONTEND_FILE = "frontend.yaml"
CMVN_FILE = "am.mvn"
RECORD_FILE = "run.json"
TOKENIZER_DIR = "tokenizer"
LLM_DIR = "llm"
LORA_DIR = "lora"
FINAL_DIR = "final"
PACKAGED = ("mini",)


@dataclass(frozen=True, kw_only=True)
class PartPaths:
    """Where the parts of a model lie; None for a part that is not named."""

    encoder: Path | None = None
    """A released .pth, a model directory of ours, a 3M-ASR checkpoint, or an encoder's Hugging Face folder."""
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

    model: SpeechLlm | CtcModel | ConformerAed | Paraformer
    """In eval mode, without gradients, its LoRA merged."""
    config: ModelConfig | ConformerConfig | ParaformerConfig
    """With the sizes of the loaded parts; each knows its family."""
    tokenizer_dir: Path
    """Folder that `mooer.text.vocabulary.load_vocabulary` reads; of a 3M-ASR checkpoint the dictionary itself."""
    cmvn_path: Path | None
    """CMVN file; None for a model trained without."""
    frontend_path: Path | None
    """The front end's settings; None for those of the released models of the family."""
    weight_files: tuple[Path, ...]
    """The files that weights were read from."""


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
    config = load_yaml(folder / CONFIG_FILE, ModelConfig | ConformerConfig)
    if isinstance(config, ConformerConfig):
        return _load_conformer(folder, config, dtype, overrides)
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
    return LoadedModel(
        model=model.to(dtype).eval().requires_grad_(False),
        config=with_encoder_sizes(config, parts.encoder, parts.source),
        tokenizer_dir=find_tokenizer(overrides.llm or folder),
        weight_files=tuple(file for file in files if file is not None and file.is_file()),
        **_frontend_files(folder, overrides),
    )


def _load_conformer(folder: Path, config: ConformerConfig, dtype: torch.dtype, overrides: PartPaths) -> LoadedModel:
    """The same of a Conformer, of which only the CMVN can be taken from elsewhere."""
    other = [name for name in ("encoder", "adapter", "llm", "lora") if getattr(overrides, name) is not None]
    if other:
        raise ConfigError(f"{folder} is of family conformer; its {other[0]} cannot be taken from elsewhere")
    file = folder / MODEL_FILE
    model = conformer_from_state(config, read_state(file, "model"), f"{file} (sizes by its {CONFIG_FILE})")
    return LoadedModel(
        model=model.to(dtype).eval().requires_grad_(False),
        config=config,
        tokenizer_dir=find_tokenizer(folder),
        weight_files=(file,),
        **_frontend_files(folder, overrides),
    )


def _frontend_files(folder: Path, overrides: PartPaths) -> dict[str, Path | None]:
    """The files that a LoadedModel names beside weights and tokenizer."""
    cmvn, frontend = overrides.cmvn or folder / CMVN_FILE, folder / FRONTEND_FILE
    return {
        "cmvn_path": require_file(cmvn, "CMVN file") if overrides.cmvn or cmvn.exists() else None,
        "frontend_path": frontend if frontend.exists() else None,
    }


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
    if config.encoder_type == "conformer":
        return encoder_without_ctc(config.conformer, state, parts.source)
    return published_encoder(config.encoder_type, folder / ENCODER_DIR, state, parts.source)


def with_encoder_sizes(config: ModelConfig, state: State, source: str) -> ModelConfig:
    """The config with the true sizes of a SANM encoder; it has those of a Conformer, encoder/config.json the others'."""
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
