"""The CT-Transformer (Chen et al. 2020): for every word the mark that follows it.

Shapes: B batch, L words, D width.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from mooer.common.errors import ConfigError
from mooer.common.marks import FULL_WIDTH, MARKS, PERIOD
from mooer.models.published_folder import WEIGHTS_FILE, PublishedFolder, open_published_folder
from mooer.models.sanm_encoder import SanmEncoder, SanmEncoderConfig
from mooer.models.weights import State, load_state
from mooer.nn.outline import outline

MODEL, ENCODER = "CTTransformer", "SANMEncoder"


@dataclass(frozen=True, kw_only=True)
class EncoderSection:
    """The section `encoder_conf`. Fields without a description have one value only, or concern training alone."""

    input_size: int
    """Width of a word's embedding."""
    output_size: int
    """Width of every block's output."""
    attention_heads: int
    """Heads of the self-attention; must divide output_size. Not visible in the weights."""
    linear_units: int
    """Hidden width of the feed-forward parts."""
    num_blocks: int
    """Blocks in all."""
    kernel_size: int = 11
    """Words that the memory spans."""
    dropout_rate: float = 0.1
    sanm_shfit: Literal[0] = 0
    """Spelt so in the published files: how far the memory's kernel is off its centre."""
    input_layer: Literal["pe"] = "pe"
    pos_enc_class: Literal["SinusoidalPositionEncoder"] = "SinusoidalPositionEncoder"
    normalize_before: Literal[True] = True
    selfattention_layer_type: Literal["sanm"] = "sanm"
    positional_dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.0
    padding_idx: int = 0

    def sizes(self) -> SanmEncoderConfig:
        """As the encoder of ours has them. Raises ConfigError for impossible ones."""
        return SanmEncoderConfig(
            input_size=self.input_size,
            output_size=self.output_size,
            attention_heads=self.attention_heads,
            linear_units=self.linear_units,
            num_blocks=self.num_blocks,
            kernel_size=self.kernel_size,
            dropout=self.dropout_rate,
        )


@dataclass(frozen=True, kw_only=True)
class PunctuationConfig:
    """The section `model_conf` of a published punctuation model."""

    vocab_size: int | None = None
    """Words known; None for as many as tokens.json has."""
    embed_unit: int = 256
    """Width of a word's embedding, which is the encoder's input_size."""
    att_unit: int = 256
    """Width of the encoder's output."""
    punc_list: tuple[str, ...] = MARKS
    """The marks in the published order; comma and question mark may be of half width."""
    sentence_end_id: int = PERIOD
    """The mark that ends a sentence where none was found."""
    dropout_rate: float = 0.1
    """Dropout rate in training."""
    ignore_id: int = 0
    """Label without a loss in training."""
    punc_weight: tuple[float, ...] | None = None
    """Weight of each mark in the loss; None for equal ones."""

    def __post_init__(self) -> None:
        if tuple(FULL_WIDTH.get(mark, mark) for mark in self.punc_list) != MARKS:
            raise ConfigError(f"punc_list must be {' '.join(MARKS)}, found {' '.join(self.punc_list)}")
        if self.sentence_end_id != PERIOD:
            raise ConfigError(f"sentence_end_id must be {PERIOD}, the full stop, found {self.sentence_end_id}")


class CtTransformer(nn.Module):
    """Embedding, SANM encoder, one linear layer. Parameter names are the published ones: embed, encoder.*, decoder."""

    def __init__(self, vocab_size: int, encoder: SanmEncoder, embedding_size: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, embedding_size)
        self.encoder = encoder
        self.decoder = nn.Linear(encoder.output_size, len(MARKS))

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Logits of the marks [B, L, 6]; what stands in the padding does not matter.

        Args:
            words: [B, L] ids.
            lengths: [B] words of each row.
        """
        hidden, _ = self.encoder(self.embed(words), lengths)
        return self.decoder(hidden)


@dataclass(frozen=True)
class LoadedPunctuation:
    """A punctuation model ready for use."""

    model: CtTransformer
    """In evaluation mode, without gradients."""
    tokens: tuple[str, ...]
    """The place of a word is its id."""
    unknown: str
    """The token that stands for all words that are none."""


@dataclass(frozen=True, kw_only=True)
class TokenizerSection:
    """The section `tokenizer_conf`."""

    unk_symbol: str = "<unk>"
    """The token of unknown words."""
    split_with_space: bool = True
    """Words are what stands between spaces; so it is always."""
    token_list: str | None = None
    """Path at the time of training."""


def load_punctuation(folder: str | Path) -> LoadedPunctuation:
    """Read a published punctuation model: config.yaml, model.pt, tokens.json.

    Raises:
        PathError: a missing file.
        ConfigError: settings that are unknown or impossible, or another kind of model.
        WeightsError: weights that are unsafe, damaged or do not fit.
    """
    opened = open_published_folder(folder, MODEL)
    opened.require("encoder", ENCODER)
    tokens = opened.tokens()
    unknown = opened.section("tokenizer_conf", TokenizerSection).unk_symbol
    if unknown not in tokens:
        raise ConfigError(f"{opened.path}: the token of unknown words, {unknown}, is not in the list of tokens")
    state = opened.weights(WEIGHTS_FILE)
    model = _build_from(opened, len(tokens), state)
    return LoadedPunctuation(model.eval().requires_grad_(False), tokens, unknown)


def _build_from(opened: PublishedFolder, vocab_size: int, state: State) -> CtTransformer:
    config = opened.section("model_conf", PunctuationConfig)
    if config.vocab_size not in (None, vocab_size):
        raise ConfigError(f"{opened.path}: vocab_size is {config.vocab_size}, but there are {vocab_size} tokens")
    with outline():
        model = build_punctuation(config, opened.section("encoder_conf", EncoderSection).sizes(), vocab_size)
    load_state(model, state, str(opened.path / WEIGHTS_FILE), assign=True)
    return model


def build_punctuation(config: PunctuationConfig, encoder: SanmEncoderConfig, vocab_size: int) -> CtTransformer:
    """The untrained model. Raises ConfigError for sizes that contradict each other."""
    if (config.embed_unit, config.att_unit) != (encoder.input_size, encoder.output_size):
        raise ConfigError(
            f"embed_unit {config.embed_unit} and att_unit {config.att_unit} must be the encoder's "
            f"input_size {encoder.input_size} and output_size {encoder.output_size}"
        )
    return CtTransformer(vocab_size, SanmEncoder(**vars(encoder)), config.embed_unit)
