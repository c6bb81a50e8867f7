"""The layouts of the published MooER checkpoints and of its training runs: finding their parts, loading, writing.

paraformer_encoder/{paraformer-encoder.pth, am.mvn}
{asr, ast, asr_ast_mtl}/{adapter_project.pt, lora_weights/}     or, from a training run, {adapter_project.pt, new_llm/}
Qwen2-7B-Instruct/
"""

import dataclasses
from pathlib import Path

import torch

from mooer.common.errors import ConfigError, PathError, WeightsError
from mooer.common.files import require_dir, require_file
from mooer.common.log import get_logger
from mooer.models import paraformer_dir
from mooer.models.adapter import AdapterConfig
from mooer.models.builders import ModelConfig, adapter_from_state, encoder_from_state, encoder_sizes
from mooer.models.llm import LlmConfig, load_llm
from mooer.models.lora import LoraConfig, base_llm_state, load_lora, merge_lora, write_lora
from mooer.models.model_dir import FINAL_DIR, PACKAGED, LoadedModel, PartPaths, find_tokenizer, is_model_dir, load_model_dir
from mooer.models.model_export import copy_tokenizer, has_outside_llm
from mooer.models.paraformer_dir import is_paraformer_dir, load_paraformer
from mooer.models.parts import Parts, read_parts
from mooer.models.sanm_encoder import SanmEncoderConfig
from mooer.models.speech_llm import SpeechLlm
from mooer.models.weights import State, own_tensors, write_safetensors, write_torch

log = get_logger(__name__)

TASK_FOLDERS = {"asr": "asr", "ast": "ast", "mtl": "asr_ast_mtl", "s2s_trans": "s2s_trans", "s2s_chat": "s2s_chat"}
ENCODER_FILE = Path("paraformer_encoder", "paraformer-encoder.pth")
CMVN_FILE = Path("paraformer_encoder", "am.mvn")
ADAPTER_FILE = "adapter_project.pt"
LORA_DIR = "lora_weights"
TRAINED_LORA_DIR = "new_llm"
LLM_DIR = "Qwen2-7B-Instruct"
DEFAULT_DOWNSAMPLE_RATE = 2
_FETCH_HINT = "mooer-download fetches the released checkpoints, and names what is missing (--check)"
_OPTIONS = {"encoder": "--encoder_path", "adapter": "--adapter_path", "llm": "--llm_path", "cmvn": "--cmvn_path"}


