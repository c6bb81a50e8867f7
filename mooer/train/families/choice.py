"""Which family a run trains."""

from mooer.train.config import RunConfig
from mooer.train.families.base import Family
from mooer.train.families.conformer import ConformerFamily
from mooer.train.families.language_model import TransformerLmFamily
from mooer.train.families.paraformer import ParaformerFamily
from mooer.train.families.punctuation import PunctuationFamily
from mooer.train.families.speaker import SpeakerFamily
from mooer.train.families.speech import CtcFamily, SpeechLlmFamily
from mooer.train.families.vad import VadFamily
from mooer.train.families.vocoder import VocoderFamily

_FAMILIES = {
    "speech_llm": SpeechLlmFamily,
    "ctc": CtcFamily,
    "conformer": ConformerFamily,
    "paraformer": ParaformerFamily,
    "transformer_lm": TransformerLmFamily,
    "fsmn_vad": VadFamily,
    "punctuation": PunctuationFamily,
    "speaker": SpeakerFamily,
    "vocoder": VocoderFamily,
}


def family_of(config: RunConfig) -> Family:
    """The family that the section `model` names, for this run."""
    return _FAMILIES[config.model.family](config)
