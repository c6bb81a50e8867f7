"""From the options of a command to a search with other scores beside the model's own."""

from typing import TYPE_CHECKING

import torch

from mooer.common.device import select_dtype
from mooer.common.errors import ConfigError
from mooer.decode.fusion import Fusion, FusionConfig
from mooer.decode.number_format import CPU_FORMATS
from mooer.decode.packed_linear import pack_linears
from mooer.models.conformer_builder import ConformerConfig
from mooer.models.language_model_dir import LoadedLanguageModel, load_language_model
from mooer.models.model_dir import LoadedModel
from mooer.text.vocabulary import load_vocabulary

if TYPE_CHECKING:
    from mooer.decode.recognizer import DecodeConfig

DEFAULT_BEAM_SIZE = 10
DEFAULT_LM_WEIGHT = 0.15
# Of CTC, where a decoder looks at its answers again.
DEFAULT_CTC_WEIGHT = 0.5


def fusion_of(config: "DecodeConfig", loaded: LoadedModel, device: torch.device) -> Fusion | None:
    """The search that is asked for; None for one that takes the best token everywhere, and for a speech LLM's own.

    Raises:
        PathError, ConfigError, WeightsError: options that mean nothing together or for the model, a language model that cannot
            be opened or has other tokens.
    """
    mode = _conformer_mode(config, loaded.config) if loaded.config.family == "conformer" else None
    is_wanted = _is_wanted(config, loaded.config.family) if mode is None else mode != "ctc_greedy"
    if not is_wanted:
        return None
    beam_size = config.beam_size or DEFAULT_BEAM_SIZE
    if config.nbest > beam_size:
        raise ConfigError(f"{config.nbest} best answers were asked for, but --beam_size is {beam_size}; raise it")
    lm = None if config.lm_dir is None else _open_language_model(config, loaded, device)
    default = 0.0 if lm is None else DEFAULT_LM_WEIGHT
    is_rescored = mode == "attention_rescoring"
    settings = FusionConfig(
        beam_size=beam_size,
        lm_weight=default if config.lm_weight is None else config.lm_weight,
        ctc_weight=_or(config.ctc_weight, DEFAULT_CTC_WEIGHT if is_rescored else 0.0),
        reverse_weight=_or(config.reverse_weight, loaded.config.losses.reverse_weight if is_rescored else 0.0),
        length_bonus=config.length_bonus or 0.0,
    )
    return Fusion(
        config=settings,
        mode=mode,
        lm=lm.model if lm is not None and settings.lm_weight else None,
        lm_files=() if lm is None else lm.weight_files,
        num_alternatives=config.nbest,
    )


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _is_wanted(config: "DecodeConfig", family: str) -> bool:
    """Whether the settings ask for such a search. Raises ConfigError for those that mean nothing for the family."""
    if config.reverse_weight is not None:
        raise ConfigError(f"--reverse_weight means nothing for a model of family {family}")
    asked = [name for name in ("lm_dir", "ctc_weight", "length_bonus") if getattr(config, name) is not None]
    if family == "speech_llm":
        if asked or config.mode is not None:
            raise ConfigError(f"--{(asked or ['mode'])[0]} means nothing for a model of family speech_llm")
        return False
    asked += _asked_of_beams(config)
    if family == "paraformer":
        if config.mode is not None:
            raise ConfigError("--mode means nothing for a model of family paraformer")
        return bool(asked)
    if config.ctc_weight is not None:
        raise ConfigError("--ctc_weight is of a model with a decoder beside CTC; a model of family ctc has nothing else")
    mode = config.mode or ("ctc_greedy" if config.lm_dir is None else "ctc_prefix_beam")
    if mode not in ("ctc_greedy", "ctc_prefix_beam"):
        raise ConfigError(f"--mode {mode} needs a model of family conformer, this one is of family {family}")
    if asked and mode == "ctc_greedy":
        raise ConfigError(f"--{asked[0]} means nothing for a model of family ctc without --mode ctc_prefix_beam")
    return mode == "ctc_prefix_beam"


def _asked_of_beams(config: "DecodeConfig") -> list[str]:
    """The options that only a beam search has a use for."""
    return ["nbest"] * (config.nbest > 0) + ["beam_size"] * ((config.beam_size or 1) > 1)


def _conformer_mode(config: "DecodeConfig", model: ConformerConfig) -> str:
    """How a Conformer is searched. Raises ConfigError for settings that mean nothing with it."""
    mode = config.mode or (
        "attention_rescoring" if model.decoder is not None else "ctc_greedy" if config.lm_dir is None else "ctc_prefix_beam"
    )
    useless = [name for name in ("ctc_weight", "reverse_weight") if getattr(config, name) is not None]
    if mode == "attention_rescoring":
        useless = []
    if mode == "ctc_greedy":
        useless += [name for name in ("lm_dir", "length_bonus") if getattr(config, name) is not None] + _asked_of_beams(config)
    if useless:
        raise ConfigError(f"--{useless[0]} means nothing with --mode {mode}, which is how this model is searched")
    return mode


def _open_language_model(config: "DecodeConfig", loaded: LoadedModel, device: torch.device) -> LoadedLanguageModel:
    """The language model that is asked for, on the device, which has the tokens of the model."""
    # The formats for CPUs are of encoders and decoders that run once.
    dtype = torch.float32 if config.dtype in CPU_FORMATS else select_dtype(config.dtype)
    lm = load_language_model(config.lm_dir, dtype)
    known, wanted = load_vocabulary(lm.tokenizer_dir).tokens, load_vocabulary(loaded.tokenizer_dir).tokens
    if known != wanted:
        place = next((place for place, pair in enumerate(zip(known, wanted, strict=False)) if pair[0] != pair[1]), None)
        where = f"{len(known)} and {len(wanted)}" if place is None else f"{known[place]!r} and {wanted[place]!r} at {place}"
        raise ConfigError(
            f"the language model {config.lm_dir} and the model have different tokens ({where}); "
            "train one with the model's tokenizer (data.tokenizer_path)"
        )
    if lm.model.embed.num_embeddings != len(known):
        raise ConfigError(f"{config.lm_dir} has weights for {lm.model.embed.num_embeddings} tokens, but names {len(known)}")
    if device.type == "cpu":
        pack_linears(lm.model)
    lm.model.to(device)
    return lm
