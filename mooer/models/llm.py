"""The language model: any causal LM of transformers from a local folder, or a small Qwen2 from scratch.

Shapes: B batch, L tokens, D width, V vocabulary, N target tokens.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mooer.common.errors import ConfigError, WeightsError
from mooer.common.files import require_dir, require_file
from mooer.common.torchaudio_compat import ensure_torchaudio
from mooer.models.checkpointing import forgets_activations
from mooer.models.hugging_face import load_pretrained
from mooer.models.parts import read_parts
from mooer.models.weights import State, load_state

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class LlmConfig:
    """Where the LLM comes from: `path`, or else the sizes of a Qwen2 with random weights."""

    path: str | None = None
    """A Hugging Face folder with safetensors weights, or a model directory of ours; the sizes below then mean nothing."""
    hidden_size: int = 192
    """Width of embeddings and layers."""
    num_layers: int = 3
    """Transformer layers."""
    num_heads: int = 4
    """Attention heads; must divide hidden_size."""
    num_kv_heads: int = 4
    """Heads of keys and values; must divide num_heads."""
    intermediate_size: int = 576
    """Hidden width of the feed-forward parts."""
    tie_word_embeddings: bool = True
    """Use the input embeddings as output layer too."""

    def __post_init__(self) -> None:
        for name in ("hidden_size", "num_layers", "num_heads", "num_kv_heads", "intermediate_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"llm {name} must be at least 1, found {getattr(self, name)}")
        if self.hidden_size % (2 * self.num_heads):
            raise ConfigError(f"llm hidden_size {self.hidden_size} must be a multiple of twice num_heads {self.num_heads}")
        if self.num_heads % self.num_kv_heads:
            raise ConfigError(f"llm num_kv_heads {self.num_kv_heads} must divide num_heads {self.num_heads}")


def build_llm(
    config: LlmConfig, vocab_size: int, dtype: torch.dtype = torch.float32, outline: bool = False
) -> "PreTrainedModel":
    """The LLM that the config describes, in `dtype`.

    transformers then chooses scaled_dot_product_attention for every architecture that can use it.

    Args:
        vocab_size: tokens of the tokenizer; an LLM from a folder may have more embeddings, never fewer.
        outline: only names and shapes, on the meta device; of an LLM from a folder just its config.json is read.

    Raises:
        PathError, WeightsError: the folder is missing or not a complete causal LM.
        ConfigError: the LLM has too few embeddings.
    """
    if outline:
        llm = _outline(config, vocab_size).to(dtype)
    else:
        llm = _random_qwen2(config, vocab_size).to(dtype) if config.path is None else load_llm(config.path, dtype)
    embeddings = llm.get_input_embeddings().num_embeddings
    if embeddings < vocab_size:
        raise ConfigError(
            f"the LLM of {config.path} has {embeddings} embeddings, too few for a tokenizer of {vocab_size} tokens"
        )
    return llm


def _outline(config: LlmConfig, vocab_size: int) -> "PreTrainedModel":
    with torch.device("meta"):
        if config.path is None:
            return _random_qwen2(config, vocab_size)
        folder = require_dir(config.path, "LLM folder")
        own = folder / "llm" / "config.json"
        return _from_config(read_llm_config(own.parent if own.is_file() else folder))


def _random_qwen2(config: LlmConfig, vocab_size: int) -> "PreTrainedModel":
    ensure_torchaudio()
    from transformers import Qwen2Config

    return _from_config(
        Qwen2Config(
            vocab_size=vocab_size,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            intermediate_size=config.intermediate_size,
            tie_word_embeddings=config.tie_word_embeddings,
            # Qwen2's own 0.02 is for thousands of dimensions: with a few hundred, attention to the audio starts much later.
            initializer_range=config.hidden_size**-0.5,
            rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        )
    )


def _from_config(config: "PretrainedConfig") -> "PreTrainedModel":
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def load_llm(path: str | Path, dtype: torch.dtype = torch.float32) -> "PreTrainedModel":
    """A causal LM from a Hugging Face folder or from a model directory of ours, complete or not at all.

    Only local files and only safetensors are read, no code of the folder is run, and its generation settings are left
    aside: Qwen2-Instruct's would sample and penalise repetitions.

    Raises:
        PathError: no such folder, or no config.json in it.
        WeightsError: unreadable, missing, unexpected or wrongly shaped weights, or no causal LM.
    """
    ensure_torchaudio()
    path = require_dir(path, "LLM folder")
    llm = _load_own(path, dtype) if (path / "llm" / "config.json").is_file() else _load_hugging_face(path, dtype)
    from transformers import GenerationConfig

    llm.generation_config = GenerationConfig()
    return llm.eval()


def _load_own(path: Path, dtype: torch.dtype) -> "PreTrainedModel":
    parts = read_parts(path, "model directory")
    return llm_from_state(parts.part("llm"), path / "llm", parts.source, dtype)


def llm_from_state(state: State, config_dir: Path, source: str, dtype: torch.dtype) -> "PreTrainedModel":
    """The LLM that `config_dir`/config.json describes, with the tensors of `state`. Raises PathError or WeightsError."""
    llm = _from_config(read_llm_config(config_dir)).to(dtype)
    load_state(llm, state, source)
    return llm.eval()


def read_llm_config(folder: Path) -> "PretrainedConfig":
    """The LLM's sizes from the config.json in `folder`. Raises PathError or WeightsError."""
    ensure_torchaudio()
    from transformers import AutoConfig

    require_file(folder / "config.json", "LLM configuration")
    try:
        return AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{folder / 'config.json'} describes no model that can be built: {error}") from error


