"""From configuration to a Conformer with its losses; and how a model with experts starts from dense ones."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import nn

from mooer.common.errors import ConfigError, WeightsError
from mooer.models.conformer_aed import ConformerAed, ConformerLosses
from mooer.models.conformer_encoder import ConformerEncoder, ConformerEncoderConfig, build_conformer_encoder
from mooer.models.moe_conformer_encoder import MoeConfig, build_moe_encoder
from mooer.models.parts import MODEL_FILE
from mooer.models.transformer_decoder import UNUSED_PART, TransformerDecoderConfig, build_decoder
from mooer.models.weights import State, load_state, own_tensors, read_state
from mooer.nn.outline import outline

ENCODER = "encoder."
EMBEDDING = "encoder.embed."
CTC_WEIGHT = "encoder.out_linear.weight"
_CTC_LAYER = "out_linear."
_EXPERTS, _ROUTERS = ".experts.", (".router_weights", ".router_bias")


@dataclass(frozen=True, kw_only=True)
class ConformerParts:
    """An encoder alone, for a model that is no Conformer otherwise."""

    encoder: ConformerEncoderConfig = field(default_factory=ConformerEncoderConfig)
    """Sizes of the encoder."""
    moe: MoeConfig | None = None
    """Experts; without, the encoder is dense."""
    embedding: ConformerEncoderConfig | None = None
    """Sizes of the network whose output the routers read; with moe only. It sees as far as the encoder."""

    def __post_init__(self) -> None:
        if (self.moe is None) != (self.embedding is None):
            raise ConfigError("moe and embedding go together: routers read the embedding; set both or none")
        if self.embedding is not None and self.embedding.reference_padding != self.encoder.reference_padding:
            raise ConfigError("reference_padding must be the same in encoder and embedding")
        for name in ("input_size", "input_layer"):
            wanted = getattr(self.encoder, name)
            if self.embedding is not None and getattr(self.embedding, name) != wanted:
                raise ConfigError(f"encoder and embedding read the same frames: {name} must be {wanted} in both")


@dataclass(frozen=True, kw_only=True)
class ConformerConfig:
    """The section `model` of a file that trains a Conformer."""

    family: Literal["conformer"] = "conformer"
    """A Conformer with CTC, and with an attention decoder unless there is no section decoder."""
    tokenizer_path: str | None = None
    """Folder with lang_char.txt, tokens.json or the files of a Hugging Face tokenizer, to train with."""
    blank_id: int = 0
    """The token that stands for nothing in CTC. In training this and the next are the tokenizer's."""
    boundary_id: int | None = None
    """The token that stands before a sentence and ends it; None for the last one."""
    encoder: ConformerEncoderConfig = field(default_factory=ConformerEncoderConfig)
    """Sizes of the encoder."""
    decoder: TransformerDecoderConfig | None = None
    """Sizes of the decoder; without, the model has CTC alone."""
    moe: MoeConfig | None = None
    """Experts; without, the encoder is dense."""
    embedding: ConformerEncoderConfig | None = None
    """Sizes of the network whose output the routers read; with moe only. It sees as far as the encoder."""
    losses: ConformerLosses = field(default_factory=ConformerLosses)
    """What is added up."""
    base_path: str | None = None
    """Weights to start from: a model of the same sizes, a checkpoint of 3M-ASR or a model directory of ours. With moe it may
    be a dense one: its second feed-forward part becomes each of the experts."""
    embedding_path: str | None = None
    """A dense model of the sizes of `embedding`, whose encoder the embedding network starts from."""
    freeze: list[Literal["encoder", "decoder", "embedding"]] = field(default_factory=list)
    """Parts that keep their weights; embedding is a part of the encoder."""

    def __post_init__(self) -> None:
        _ = self.encoder_parts  # which checks that they fit
        if self.embedding_path is not None and self.moe is None:
            raise ConfigError("embedding_path is set, but there are no experts: add moe and embedding, or remove it")
        missing = [part for part in self.freeze if part != "encoder" and getattr(self, part) is None]
        if missing:
            raise ConfigError(f"freeze names {missing[0]}, which the model does not have")
        if self.losses.reverse_weight and not (self.decoder and self.decoder.r_num_blocks):
            raise ConfigError("losses.reverse_weight needs a decoder that reads from right to left: decoder.r_num_blocks")

    @property
    def encoder_parts(self) -> ConformerParts:
        """The encoder alone."""
        return ConformerParts(encoder=self.encoder, moe=self.moe, embedding=self.embedding)


def build_conformer(config: ConformerConfig, vocab_size: int) -> ConformerAed:
    """The model that the configuration describes, its weights loaded where paths are given; the rest are random.

    Raises:
        PathError, WeightsError: a file is missing, unreadable or does not fit.
        ConfigError: sizes that contradict each other.
    """
    model = outline_conformer(config, vocab_size)
    embedding = None if config.embedding_path is None else read_conformer_state(config.embedding_path, "embedding network")
    if config.base_path is not None:
        base = read_conformer_state(config.base_path, "base model")
        load_state(model, start_from(own_tensors(model), base, embedding, config.base_path), config.base_path)
    elif embedding is not None:
        load_state(model.encoder.embed, encoder_part(embedding), config.embedding_path)
    return model.train()


