"""From configuration to modules. Configurations end here: the modules themselves get modules and numbers."""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from mooer.common.errors import ConfigError, WeightsError
from mooer.common.lengths import adapter_rates
from mooer.models.adapter import AdapterConfig, LinearAdapter
from mooer.models.conformer_builder import (
    ConformerParts,
    build_encoder_of,
    encoder_without_ctc,
    read_encoder_without_ctc,
)
from mooer.models.ctc_model import CtcModel
from mooer.models.encoder_folder import SIZES_FILE, EncoderSettings, read_published_weights, read_settings
from mooer.models.hubert_encoder import build_hubert
from mooer.models.llm import LlmConfig, build_llm
from mooer.models.lora import LoraConfig, add_lora
from mooer.models.parts import Parts, read_parts
from mooer.models.sanm_encoder import SanmEncoder, SanmEncoderConfig
from mooer.models.speech_llm import SpeechLlm
from mooer.models.w2v_bert_encoder import build_w2v_bert
from mooer.models.weights import State, load_state
from mooer.models.whisper_encoder import build_whisper
from mooer.nn.outline import outline

# Folder of a model directory that holds the settings of an encoder of transformers.
ENCODER_DIR = "encoder"


@dataclass(frozen=True)
class PublishedEncoder:
    """An encoder of transformers."""

    model_type: str
    """What transformers calls it in config.json."""
    frontend: str
    """The kind of front end that it reads."""
    prefixes: tuple[str, ...]
    """What the names of its tensors begin with in published files; the first one that occurs holds."""
    build: Callable[[EncoderSettings], nn.Module]
    """Makes the module."""
    frame_milliseconds: int = 20
    """Time from one frame that it puts out to the next."""


PUBLISHED_ENCODERS = {
    "whisper": PublishedEncoder("whisper", "whisper", ("model.encoder.", "encoder."), build_whisper),
    "w2v_bert": PublishedEncoder("wav2vec2-bert", "seamless", ("wav2vec2_bert.", ""), build_w2v_bert),
    "hubert": PublishedEncoder("hubert", "waveform", ("hubert.", ""), build_hubert),
}
# Time from one frame that an encoder puts out to the next, where adapters must make whole embeddings of them.
FRAME_MILLISECONDS = {"conformer": 40} | {name: encoder.frame_milliseconds for name, encoder in PUBLISHED_ENCODERS.items()}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The section `model` of a configuration file."""

    family: Literal["speech_llm", "ctc"] = "speech_llm"
    """Encoder, adapter and LLM; or an encoder with a CTC layer."""
    encoder_type: Literal["sanm", "conformer", "whisper", "w2v_bert", "hubert"] = "sanm"
    """SANM (60 ms a frame), 3M-ASR's Conformer (40 ms, or as the front end stacks them), or an encoder of transformers (20 ms),
    which needs encoder_path."""
    encoder: SanmEncoderConfig = field(default_factory=SanmEncoderConfig)
    """Sizes of a SANM encoder. With encoder_path only attention_heads and dropout count, the others are read off the file."""
    conformer: ConformerParts | None = None
    """Sizes of a Conformer, the same as where it was trained."""
    encoder_path: str | None = None
    """What the encoder starts from: for sanm a released .pth, for conformer a checkpoint of 3M-ASR, for the others a Hugging
    Face folder (config.json, preprocessor_config.json, model.safetensors), for each a model directory of ours."""
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    """Sizes of the adapter. With adapter_path only downsample_rate counts, and must agree with the file."""
    adapter_path: str | None = None
    """Weights to start the adapter from: a released adapter_project.pt, or a model directory of ours."""
    llm: LlmConfig = field(default_factory=LlmConfig)
    """The LLM (speech_llm only)."""
    lora: LoraConfig | None = None
    """A LoRA to train on a frozen LLM; without it the LLM is trained whole unless frozen."""
    tokenizer_path: str | None = None
    """Folder of the tokenizer; without it the LLM's own folder."""
    freeze: list[Literal["encoder", "adapter", "llm", "lora"]] = field(default_factory=list)
    """Parts that keep their weights in training. An LLM with a LoRA is frozen in any case."""
    blank_id: int = 0
    """The CTC blank's token id (ctc only): the padding token of a tokenizer of ours."""

    def __post_init__(self) -> None:
        if self.family == "ctc" and (self.lora is not None or self.adapter_path is not None):
            raise ConfigError("a model of family ctc has no adapter and no LLM; remove lora and adapter_path")
        if self.blank_id < 0:
            raise ConfigError(f"blank_id must be a token id, found {self.blank_id}")
        if "lora" in self.freeze and self.lora is None:
            raise ConfigError("freeze names lora, but there is no section lora")
        if (self.encoder_type == "conformer") != (self.conformer is not None):
            raise ConfigError("encoder_type conformer and section conformer, its sizes, go together; set both or none")
        if self.encoder_type != "sanm":
            if self.encoder != SanmEncoderConfig():
                raise ConfigError(f"section encoder sizes a SANM encoder; remove it, encoder_type is {self.encoder_type}")
            # Frames that the front end stacks are as long as that is told to make them.
            if self.conformer is None or self.conformer.encoder.input_layer == "conv2d":
                self._check_adapter(FRAME_MILLISECONDS[self.encoder_type])

    def _check_adapter(self, frame_milliseconds: int) -> None:
        rate, allowed = self.adapter.downsample_rate, adapter_rates(frame_milliseconds)
        if self.family == "speech_llm" and rate not in allowed:
            raise ConfigError(
                f"adapter.downsample_rate {rate} joins {rate * frame_milliseconds} ms of encoder {self.encoder_type}; "
                f"allowed: {', '.join(map(str, allowed))} (120, 180 or 240 ms)"
            )

    @property
    def frontend_kind(self) -> str:
        """The kind of front end that the encoder reads."""
        published = PUBLISHED_ENCODERS.get(self.encoder_type)
        return "kaldi_fbank" if published is None else published.frontend


