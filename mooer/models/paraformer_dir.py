"""Published Paraformer directories: config.yaml, model.pt, tokens.json, am.mvn.

config.yaml gives the sizes, and the checkpoint must agree with it to the last tensor. What concerns training alone is not
read; whatever would change the model's output and is not known here is an error.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from mooer.common.config import load_yaml
from mooer.common.errors import ConfigError, WeightsError
from mooer.common.files import require_file
from mooer.models.cif import CifPredictor, TokenTimes
from mooer.models.paraformer import CtcLayer, Paraformer, ParaformerDecoder
from mooer.models.published_folder import CMVN_FILE, CONFIG_FILE, TOKENS_FILE, WEIGHTS_FILE, read_published_weights
from mooer.models.sanm_encoder import SanmEncoder, SanmEncoderConfig
from mooer.models.weights import State, load_state
from mooer.nn.outline import outline

# The second predictor's tensors stand among the first one's there, and in a module of their own here.
_TIME_PARTS = ("upsample_cnn.", "blstm.", "cif_output2.")
_VOCABULARY = "decoder.output_layer.weight"
_CTC_LAYER = "ctc.ctc_lo.weight"


@dataclass(frozen=True, kw_only=True)
class EncoderSection:
    """encoder_conf: sizes of the SANM encoder."""

    output_size: int
    attention_heads: int
    linear_units: int
    num_blocks: int
    kernel_size: int = 11
    sanm_shfit: Literal[0] = 0
    """Spelt so in the published files: how far the memory's kernel is off its centre."""
    input_layer: Literal["pe"] = "pe"
    pos_enc_class: Literal["SinusoidalPositionEncoder"] = "SinusoidalPositionEncoder"
    normalize_before: Literal[True] = True
    selfattention_layer_type: Literal["sanm"] = "sanm"
    dropout_rate: float = 0.1
    positional_dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.0