def open_model(
    model_dir: str | Path | None,
    task: str,
    parts: PartPaths | None = None,
    downsample_rate: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> LoadedModel:
    """The model of a directory of ours, in the released layout or of a published Paraformer, or one of single parts.

    Args:
        model_dir: None if `parts` names all.
        task: a key of TASK_FOLDERS; chooses among the released checkpoints.
        parts: override what `model_dir` has.
        downsample_rate: of the adapter; None for what the directory says, or 2.

    Raises:
        PathError, ConfigError, WeightsError: something is missing, or does not fit.
    """
    parts = parts or PartPaths()
    if model_dir is not None:
        folder = Path(model_dir)
        ours = str(model_dir) in PACKAGED or is_model_dir(folder) or is_model_dir(folder / FINAL_DIR)
        if ours:
            loaded = load_model_dir(model_dir, dtype=dtype, overrides=parts)
            _check_rate(loaded, downsample_rate)
            return loaded
        for paraformer in filter(is_paraformer_dir, (folder, folder / FINAL_DIR)):
            return _open_paraformer(paraformer, parts, downsample_rate, dtype)
        parts = _overlay(find_parts(require_dir(folder, "model directory"), task), parts)
        if parts.lora is None:
            found = f"neither {LORA_DIR}/ nor {TRAINED_LORA_DIR}/ beside {ADAPTER_FILE}"
            raise PathError(f"{parts.adapter.parent} has {found}; {_FETCH_HINT}")
    return load_released(parts, downsample_rate or DEFAULT_DOWNSAMPLE_RATE, dtype=dtype)


def _check_rate(loaded: LoadedModel, downsample_rate: int | None) -> None:
    if downsample_rate is None:
        return
    family = loaded.config.family
    if family != "speech_llm":
        raise ConfigError(f"a model of family {family} has no adapter, but its downsample rate {downsample_rate} was named")
    rate = loaded.config.adapter.downsample_rate
    if rate != downsample_rate:
        raise WeightsError(f"the model's adapter has downsample rate {rate}; asked for was {downsample_rate}")


def _open_paraformer(folder: Path, parts: PartPaths, downsample_rate: int | None, dtype: torch.dtype) -> LoadedModel:
    foreign = [name for name in ("encoder", "adapter", "llm", "lora") if getattr(parts, name) is not None]
    if foreign or downsample_rate is not None:
        named = ", ".join(foreign) or f"the adapter's downsample rate {downsample_rate}"
        raise ConfigError(f"{folder} is a published Paraformer, which has no parts to replace but its CMVN; leave out {named}")
    model, config = load_paraformer(folder, dtype)
    return LoadedModel(
        model=model,
        config=config,
        tokenizer_dir=folder,
        cmvn_path=require_file(parts.cmvn or folder / paraformer_dir.CMVN_FILE, "CMVN file"),
        frontend_path=None,
        weight_files=(folder / paraformer_dir.WEIGHTS_FILE,),
    )


def _overlay(found: PartPaths, named: PartPaths) -> PartPaths:
    return PartPaths(**{key: getattr(named, key) or value for key, value in dataclasses.asdict(found).items()})


def find_parts(folder: Path, task: str) -> PartPaths:
    """The parts of a folder in the released layout, or of a training run's merged checkpoint, as far as they exist.

    Raises:
        PathError: the folder has neither form, or no checkpoint for the task.
    """
    if (folder / ADAPTER_FILE).is_file():
        checkpoint = folder
    else:
        present = [name for name in TASK_FOLDERS.values() if (folder / name / ADAPTER_FILE).is_file()]
        if not present:
            found = f"neither config.yaml nor an {ADAPTER_FILE} was found in it"
            raise PathError(f"{folder} is no model directory: {found}; {_FETCH_HINT}")
        checkpoint = folder / TASK_FOLDERS[task]
        if checkpoint.name not in present:
            raise PathError(f"{folder} has no checkpoint for task {task} ({checkpoint.name}/), only {', '.join(present)}")
    loras = [checkpoint / name for name in (LORA_DIR, TRAINED_LORA_DIR) if (checkpoint / name).is_dir()]
    return PartPaths(
        encoder=_if_exists(folder / ENCODER_FILE),
        cmvn=_if_exists(folder / CMVN_FILE),
        llm=_if_exists(folder / LLM_DIR),
        adapter=checkpoint / ADAPTER_FILE,
        lora=next(iter(loras), None),
    )


def _if_exists(path: Path) -> Path | None:
    return path if path.exists() else None


def load_released(
    paths: PartPaths, downsample_rate: int, *, attention_heads: int = 4, dtype: torch.dtype = torch.float32
) -> LoadedModel:
    """A model of the released checkpoints' parts; only the LoRA may be left out.

    Args:
        downsample_rate: must be what the adapter was trained with.
        attention_heads: of the encoder; its file does not tell.

    Raises:
        PathError, ConfigError, WeightsError: a part is missing, or does not fit.
    """
    _check_paths(paths)
    adapter_parts = read_parts(paths.adapter, "adapter weights")
    encoder_parts = _choose_encoder(adapter_parts, paths)
    base = SanmEncoderConfig(attention_heads=attention_heads)
    encoder = encoder_from_state(encoder_parts.part("encoder"), base, encoder_parts.source)
    first = adapter_parts.part("adapter")
    llm = load_llm(paths.llm, dtype)
    width = llm.get_input_embeddings().embedding_dim
    adapter = adapter_from_state(first, encoder.output_size, width, downsample_rate, adapter_parts.source)
    if paths.lora is not None:
        llm = merge_lora(load_lora(llm, paths.lora))
    config = ModelConfig(
        encoder=encoder_sizes(encoder_parts.encoder, base, encoder_parts.source),
        adapter=AdapterConfig(downsample_rate=downsample_rate, hidden_size=adapter.linear1.out_features),
        llm=LlmConfig(path=str(paths.llm)),
        lora=None if paths.lora is None else LoraConfig(path=str(paths.lora)),
    )
    files = [paths.encoder, paths.adapter, *sorted(paths.llm.glob("*.safetensors"))]
    files += [] if paths.lora is None else sorted(paths.lora.glob("adapter_model.*"))
    return LoadedModel(
        model=SpeechLlm(encoder, adapter, llm).to(dtype).eval().requires_grad_(False),
        config=config,
        tokenizer_dir=find_tokenizer(paths.llm),
        cmvn_path=paths.cmvn,
        frontend_path=None,
        weight_files=tuple(file for file in files if file is not None and file.is_file()),
    )


def _check_paths(paths: PartPaths) -> None:
    """All parts named and there, before the first of them is read."""
    missing = [option for key, option in _OPTIONS.items() if getattr(paths, key) is None]
    if missing:
        message = f"not all parts of a model are known; name a --model_dir that has them, or {', '.join(missing)}"
        raise ConfigError(f"{message}; {_FETCH_HINT}")
    for key, option in _OPTIONS.items():
        if not getattr(paths, key).exists():
            raise PathError(f"{option} {getattr(paths, key)} does not exist")
    require_dir(paths.llm, "LLM folder")
    require_file(paths.cmvn, "CMVN file")
    if paths.lora is not None:
        require_dir(paths.lora, "LoRA folder")


def _choose_encoder(adapter_parts: Parts, paths: PartPaths) -> Parts:
    """A released-form adapter file that holds an encoder holds the one it was trained with, which goes before the other."""
    if adapter_parts.encoder and paths.adapter.is_file():
        log.info("the encoder is taken from %s, which was trained with it", paths.adapter)
        return adapter_parts
    return read_parts(paths.encoder, "encoder weights")


def export_released(
    model: SpeechLlm, config: ModelConfig, directory: str | Path, task: str, cmvn_path: Path, tokenizer_dir: Path
) -> None:
    """Write a model in the released layout, so that programs made for the released checkpoints read it.

    An LLM that came from a path and was not trained itself is not copied: the folder Qwen2-7B-Instruct/ must be put there.

    Raises:
        ConfigError: the layout cannot hold this model.
    """
    if not isinstance(model, SpeechLlm) or config.encoder_type != "sanm" or model.adapter.norm is not None:
        raise ConfigError("the released layout holds a SANM encoder, an LLM and an adapter without layer_norm, nothing else")
    directory = Path(directory)
    encoder, adapter = own_tensors(model.encoder), own_tensors(model.adapter)
    write_torch(directory / ENCODER_FILE, encoder)
    (directory / CMVN_FILE).write_bytes(require_file(cmvn_path, "CMVN file").read_bytes())
    checkpoint: State = {f"encoder_projector.{name}": tensor for name, tensor in adapter.items()}
    if "encoder" not in config.freeze:
        checkpoint |= {f"encoder.model.{name}": tensor for name, tensor in encoder.items()}
    folder = directory / TASK_FOLDERS[task]
    write_torch(folder / ADAPTER_FILE, checkpoint)
    if config.lora is not None:
        write_lora(model.llm, folder / LORA_DIR, released_form=True)
    if not has_outside_llm(config):
        write_hugging_face_llm(model, directory / LLM_DIR, tokenizer_dir)


def write_hugging_face_llm(model: SpeechLlm, folder: Path, tokenizer_dir: Path) -> None:
    """Write the LLM without its LoRA as a Hugging Face folder: weights, config.json, tokenizer."""
    write_safetensors(folder / "model.safetensors", base_llm_state(model.llm))
    model.llm.config.to_json_file(folder / "config.json", use_diff=False)
    copy_tokenizer(tokenizer_dir, folder)
