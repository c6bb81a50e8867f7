"""LoRA (Hu et al. 2022) by peft: new, continued from a folder, merged, and written to a folder."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mooer.common.errors import ConfigError, WeightsError
from mooer.common.files import atomic_write, require_dir, require_file
from mooer.common.torchaudio_compat import ensure_torchaudio
from mooer.models.weights import State, check_names, own_tensors, read_state, write_safetensors, write_torch

if TYPE_CHECKING:
    import peft
    from peft import PeftModel
    from transformers import PreTrainedModel

CONFIG_NAME = "adapter_config.json"
SAFETENSORS_NAME = "adapter_model.safetensors"
TORCH_NAME = "adapter_model.bin"

# Settings of peft that shape the weights or their use, and are kept.
_SHAPING = (
    "r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "bias",
    "fan_in_fan_out",
    "use_rslora",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "layers_to_transform",
    "layers_pattern",
)
# Settings that say where a LoRA came from or how it was first filled: no matter once there are weights.
_HARMLESS = (
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "inference_mode",
    "init_lora_weights",
    "loftq_config",
    "lora_ga_config",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
)


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """A low-rank update of the LLM; the defaults are those of the released training."""

    r: int = 64
    """Rank of the update."""
    alpha: int = 16
    """The update is scaled by alpha / r."""
    dropout: float = 0.05
    """Dropout rate on the update's input, in training."""
    target_modules: list[str] | None = None
    """Names of the linear layers to update; None for all projections of a Llama-like layer."""
    path: str | None = None
    """A LoRA folder to go on from; rank, alpha and target modules are then the folder's."""

    def __post_init__(self) -> None:
        if self.r < 1 or self.alpha < 1:
            raise ConfigError(f"lora r and alpha must be at least 1, found {self.r} and {self.alpha}")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"lora dropout must be in [0, 1), found {self.dropout}")
        if self.target_modules is not None and not self.target_modules:
            raise ConfigError("lora target_modules is empty; name at least one linear layer, or leave it out")


DEFAULT_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "gate_proj", "down_proj")


def add_lora(llm: "PreTrainedModel", config: LoraConfig) -> "PeftModel":
    """The LLM, frozen, with a trainable LoRA around it: a new one, or that of `config.path`.

    Raises:
        ConfigError: the LLM has no layer of a target's name.
        PathError, WeightsError: the folder is missing, or its LoRA does not fit this LLM.
    """
    if config.path is not None:
        return load_lora(llm, config.path, dropout=config.dropout)
    ensure_torchaudio()
    import peft

    targets = list(config.target_modules or DEFAULT_TARGETS)
    names = {name.rsplit(".", 1)[-1] for name, _ in llm.named_modules()}
    absent = [target for target in targets if target.rsplit(".", 1)[-1] not in names]
    if absent:
        raise ConfigError(f"the LLM has no layers called {', '.join(absent)} for lora target_modules")
    settings = {"r": config.r, "lora_alpha": config.alpha, "lora_dropout": config.dropout, "target_modules": targets}
    return _wrap(llm, peft.LoraConfig(task_type="CAUSAL_LM", **settings))


def _wrap(llm: "PreTrainedModel", config: "peft.LoraConfig") -> "PeftModel":
    import peft

    with warnings.catch_warnings():  # peft asks transformers by names that are going away
        warnings.simplefilter("ignore", FutureWarning)
        return peft.get_peft_model(llm, config).train(llm.training)


def load_lora(llm: "PreTrainedModel", folder: str | Path, dropout: float | None = None) -> "PeftModel":
    """The LLM with the LoRA of a folder in peft's form (safetensors or torch.save), trainable.

    Args:
        dropout: instead of the folder's own rate.

    Raises:
        PathError: no such folder or files.
        WeightsError: an unsupported kind of LoRA, or weights that do not fit the LLM; the LLM must then not be used.
    """
    ensure_torchaudio()
    import peft

    folder = require_dir(folder, "LoRA folder")
    settings = _read_settings(folder / CONFIG_NAME)
    if dropout is not None:
        settings["lora_dropout"] = dropout
    path = folder / SAFETENSORS_NAME
    state = read_state(path if path.exists() else require_file(folder / TORCH_NAME, "LoRA weights"), "LoRA weights")
    try:
        model = _wrap(llm, peft.LoraConfig(task_type="CAUSAL_LM", **settings))
    except (ValueError, TypeError) as error:
        raise WeightsError(f"the LoRA of {folder} cannot be applied to this LLM: {error}") from error
    expected = {name: tuple(tensor.shape) for name, tensor in lora_state(model).items()}
    check_names(expected, state, f"the LoRA of {folder}")
    peft.set_peft_model_state_dict(model, state)
    return model


def _read_settings(path: Path) -> dict[str, Any]:
    """The settings of an adapter_config.json that peft must know; anything it does not name is refused, not ignored."""
    require_file(path, "LoRA configuration")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(raw, dict) or raw.get("peft_type") != "LORA":
        raise WeightsError(f"{path} must describe a LoRA (peft_type LORA)")
    strange = sorted(name for name, value in raw.items() if value and name not in _SHAPING + _HARMLESS)
    if strange:
        raise WeightsError(f"{path} uses settings that are not supported: {', '.join(strange)}")
    return {name: raw[name] for name in _SHAPING if name in raw}


def lora_state(model: "PeftModel") -> State:
    """The LoRA's tensors under the names that peft writes."""
    import peft

    return peft.get_peft_model_state_dict(model, save_embedding_layers=False)


def base_llm_state(llm: "PeftModel | PreTrainedModel") -> State:
    """The LLM's own tensors under the LLM's own names, each tied one once, whether or not a LoRA is around it."""
    own = {}
    for name, tensor in own_tensors(llm).items():
        if ".lora_" not in name and ".modules_to_save." not in name:
            name = name.removeprefix("base_model.model.").replace(".base_layer.", ".").replace(".original_module.", ".")
            own[name] = tensor
    return own


def merge_lora(model: "PeftModel") -> "PreTrainedModel":
    """The plain LLM with the LoRA added to its weights; the model itself is used up."""
    return model.merge_and_unload()


def write_lora(model: "PeftModel", folder: str | Path, *, released_form: bool = False) -> None:
    """Write the LoRA to a folder that peft (0.12 or later) and `load_lora` read.

    Args:
        released_form: as torch.save file, which the released checkpoints are, instead of safetensors.
    """
    folder = Path(folder)
    write = write_torch if released_form else write_safetensors
    write(folder / (TORCH_NAME if released_form else SAFETENSORS_NAME), lora_state(model))
    with atomic_write(folder / CONFIG_NAME) as stream:
        json.dump(_settings(model.peft_config["default"]), stream, indent=2, sort_keys=True)
        stream.write("\n")


def _settings(config: "peft.LoraConfig") -> Mapping[str, Any]:
    settings = {name: getattr(config, name) for name in _SHAPING}
    targets = settings["target_modules"]
    settings["target_modules"] = targets if isinstance(targets, str) else sorted(targets)
    origin = {"base_model_name_or_path": config.base_model_name_or_path, "inference_mode": True, "init_lora_weights": True}
    return settings | origin | {"peft_type": "LORA", "task_type": "CAUSAL_LM"}