@dataclass(frozen=True, kw_only=True)
class DecoderSection:
    """decoder_conf: sizes of the decoder."""

    attention_heads: int
    linear_units: int
    num_blocks: int
    att_layer_num: int
    """Blocks with cross-attention: all of them."""
    kernel_size: int = 11
    sanm_shfit: Literal[0] = 0
    dropout_rate: float = 0.1
    positional_dropout_rate: float = 0.1
    self_attention_dropout_rate: float = 0.0
    src_attention_dropout_rate: float = 0.0

    def __post_init__(self) -> None:
        for name in ("attention_heads", "linear_units", "num_blocks", "kernel_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.kernel_size % 2 == 0:
            raise ConfigError(f"kernel_size must be odd, found {self.kernel_size}")
        if self.att_layer_num != self.num_blocks:
            raise ConfigError(f"att_layer_num {self.att_layer_num} must be num_blocks, which is {self.num_blocks}")


@dataclass(frozen=True, kw_only=True)
class PredictorSection:
    """predictor_conf: the CIF predictor, and the second one of the model with timestamps (upsample_times and on)."""

    idim: int
    threshold: float = 1.0
    l_order: int = 1
    r_order: int = 1
    tail_threshold: float = 0.45
    smooth_factor: float = 1.0
    noise_threshold: float = 0.0
    smooth_factor2: float | None = None
    noise_threshold2: float | None = None
    upsample_times: int | None = None
    use_cif1_cnn: Literal[False] = False
    upsample_type: Literal["cnn_blstm"] | None = None

    def __post_init__(self) -> None:
        if self.threshold != 1.0:
            raise ConfigError(f"threshold must be 1.0, found {self.threshold}")
        for name in ("l_order", "r_order"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, found {getattr(self, name)}")
        if not 0.0 <= self.tail_threshold < 1.0:
            raise ConfigError(f"tail_threshold must be in [0, 1), found {self.tail_threshold}")
        if self.upsample_times is not None and self.upsample_times < 1:
            raise ConfigError(f"upsample_times must be at least 1, found {self.upsample_times}")


@dataclass(frozen=True, kw_only=True)
class FrontendSection:
    """frontend_conf: all but the dither must be what mooer's front end computes."""

    fs: Literal[16000] = 16000
    window: Literal["hamming"] = "hamming"
    n_mels: Literal[80] = 80
    frame_length: Literal[25] = 25
    frame_shift: Literal[10] = 10
    lfr_m: Literal[7] = 7
    lfr_n: Literal[6] = 6
    dither: float = 0.0
    """Noise that the reference adds in training; none is added here."""
    cmvn_file: str | None = None
    """Where it lay on the machine of those who trained it; am.mvn is read."""

    @property
    def input_size(self) -> int:
        """Width of a low-frame-rate frame."""
        return self.n_mels * self.lfr_m


@dataclass(frozen=True, kw_only=True)
class ParaformerConfig:
    """config.yaml of a published directory. Fields without a description concern training alone."""

    model: Literal["Paraformer", "BiCifParaformer"]
    """BiCifParaformer has timestamps."""
    encoder: Literal["SANMEncoder"]
    encoder_conf: EncoderSection
    decoder: Literal["ParaformerSANMDecoder"]
    decoder_conf: DecoderSection
    predictor: Literal["CifPredictorV2", "CifPredictorV3"]
    """V3 goes with BiCifParaformer."""
    predictor_conf: PredictorSection
    frontend: Literal["WavFrontend"]
    frontend_conf: FrontendSection
    tokenizer: Literal["CharTokenizer"] = "CharTokenizer"
    tokenizer_conf: Any = None
    model_conf: Any = None
    specaug: Any = None
    specaug_conf: Any = None
    ctc_conf: Any = None
    normalize: None = None
    train_conf: Any = None
    optim: Any = None
    optim_conf: Any = None
    scheduler: Any = None
    scheduler_conf: Any = None
    dataset: Any = None
    dataset_conf: Any = None

    def __post_init__(self) -> None:
        wanted = "CifPredictorV3" if self.has_times else "CifPredictorV2"
        if self.predictor != wanted:
            raise ConfigError(f"model {self.model} has predictor {wanted}, found {self.predictor}")
        second = ("upsample_times", "upsample_type", "smooth_factor2", "noise_threshold2")
        wrong = [name for name in second if (getattr(self.predictor_conf, name) is not None) != self.has_times]
        if wrong:
            found = "needs" if self.has_times else "has no second predictor; remove"
            raise ConfigError(f"predictor_conf of model {self.model} {found} {', '.join(wrong)}")
        if self.predictor_conf.idim != self.encoder_conf.output_size:
            sizes = f"idim {self.predictor_conf.idim}, the encoder's output_size {self.encoder_conf.output_size}"
            raise ConfigError(f"predictor and encoder must have one width, found {sizes}")
        if self.encoder_conf.output_size % self.decoder_conf.attention_heads:
            raise ConfigError(
                f"decoder_conf.attention_heads {self.decoder_conf.attention_heads} must divide "
                f"the width {self.encoder_conf.output_size}"
            )
        self.encoder_sizes()

    @property
    def family(self) -> str:
        """What messages and records call the kind of model."""
        return "paraformer"

    @property
    def has_times(self) -> bool:
        """Whether the model has a predictor for timestamps."""
        return self.model == "BiCifParaformer"

    def encoder_sizes(self) -> SanmEncoderConfig:
        """The encoder's sizes. Raises ConfigError if no encoder can have them."""
        section = self.encoder_conf
        return SanmEncoderConfig(
            input_size=self.frontend_conf.input_size,
            output_size=section.output_size,
            attention_heads=section.attention_heads,
            linear_units=section.linear_units,
            num_blocks=section.num_blocks,
            kernel_size=section.kernel_size,
            dropout=section.dropout_rate,
        )


def is_paraformer_dir(folder: Path) -> bool:
    """Whether the folder has the form of a published Paraformer directory."""
    return (folder / CONFIG_FILE).is_file() and (folder / WEIGHTS_FILE).is_file()


def load_paraformer(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[Paraformer, ParaformerConfig]:
    """The model of a published directory in eval mode, without gradients, and its configuration.

    Raises:
        PathError, ConfigError, WeightsError: a file is missing, says what is not known here, or does not fit the others.
    """
    try:
        config = load_yaml(folder / CONFIG_FILE, ParaformerConfig)
    except ConfigError as error:
        raise ConfigError(f"{folder} is no Paraformer directory of a kind known here: {error}") from error
    for name in (TOKENS_FILE, CMVN_FILE):
        require_file(folder / name, "Paraformer's file")
    path = folder / WEIGHTS_FILE
    state = module_names(read_published_weights(path))
    if _VOCABULARY not in state or state[_VOCABULARY].dim() != 2:
        raise WeightsError(f"{path} is no Paraformer: it has no matrix {_VOCABULARY}, but {', '.join(sorted(state)[:3])} ...")
    with outline():
        model = build_paraformer(config, state[_VOCABULARY].shape[0], has_ctc=_CTC_LAYER in state)
    load_state(model, state, f"{path} (sizes by its {CONFIG_FILE})", assign=True)
    return model.to(dtype).eval().requires_grad_(False), config


def build_paraformer(config: ParaformerConfig, vocab_size: int, has_ctc: bool = False) -> Paraformer:
    """The model of a configuration, with random weights; with a CTC layer if `has_ctc`."""
    width, predictor, decoder = config.encoder_conf.output_size, config.predictor_conf, config.decoder_conf
    times = None
    if config.has_times:
        times = TokenTimes(width, predictor.upsample_times, predictor.smooth_factor2, predictor.noise_threshold2)
    return Paraformer(
        SanmEncoder(**vars(config.encoder_sizes())),
        CifPredictor(
            width,
            predictor.l_order,
            predictor.r_order,
            predictor.tail_threshold,
            predictor.smooth_factor,
            predictor.noise_threshold,
        ),
        ParaformerDecoder(
            vocab_size,
            width,
            decoder.attention_heads,
            decoder.linear_units,
            decoder.num_blocks,
            decoder.kernel_size,
            decoder.dropout_rate,
        ),
        times,
        CtcLayer(width, vocab_size) if has_ctc else None,
    )


def module_names(state: State) -> State:
    """The tensors of a published checkpoint under the names that they have in `Paraformer`."""
    return {_module_name(name): tensor for name, tensor in state.items()}


def published_names(state: State) -> State:
    """The tensors of a `Paraformer` under the names that a published checkpoint has for them."""
    times = "token_times."
    return {
        f"predictor.{name.removeprefix(times)}" if name.startswith(times) else name: tensor for name, tensor in state.items()
    }


def _module_name(name: str) -> str:
    inner = name.removeprefix("predictor.")
    return f"token_times.{inner}" if inner != name and inner.startswith(_TIME_PARTS) else name