def outline_conformer(config: ConformerConfig, vocab_size: int) -> ConformerAed:
    """The model with random weights, or without any on the meta device; no path is read."""
    encoder = build_encoder_of(config.encoder_parts, vocab_size)
    decoder = None if config.decoder is None else build_decoder(config.decoder, vocab_size, config.encoder.output_size)
    model = ConformerAed(encoder, decoder, config.losses, config.blank_id, config.boundary_id)
    for part in config.freeze:
        (model.encoder.embed if part == "embedding" else getattr(model, part)).requires_grad_(False)
    return model


def conformer_from_state(config: ConformerConfig, state: State, source: str) -> ConformerAed:
    """The model of the configuration with these tensors, on the CPU; its paths are not read.

    Raises:
        WeightsError: the tensors do not fit.
    """
    head = state.get(CTC_WEIGHT)
    if head is None or head.dim() != 2:
        raise WeightsError(f"{source} holds no Conformer: it has no matrix {CTC_WEIGHT}")
    with outline():
        model = outline_conformer(config, len(head))
    load_state(model, state, source, assign=True)
    return model


def build_encoder_of(parts: ConformerParts, vocab_size: int | None) -> ConformerEncoder:
    """The encoder with random weights; without CTC layers if `vocab_size` is None."""
    if parts.moe is None:
        return build_conformer_encoder(parts.encoder, vocab_size)
    return build_moe_encoder(parts.encoder, parts.moe, parts.embedding, vocab_size)


def encoder_without_ctc(parts: ConformerParts, state: State, source: str) -> ConformerEncoder:
    """The encoder of the sizes, with the tensors of `state`. Raises WeightsError if they do not fit."""
    with outline():
        encoder = build_encoder_of(parts, None)
    load_state(encoder, state, source, assign=True)
    return encoder


def read_encoder_without_ctc(path: Path) -> State:
    """The encoder's tensors of a checkpoint of 3M-ASR or a model directory of ours, whatever the model does with it.

    Raises:
        PathError, WeightsError: no such file, an unreadable one, or none with an encoder.
    """
    state = encoder_part(read_conformer_state(path / MODEL_FILE if path.is_dir() else path, "encoder weights"))
    if not state:
        raise WeightsError(f"encoder weights {path} hold no encoder")
    return {name: tensor for name, tensor in state.items() if _CTC_LAYER not in name}


def read_conformer_state(path: str | Path, what: str) -> State:
    """The tensors of a 3M-ASR checkpoint, or of a model directory of ours, under our names.

    Raises:
        PathError, WeightsError: it is missing, or unreadable.
    """
    path = Path(path)
    return conformer_state(read_state(path / MODEL_FILE if path.is_dir() else path, what))


def conformer_state(state: State) -> State:
    """Reference tensors under our names: without those that nothing computes with, and an encoder alone as a part."""
    used = {name: tensor for name, tensor in state.items() if UNUSED_PART not in name}
    if any(name.startswith((ENCODER, "decoder.")) for name in used):
        return used
    return {ENCODER + name: tensor for name, tensor in used.items()}


def encoder_part(state: State) -> State:
    """The encoder's tensors of a model, under their names in it."""
    return {name.removeprefix(ENCODER): tensor for name, tensor in state.items() if name.startswith(ENCODER)}


def start_from(own: State, base: State, embedding: State | None, source: str) -> State:
    """What a model begins with: its base model's tensors, the dense feed-forward part in each expert, and an embedding network.

    Args:
        own: the model's tensors as they are, of which the routers' stay if the base is dense.
        base: a model of the same sizes; dense, or with the same experts.
        embedding: a dense model whose encoder becomes the embedding network; None for what is in `base`, or `own`.
        source: how messages call the base.

    Raises:
        WeightsError: names tensors that have no source, or that nothing takes.
    """
    given = dict(base)
    if embedding is not None:
        given |= {EMBEDDING + name: tensor for name, tensor in encoder_part(embedding).items()}
    started = {name: given.pop(name) for name in own if name in given}
    dense = {name: name.replace(_EXPERTS, ".") for name in own if name not in started and _EXPERTS in name}
    started |= {name: given[place].expand(own[name].shape) for name, place in dense.items() if place in given}
    given = {name: tensor for name, tensor in given.items() if name not in dense.values()}
    kept = {name for name in own if name.endswith(_ROUTERS) or (embedding is None and name.startswith(EMBEDDING))}
    lost = sorted(own.keys() - started.keys() - kept)
    if lost or given:
        raise WeightsError(
            f"{source} does not fit the model; {len(lost)} missing: {', '.join(lost[:5]) or 'none'}; "
            f"{len(given)} unexpected: {', '.join(sorted(given)[:5]) or 'none'}"
        )
    return {name: tensor for name, tensor in own.items() if name in kept} | started


def num_active_parameters(model: nn.Module) -> int:
    """Parameters that a frame meets: all but those of the experts it does not go to."""
    idle = (own.numel() // len(own) * (len(own) - 1) for name, own in model.named_parameters() if _EXPERTS in name)
    return sum(parameter.numel() for parameter in model.parameters()) - sum(idle)
