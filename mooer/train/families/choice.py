"""Which family a run trains."""

from mooer.train.config import RunConfig
from mooer.train.families.base import Family
from mooer.train.families.language_model import TransformerLmFamily
from mooer.train.families.speech import CtcFamily, SpeechLlmFamily


def family_of(config: RunConfig) -> Family:
    """The family that the section `model` names, for this run."""
    if config.model.family == "transformer_lm":
        return TransformerLmFamily(config)
    return CtcFamily(config) if config.model.family == "ctc" else SpeechLlmFamily(config)
