"""From a training file to a Paraformer with its losses, and from that to what a published directory says of it."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from mooer.common.config import from_dict
from mooer.common.errors import ConfigError
from mooer.models.builders import encoder_sizes
from mooer.models.cif import TAIL
from mooer.models.paraformer_dir import ParaformerConfig, build_paraformer, load_paraformer
from mooer.models.paraformer_training import ParaformerLosses, ParaformerTraining
from mooer.models.parts import read_parts
from mooer.models.published_folder import CONFIG_FILE
from mooer.models.sanm_encoder import SanmEncoderConfig
from mooer.models.weights import load_state


@dataclass(frozen=True, kw_only=True)
class ParaformerDecoderConfig:
    """Sizes of the decoder; its width is the encoder's. The defaults are those of Paraformer-large."""

    attention_heads: int = 4
    """Heads of the cross-attention; must divide the width."""
    linear_units: int = 2048
    """Hidden width of the feed-forward parts."""
    num_blocks: int = 16
    """Blocks with memory and cross-attention; one without follows."""
    kernel_size: int = 11
    """Tokens that the memory spans; odd."""
    dropout: float = 0.1
    """Dropout rate in training."""


@dataclass(frozen=True, kw_only=True)
class ParaformerModelConfig:
    """The section `model` of a file that trains a Paraformer."""

    family: Literal["paraformer"] = "paraformer"
    """Encoder, predictor and decoder; all tokens at once."""
    token_dir: str | None = None
    """Folder with tokens.json and seg_dict, as mooer-build-tokenizer --layout paraformer writes it; None: that of init_dir."""
    init_dir: str | None = None
    """A published Paraformer directory, or one of ours, to start from: its sizes, weights and tokens. The sections encoder,
    decoder, predictor and token_times then stay as they are by default."""
    encoder: SanmEncoderConfig = field(default_factory=SanmEncoderConfig)
    """Sizes of the encoder. With encoder_path only attention_heads and dropout count."""
    encoder_path: str | None = None
    """Weights to start the encoder from: a released .pth, or a model directory of ours, such as that of an encoder with CTC."""
    decoder: ParaformerDecoderConfig = field(default_factory=ParaformerDecoderConfig)
    """Sizes of the decoder."""
    token_times: bool = True
    """Whether there is a second predictor, which tells when tokens are said."""
    losses: ParaformerLosses = field(default_factory=ParaformerLosses)
    """What is added up."""
    freeze: list[Literal["encoder"]] = field(default_factory=list)
    """Parts that keep their weights."""

    def __post_init__(self) -> None:
        if self.token_dir is None and self.init_dir is None:
            raise ConfigError("a paraformer needs token_dir, the folder with its tokens.json, or init_dir")
        sizes = (SanmEncoderConfig(), ParaformerDecoderConfig(), None, True)
        if self.init_dir is not None and (self.encoder, self.decoder, self.encoder_path, self.token_times) != sizes:
            raise ConfigError(
                "init_dir brings all parts with their sizes; remove encoder, encoder_path, decoder and token_times"
            )
        if not 0.0 <= self.decoder.dropout < 1.0:
            raise ConfigError(f"decoder.dropout must be in [0, 1), found {self.decoder.dropout}")

    @property
    def token_folder(self) -> Path:
        """Where tokens.json lies."""
        return Path(self.token_dir or self.init_dir)


def build_paraformer_training(config: ParaformerModelConfig, vocab_size: int) -> ParaformerTraining:
    """The model that a training file describes, with its losses; parts without a path get random weights.

    Raises:
        PathError, WeightsError: a file is missing, unreadable or does not fit.
        ConfigError: sizes that contradict each other, or another number of tokens.
    """
    if config.init_dir is not None:
        model, _ = load_paraformer(Path(config.init_dir))
        found = model.decoder.output_layer.out_features
        if found != vocab_size:
            raise ConfigError(f"{config.init_dir} has {found} tokens, {config.token_folder} {vocab_size}")
        model.requires_grad_(True)
    else:
        parts = None if config.encoder_path is None else read_parts(config.encoder_path, "encoder weights")
        model = build_paraformer(from_dict(ParaformerConfig, published_settings(config), "model"), vocab_size)
        if parts is not None:
            load_state(model.encoder, parts.part("encoder"), parts.source)
    training = ParaformerTraining(model, config.losses)
    for part in config.freeze:
        getattr(training, part).requires_grad_(False)
    return training.train()


def published_settings(config: ParaformerModelConfig) -> dict[str, Any]:
    """config.yaml of the published directory that the trained model is written to."""
    if config.init_dir is not None:
        settings = yaml.safe_load((Path(config.init_dir) / CONFIG_FILE).read_text(encoding="utf-8"))
        return settings | {"model_conf": _model_conf(config.losses)}
    encoder = config.encoder
    if config.encoder_path is not None:
        parts = read_parts(config.encoder_path, "encoder weights")
        encoder = encoder_sizes(parts.part("encoder"), encoder, parts.source)
    times = {"smooth_factor2": 0.25, "noise_threshold2": 0.01, "upsample_times": 3, "upsample_type": "cnn_blstm"}
    predictor = {"idim": encoder.output_size, "threshold": 1.0, "l_order": 1, "r_order": 1, "tail_threshold": TAIL}
    return {
        "model": "BiCifParaformer" if config.token_times else "Paraformer",
        "model_conf": _model_conf(config.losses),
        "encoder": "SANMEncoder",
        "encoder_conf": _encoder_conf(encoder),
        "decoder": "ParaformerSANMDecoder",
        "decoder_conf": _decoder_conf(config.decoder),
        "predictor": "CifPredictorV3" if config.token_times else "CifPredictorV2",
        "predictor_conf": predictor | ({**times, "use_cif1_cnn": False} if config.token_times else {}),
        "frontend": "WavFrontend",
        "frontend_conf": {"fs": 16000, "window": "hamming", "n_mels": 80, "frame_length": 25, "frame_shift": 10}
        | {"lfr_m": 7, "lfr_n": 6, "dither": 0.0},
        "tokenizer": "CharTokenizer",
        "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
    }


def _model_conf(losses: ParaformerLosses) -> dict[str, Any]:
    """The losses under their published names."""
    return {
        "ctc_weight": losses.ctc_weight,
        "lsm_weight": losses.label_smoothing,
        "length_normalized_loss": True,
        "predictor_weight": losses.count_weight,
        "predictor_bias": 1,
        "sampling_ratio": losses.sampling_ratio,
    }


def _encoder_conf(sizes: SanmEncoderConfig) -> dict[str, Any]:
    kept = {name: value for name, value in dataclasses.asdict(sizes).items() if name not in ("input_size", "dropout")}
    rates = {"dropout_rate": sizes.dropout, "positional_dropout_rate": sizes.dropout, "attention_dropout_rate": sizes.dropout}
    fixed = {"input_layer": "pe", "pos_enc_class": "SinusoidalPositionEncoder", "normalize_before": True, "sanm_shfit": 0}
    return kept | rates | fixed | {"selfattention_layer_type": "sanm"}


def _decoder_conf(sizes: ParaformerDecoderConfig) -> dict[str, Any]:
    kept = {name: value for name, value in dataclasses.asdict(sizes).items() if name != "dropout"}
    names = ("dropout_rate", "positional_dropout_rate", "self_attention_dropout_rate", "src_attention_dropout_rate")
    return kept | dict.fromkeys(names, sizes.dropout) | {"att_layer_num": sizes.num_blocks, "sanm_shfit": 0}