def build_model(
    config: ModelConfig, vocab_size: int, dtype: torch.dtype = torch.float32, outline: bool = False
) -> SpeechLlm | CtcModel:
    """The model that the configuration describes, its weights loaded where paths are given, its trainable flags set.

    Parts without a path get random weights from torch's generator.

    Args:
        vocab_size: tokens of the tokenizer.
        outline: leave the LLM on the meta device, without values.

    Raises:
        PathError, WeightsError: a file is missing, unreadable or does not fit.
        ConfigError: sizes that contradict each other.
    """
    if config.family == "ctc":
        if config.blank_id >= vocab_size:
            raise ConfigError(f"blank_id {config.blank_id} is no token of a vocabulary of {vocab_size}")
        encoder = build_encoder(config)
        model = CtcModel(encoder, nn.Linear(encoder.output_size, vocab_size), config.blank_id)
    else:
        encoder, llm = build_encoder(config), build_llm(config.llm, vocab_size, dtype, outline)
        adapter = build_adapter(config, encoder.output_size, llm.get_input_embeddings().embedding_dim)
        model = SpeechLlm(encoder, adapter, llm if config.lora is None else add_lora(llm, config.lora))
    _freeze(model, config)
    return model.to(dtype).train()


def _freeze(model: nn.Module, config: ModelConfig) -> None:
    for part in config.freeze:
        if part == "lora":
            model.llm.requires_grad_(False)
        elif not hasattr(model, part):
            raise ConfigError(f"freeze names {part}, which a model of family {config.family} does not have")
        elif part != "llm" or config.lora is None:
            getattr(model, part).requires_grad_(False)


def build_encoder(config: ModelConfig) -> nn.Module:
    """The encoder, with the weights and sizes of `config.encoder_path` if that is given."""
    if config.encoder_type == "conformer":
        return _build_conformer(config)
    if config.encoder_path is None:
        if config.encoder_type != "sanm":
            raise ConfigError(f"encoder_type {config.encoder_type} needs encoder_path, the encoder's Hugging Face folder")
        return _encoder_of(config.encoder)
    if config.encoder_type != "sanm":
        folder = Path(config.encoder_path)
        settings_dir = folder / ENCODER_DIR if _is_ours(folder) else folder
        return published_encoder(config.encoder_type, settings_dir, read_encoder_state(config.encoder_type, folder), folder)
    parts = read_parts(config.encoder_path, "encoder weights")
    return encoder_from_state(parts.part("encoder"), config.encoder, parts.source)


def _build_conformer(config: ModelConfig) -> nn.Module:
    if config.encoder_path is None:
        return build_encoder_of(config.conformer, None)
    state = read_encoder_state("conformer", Path(config.encoder_path))
    return encoder_without_ctc(config.conformer, state, f"encoder weights {config.encoder_path}")


def read_encoder_state(encoder_type: str, path: Path) -> State:
    """The tensors of an encoder, from whatever `ModelConfig.encoder_path` may name. Raises PathError or WeightsError."""
    if encoder_type == "conformer":
        return read_encoder_without_ctc(path)
    if encoder_type == "sanm" or _is_ours(path):
        return read_parts(path, "encoder weights").part("encoder")
    return read_published_weights(path, PUBLISHED_ENCODERS[encoder_type].prefixes)


def _is_ours(path: Path) -> bool:
    """Whether it is a model directory of ours with an encoder of transformers, and not a published folder."""
    return (path / ENCODER_DIR / SIZES_FILE).is_file()


