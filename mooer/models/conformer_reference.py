"""The model settings of 3M-ASR: what its YAML files say under nnet_proto, input_dim and model_conf, as our configuration.

What would change the model's output and is not known here is an error.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from mooer.common.config import from_dict
from mooer.common.errors import ConfigError
from mooer.common.files import require_file
from mooer.models.conformer_aed import ConformerAed, ConformerLosses
from mooer.models.conformer_builder import ConformerConfig, conformer_from_state, read_conformer_state
from mooer.models.conformer_encoder import ConformerEncoderConfig
from mooer.models.model_dir import LoadedModel
from mooer.models.moe_conformer_encoder import MoeConfig
from mooer.models.transformer_decoder import TransformerDecoderConfig

POSITIONS = {"rel_pos": "relative", "abs_pos": "absolute", "no_pos": "none"}
# Which prototypes have an attention decoder, and which experts.
WITH_DECODER = ("conformer_aed", "conformer_aed_moe_catEmbed")
WITH_EXPERTS = ("conformer_moe_catEmbed", "conformer_aed_moe_catEmbed")


@dataclass(frozen=True, kw_only=True)
class MoeSection:
    """moe_conf."""

    num_experts: int
    hidden_units: int
    dropout_rate: float = 0.2
    capacity_factor: float = -1.0
    router_regularization: Literal["l1_plus_importance"] = "l1_plus_importance"
    router_with_bias: bool = False
    keep_expert_output: bool = False
    rand_init_router: bool = False


@dataclass(frozen=True, kw_only=True)
class EncoderSection:
    """encoder_conf, or the whole model_conf of a model without decoder."""

    attention_dim: int
    attention_heads: int
    num_blocks: int
    linear_units: int | None = None
    """Of a dense encoder; with experts it is in moe_conf."""
    cnn_module_kernel: int = 15
    cnn_module_norm: Literal["layer_norm", "batch_norm"] = "batch_norm"
    causal: bool = False
    pos_enc_layer_type: Literal["rel_pos", "abs_pos", "no_pos"] = "rel_pos"
    use_dynamic_chunk: bool = False
    use_dynamic_left_chunk: bool = False
    static_chunk_size: int = 0
    dropout_rate: float = 0.1
    positional_dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.0
    blank_idx: Literal[0] = 0
    input_layer: Literal["conv2d"] = "conv2d"
    conv_subsample_in_ch: Literal[1] = 1
    normalize_before: Literal[True] = True
    selfattention_layer_type: Literal["rel_selfattn"] = "rel_selfattn"
    activation_type: Literal["swish"] = "swish"
    use_cnn_module: Literal[True] = True
    embed_conf: "EncoderSection | None" = None
    moe_conf: MoeSection | None = None
    embed_scale: float = 0.01
    aux_scale: list[float] = field(default_factory=lambda: [0.15, 0.15])

    def __post_init__(self) -> None:
        if (self.moe_conf is None) != (self.embed_conf is None):
            raise ConfigError("moe_conf and embed_conf go together, one of them is missing")
        if (self.moe_conf is None) == (self.linear_units is None):
            raise ConfigError("an encoder needs linear_units or, with experts, moe_conf")
        if len(self.aux_scale) != 2:
            raise ConfigError(f"aux_scale must be two numbers, found {self.aux_scale}")


@dataclass(frozen=True, kw_only=True)
class AedSection:
    """model_conf of a model with a decoder."""

    encoder_conf: EncoderSection
    decoder_conf: TransformerDecoderConfig
    decoder_type: Literal["transformer", "bitransformer"] = "transformer"
    reverse_weight: float = 0.0
    ctc_weight: float = 0.3
    lsm_weight: float = 0.1
    length_normalize_loss: bool = False

    def __post_init__(self) -> None:
        if (self.decoder_type == "bitransformer") != (self.decoder_conf.r_num_blocks > 0):
            raise ConfigError(f"r_num_blocks {self.decoder_conf.r_num_blocks} does not fit decoder_type {self.decoder_type}")


@dataclass(frozen=True, kw_only=True)
class ReferencePaths:
    """The files of a model of 3M-ASR."""

    config: Path
    """Its YAML file."""
    checkpoint: Path
    """Weights."""
    dictionary: Path
    """Tokens, `TOKEN ID` a line."""
    cmvn: Path
    """CMVN, JSON or Kaldi's text form."""


def open_reference(paths: ReferencePaths, dtype: torch.dtype = torch.float32) -> LoadedModel:
    """A model of 3M-ASR ready to decode. Raises as `load_reference` does."""
    config, model = load_reference(paths.config, paths.checkpoint)
    return LoadedModel(
        model=model.to(dtype),
        config=config,
        tokenizer_dir=require_file(paths.dictionary, "dictionary"),
        cmvn_path=require_file(paths.cmvn, "CMVN file"),
        frontend_path=None,
        weight_files=(paths.checkpoint,),
    )


