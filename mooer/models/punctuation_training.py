"""Training of the CT-Transformer for punctuation: what it is told, the loss, and the published form of the result.

Shapes: B batch, L words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mooer.common.errors import ConfigError
from mooer.common.marks import MARKS, UNKNOWN
from mooer.models.losses import LossOutput
from mooer.models.published_folder import WEIGHTS_FILE, PublishedFolder, open_published_folder
from mooer.models.punctuation import (
    ENCODER,
    MODEL,
    CtTransformer,
    EncoderSection,
    PunctuationConfig,
    TokenizerSection,
    build_punctuation,
)
from mooer.models.sanm_encoder import SanmEncoderConfig
from mooer.models.weights import State, load_state, own_tensors

UNKNOWN_WORD = "<unk>"
_PUBLISHED_SIZES = SanmEncoderConfig(input_size=256, output_size=256, attention_heads=8, linear_units=1024, num_blocks=4)


@dataclass(frozen=True, kw_only=True)
class PunctuationModelConfig:
    """The section `model` of a file that trains a punctuation model."""

    family: Literal["punctuation"] = "punctuation"
    """A CT-Transformer."""
    encoder: SanmEncoderConfig | None = None
    """Sizes; `input_size` is the width of a word's embedding. None for those of `path`, or else the smaller published ones
    (256 wide, 8 heads, 1024 linear units, 4 blocks)."""
    path: str | None = None
    """Published directory (config.yaml, model.pt, tokens.json) whose weights, words and sizes training goes on from;
    data.tokenizer_path must be the same."""
    mark_weights: tuple[float, ...] | None = None
    """Weight of each mark in the loss, in the order of `mooer.common.marks.MARKS`; None for equal ones."""
    lower_case: bool = True
    """Whether words are learnt in lower case, as recognisers write them."""

    def __post_init__(self) -> None:
        if self.path is not None and self.encoder is not None:
            raise ConfigError("the sizes are those of the directory that path names; remove encoder")
        weights = self.mark_weights
        if weights is not None and (len(weights) != len(MARKS) or min(weights) < 0 or max(weights) == 0):
            raise ConfigError(
                f"mark_weights needs {len(MARKS)} values that are not negative, for {' '.join(MARKS)}; found {weights}"
            )


class PunctuationTraining(nn.Module):
    """The parts of a CT-Transformer with the loss that it is trained by. Parameter names are the published ones.

    Args:
        mark_weights: of each mark in the loss.
    """

    def __init__(self, model: CtTransformer, mark_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.embed, self.encoder, self.decoder = model.embed, model.encoder, model.decoder
        weights = torch.ones(len(MARKS)) if mark_weights is None else torch.tensor(mark_weights)
        self.register_buffer("mark_weights", weights, persistent=False)

    def forward(self, words: Tensor, lengths: Tensor, marks: Tensor) -> LossOutput:
        """Cross entropy of the marks, each with its weight; places with the mark UNKNOWN do not count.

        Args:
            words: [B, L] ids.
            lengths: [B].
            marks: [B, L], UNKNOWN after each row's length.
        """
        hidden, _ = self.encoder(self.embed(words), lengths)
        logits = self.decoder(hidden).float()
        loss = F.cross_entropy(logits.transpose(1, 2), marks, self.mark_weights, ignore_index=UNKNOWN, reduction="sum")
        is_known = marks != UNKNOWN
        logits = logits.detach().index_fill(2, torch.tensor([UNKNOWN], device=logits.device), float("-inf"))
        is_right = (logits.argmax(dim=-1) == marks) & is_known
        return LossOutput(loss, is_known.sum(), is_right.sum(), torch.zeros_like(is_right.sum()))


def build_punctuation_training(config: PunctuationModelConfig, num_words: int) -> PunctuationTraining:
    """The model to train, in training mode.

    Args:
        num_words: entries of the list of words.

    Raises:
        PathError, ConfigError, WeightsError: `path` is no published directory, or has another number of words.
    """
    if config.path is None:
        sizes = config.encoder or _PUBLISHED_SIZES
        own = PunctuationConfig(embed_unit=sizes.input_size, att_unit=sizes.output_size)
        return PunctuationTraining(build_punctuation(own, sizes, num_words), config.mark_weights).train()
    opened = _open(config.path)
    sizes = opened.section("encoder_conf", EncoderSection).sizes()
    model = build_punctuation(opened.section("model_conf", PunctuationConfig), sizes, num_words)
    load_state(model, opened.weights(WEIGHTS_FILE), str(opened.path / WEIGHTS_FILE))
    return PunctuationTraining(model, config.mark_weights).train()


def unknown_word(config: PunctuationModelConfig) -> str:
    """The entry of the list of words that stands for all that are not in it. Raises PathError or ConfigError."""
    if config.path is None:
        return UNKNOWN_WORD
    return _open(config.path).section("tokenizer_conf", TokenizerSection).unk_symbol


def published_punctuation(
    model: PunctuationTraining, config: PunctuationModelConfig, num_words: int
) -> tuple[dict[str, Any], State]:
    """The config.yaml and the weights of the trained model, as a published directory has them.

    Raises:
        PathError, ConfigError: `config.path` is no published directory any more.
    """
    if config.path is not None:
        return _open(config.path).settings, own_tensors(model)
    sizes = config.encoder or _PUBLISHED_SIZES
    settings = {
        "model": MODEL,
        "model_conf": {
            "vocab_size": num_words,
            "embed_unit": sizes.input_size,
            "att_unit": sizes.output_size,
            "punc_list": list(MARKS),
        },
        "encoder": ENCODER,
        "encoder_conf": {
            "input_size": sizes.input_size,
            "output_size": sizes.output_size,
            "attention_heads": sizes.attention_heads,
            "linear_units": sizes.linear_units,
            "num_blocks": sizes.num_blocks,
            "kernel_size": sizes.kernel_size,
            "dropout_rate": sizes.dropout,
            "input_layer": "pe",
            "pos_enc_class": "SinusoidalPositionEncoder",
            "normalize_before": True,
            "sanm_shfit": 0,
            "selfattention_layer_type": "sanm",
        },
        "tokenizer": "CharTokenizer",
        "tokenizer_conf": {"unk_symbol": UNKNOWN_WORD},
    }
    return settings, own_tensors(model)


def _open(path: str) -> PublishedFolder:
    opened = open_published_folder(path, MODEL)
    opened.require("encoder", ENCODER)
    return opened