def published_encoder(encoder_type: str, settings_dir: Path, state: State, source: str | Path) -> nn.Module:
    """An encoder of transformers with the settings of a folder and the tensors of `state`.

    Raises:
        PathError, WeightsError: files that are missing, of another model, or do not fit each other.
    """
    kind = PUBLISHED_ENCODERS[encoder_type]
    settings = read_settings(settings_dir, kind.model_type)
    from transformers.initialization import no_init_weights

    with no_init_weights():
        encoder = kind.build(settings)
    load_state(encoder, state, f"encoder of {source}")
    return encoder


def check_frontend(encoder: nn.Module, frontend: object) -> None:
    """Refuse a front end (a FrontendConfig) that is not the one which the encoder was made for. Raises ConfigError."""
    if all(getattr(frontend, name) == value for name, value in encoder.frontend.items()):
        return
    found = ", ".join(f"{name}: {getattr(frontend, name)}" for name in encoder.frontend)
    needed = ", ".join(f"{name}: {value}" for name, value in encoder.frontend.items())
    raise ConfigError(
        f"the front end has {found}, but this encoder needs {needed} "
        "(section data.frontend of a training file, frontend.yaml of a model directory)"
    )


def encoder_from_state(state: State, base: SanmEncoderConfig, source: str) -> SanmEncoder:
    """An encoder of the sizes of `state` and with its tensors. Raises WeightsError."""
    sizes = encoder_sizes(state, base, source)
    with outline():
        encoder = _encoder_of(sizes)
    load_state(encoder, state, source, assign=True)
    return encoder


def _encoder_of(config: SanmEncoderConfig) -> SanmEncoder:
    return SanmEncoder(**{name.name: getattr(config, name.name) for name in dataclasses.fields(config)})


def encoder_sizes(state: State, base: SanmEncoderConfig, source: str) -> SanmEncoderConfig:
    """`base` with every size that the shapes of an encoder's tensors tell: all but heads and dropout.

    Raises:
        WeightsError: the tensors are not those of a SANM encoder.
    """
    key = "encoders0.0.{}.weight".format
    names = (key("self_attn.linear_q_k_v"), key("self_attn.fsmn_block"), key("feed_forward.w_1"))
    dimensions = (2, 3, 2)
    if any(name not in state or state[name].dim() != rank for name, rank in zip(names, dimensions, strict=True)):
        found = ", ".join(sorted(state)[:3]) or "nothing"
        raise WeightsError(f"{source} is no SANM encoder: {names[0]} and its like are not there, but {found} ...")
    projection, memory, hidden = (state[name].shape for name in names)
    blocks = {int(match[1]) for match in map(re.compile(r"encoders\.(\d{1,4})\.").match, state) if match}
    try:
        return dataclasses.replace(
            base,
            input_size=projection[1],
            output_size=memory[0],
            linear_units=hidden[0],
            num_blocks=max(blocks, default=-1) + 2,
            kernel_size=memory[2],
        )
    except ConfigError as error:
        raise WeightsError(f"{source} has sizes that no encoder can have: {error}") from error


def build_adapter(config: ModelConfig, encoder_size: int, llm_size: int) -> LinearAdapter:
    """The adapter from encoder to LLM, with the weights and sizes of `config.adapter_path` if that is given."""
    settings = config.adapter
    if config.adapter_path is None:
        return LinearAdapter(encoder_size, llm_size, **dataclasses.asdict(settings))
    parts = read_parts(config.adapter_path, "adapter weights")
    _check_no_lost_encoder(config, parts)
    return adapter_from_state(parts.part("adapter"), encoder_size, llm_size, settings.downsample_rate, parts.source)


def _check_no_lost_encoder(config: ModelConfig, parts: Parts) -> None:
    if parts.encoder and config.encoder_path != config.adapter_path and Path(config.adapter_path).is_file():
        raise ConfigError(f"{parts.source} holds the encoder that it was trained with; set encoder_path to it too")


def adapter_from_state(state: State, encoder_size: int, llm_size: int, downsample_rate: int, source: str) -> LinearAdapter:
    """An adapter with the tensors of `state`.

    Raises:
        WeightsError: it was made for another encoder, another LLM or another downsample rate.
    """
    first = state.get("linear1.weight")
    if first is None or first.dim() != 2:
        raise WeightsError(f"{source} is no adapter: it has no matrix linear1.weight, but {', '.join(sorted(state)[:3])} ...")
    rate, remainder = divmod(first.shape[1], encoder_size)
    if remainder or rate != downsample_rate:
        fits = (
            f"downsample rate {rate}" if rate and not remainder else f"no downsample rate of an encoder of width {encoder_size}"
        )
        raise WeightsError(f"{source} takes {first.shape[1]} inputs, which is {fits}; asked for was {downsample_rate}")
    with outline():
        adapter = LinearAdapter(encoder_size, llm_size, downsample_rate, first.shape[0], "norm.weight" in state)
    load_state(adapter, state, source, assign=True)
    return adapter