def _load_hugging_face(path: Path, dtype: torch.dtype) -> "PreTrainedModel":
    from transformers import AutoModelForCausalLM

    return load_pretrained(AutoModelForCausalLM, path, dtype, "causal language model", read_llm_config(path))


def target_logits(
    llm: nn.Module, inputs_embeds: Tensor, wanted: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None = None
) -> Tensor:
    """Logits of the wanted columns only.

    What comes after the last layer's attention, the output layer over a large vocabulary above all, is a good part of the work,
    and most columns are audio and prompt.

    Args:
        inputs_embeds: [B, L, D].
        wanted: [B, L - 1] bool; the last column predicts nothing and is not computed.
        attention_mask: [B, L] bool; None for rows without padding.
        position_ids: [1, L], from 0 anew for each sequence of a packed row: a column sees those of its own sequence only.

    Returns:
        [N, V], the wanted columns of the first row, then of the second, and so on.
    """
    masks = {"attention_mask": attention_mask, "position_ids": position_ids}
    given = {name: tensor[:, :-1] for name, tensor in masks.items() if tensor is not None}
    with computing_only(llm, wanted):
        return llm(inputs_embeds=inputs_embeds[:, :-1], use_cache=False, **given).logits


@contextlib.contextmanager
def computing_only(llm: nn.Module, wanted: Tensor) -> Iterator[None]:
    """Within it the LLM's output layer and last feed-forward part see the wanted columns alone: the logits are [N, V].

    Args:
        wanted: [B, L] bool, of the columns that the LLM is given. For the others the feed-forward part gives zeros, which
            nothing reads.
    """

    def select(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0][wanted],)

    def spread(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        columns = output.new_zeros(*wanted.shape, output.shape[-1])
        columns[wanted] = output
        return columns

    # The hook leaves all that the LLM does to its logits after the output layer (scaling, capping) to the LLM.
    hooks = [llm.get_output_embeddings().register_forward_pre_hook(select)]
    feed_forward = _last_feed_forward(llm)
    if feed_forward is not None:
        hooks += [feed_forward.register_forward_pre_hook(select), feed_forward.register_forward_hook(spread)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _last_feed_forward(llm: nn.Module) -> nn.Module | None:
    """The feed-forward part of the last layer if it is a gated one, as Qwen2 has, which computes each column for itself.

    None also where the layer is computed again in the backward pass, when the hooks are gone.
    """
    layers = getattr(llm.get_decoder(), "layers", None)
    if not isinstance(layers, nn.ModuleList) or forgets_activations(layers[-1]):
        return None
    part = getattr(layers[-1], "mlp", None)
    is_gated = all(hasattr(part, name) for name in ("gate_proj", "up_proj", "down_proj"))
    return part if is_gated else None