def load_reference(config_path: str | Path, checkpoint_path: str | Path) -> tuple[ConformerConfig, ConformerAed]:
    """A model of 3M-ASR from its two files, in eval mode and without gradients, and its configuration.

    The vocabulary is as large as the checkpoint says; <blank> is its first token, <sos/eos> its last.

    Raises:
        PathError, WeightsError: a file is missing, unreadable or does not fit the settings.
        ConfigError: settings that are not known.
    """
    config = reference_config(_read_settings(config_path), str(config_path))
    state = read_conformer_state(checkpoint_path, "checkpoint")
    model = conformer_from_state(config, state, f"checkpoint {checkpoint_path}")
    return config, model.eval().requires_grad_(False)


def _read_settings(path: str | Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(require_file(path, "config").read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path} must hold a mapping of settings, found {type(settings).__name__}")
    return settings


def reference_config(settings: dict[str, Any], source: str, reference_padding: bool = False) -> ConformerConfig:
    """Our configuration of the model that 3M-ASR's settings describe. What concerns training alone is not read.

    Args:
        settings: nnet_proto, input_dim (80 if it is missing) and model_conf.
        source: how messages call the file.
        reference_padding: as in ConformerEncoderConfig.

    Raises:
        ConfigError: an unknown prototype, an unknown or unsupported setting.
    """
    allowed = ("conformer", *WITH_DECODER, WITH_EXPERTS[0])
    proto, model_conf = settings.get("nnet_proto"), settings.get("model_conf")
    if proto not in allowed or not isinstance(model_conf, dict):
        raise ConfigError(f"{source} must have nnet_proto ({' or '.join(allowed)}) and model_conf, found {proto!r}")
    if proto in WITH_DECODER:
        section = from_dict(AedSection, model_conf, f"{source}: model_conf")
    else:
        section = from_dict(EncoderSection, model_conf, f"{source}: model_conf")
    encoder = section.encoder_conf if proto in WITH_DECODER else section
    if (proto in WITH_EXPERTS) != (encoder.moe_conf is not None):
        raise ConfigError(f"{source}: nnet_proto {proto} {'needs' if proto in WITH_EXPERTS else 'has no'} moe_conf")
    input_size = settings.get("input_dim", 80)
    return ConformerConfig(
        encoder=_encoder(encoder, input_size, reference_padding),
        decoder=section.decoder_conf if proto in WITH_DECODER else None,
        moe=None if encoder.moe_conf is None else _moe(encoder.moe_conf),
        embedding=None if encoder.embed_conf is None else _encoder(encoder.embed_conf, input_size, reference_padding),
        losses=_losses(encoder, section if proto in WITH_DECODER else None),
    )


def _encoder(section: EncoderSection, input_size: int, reference_padding: bool) -> ConformerEncoderConfig:
    return ConformerEncoderConfig(
        input_size=input_size,
        output_size=section.attention_dim,
        attention_heads=section.attention_heads,
        linear_units=section.linear_units or section.moe_conf.hidden_units,
        num_blocks=section.num_blocks,
        kernel_size=section.cnn_module_kernel,
        positions=POSITIONS[section.pos_enc_layer_type],
        convolution_norm=section.cnn_module_norm,
        causal=section.causal,
        random_chunks=section.use_dynamic_chunk,
        random_left_chunks=section.use_dynamic_left_chunk,
        chunk_size=section.static_chunk_size,
        dropout=section.dropout_rate,
        positional_dropout=section.positional_dropout_rate,
        attention_dropout=section.attention_dropout_rate,
        reference_padding=reference_padding,
    )


def _moe(section: MoeSection) -> MoeConfig:
    return MoeConfig(
        num_experts=section.num_experts,
        dropout=section.dropout_rate,
        capacity_factor=section.capacity_factor,
        keep_expert_output=section.keep_expert_output,
        router_bias=section.router_with_bias,
        random_router=section.rand_init_router,
    )


def _losses(encoder: EncoderSection, aed: AedSection | None) -> ConformerLosses:
    sparsity, importance = encoder.aux_scale
    routers = {
        "embedding_ctc_weight": encoder.embed_scale,
        "sparsity_weight": sparsity,
        "importance_weight": importance,
    }
    if aed is None:
        return ConformerLosses(**routers)
    return ConformerLosses(
        ctc_weight=aed.ctc_weight,
        label_smoothing=aed.lsm_weight,
        reverse_weight=aed.reverse_weight,
        normalize_by_length=aed.length_normalize_loss,
        **routers,
    )
