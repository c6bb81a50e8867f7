"""Which models transcribe long audio, and how."""

from dataclasses import dataclass
from typing import Literal

from mooer.common.errors import ConfigError
from mooer.decode.recognizer import MAX_SECONDS
from mooer.pipeline.punctuation import Style


@dataclass(frozen=True, kw_only=True)
class TranscriberConfig:
    """Which models transcribe, and how."""

    model_dir: str
    """The recogniser: what mooer-decode takes as --model_dir."""
    vad_dir: str | None = None
    """A published FSMN-VAD; without one a recording is one segment, and a long one an error."""
    punc_dir: str | None = None
    """A published CT-Transformer; without one there are no marks but the recogniser's own, and a segment is a sentence."""
    spk_dir: str | None = None
    """A published CAM++; without one nobody asks who speaks."""
    align_dir: str | None = None
    """What tells when the words of a speech LLM are said: a published Paraformer, or a model of family ctc. Without it
    sentences have their segments' times, and words none; other recognisers tell themselves."""
    lm_dir: str | None = None
    """A language model for a recogniser of family paraformer or ctc, as mooer-decode takes it."""
    lm_weight: float | None = None
    """Of its log probabilities; None for mooer-decode's."""
    num_speakers: int | None = None
    """How many speakers there are; None to find out."""
    silence_mode: Literal["fixed", "dynamic"] = "fixed"
    """fixed: a pause of one length ends a segment. dynamic: the reference's default, see SpeechOptions."""
    max_end_silence_ms: int | None = None
    """Pause that ends a segment; None for the model's own, which is 800 as a rule."""
    max_segment_ms: int | None = None
    """A longer segment is cut; None for the detector's own, which is 60000 as a rule, and at most 20000 with a speech LLM."""
    batch_seconds: float = 300.0
    """Seconds of speech that are recognised together, sorted by length: a killed run may lose so much."""
    style: Style | None = None
    """published: the text is spelled, and the speaker of a sentence chosen, as the reference does. tidy: capitals and spaces
    stay (PunctuatorConfig.style), and who speaks most in a sentence is its speaker. None for published with a published
    Paraformer, and tidy with all others."""
    dtype: Literal["float32", "bfloat16", "float16", "int8", "fast"] = "float32"
    """Number format of the recogniser, as mooer-decode takes it. With bfloat16 voices are computed in it too; with fast in
    bfloat16 where that is faster; else in float32, as all other models are."""
    device: str = "auto"
    """auto, cpu, cuda or musa."""

    def __post_init__(self) -> None:
        longest = int(MAX_SECONDS * 1000)
        if self.max_segment_ms is not None and not 1000 <= self.max_segment_ms <= longest:
            raise ConfigError(f"max_segment_ms is {self.max_segment_ms}; allowed: 1000 to {longest}")
        if self.max_end_silence_ms is not None and not 0 <= self.max_end_silence_ms <= longest:
            raise ConfigError(f"max_end_silence_ms is {self.max_end_silence_ms}; allowed: 0 to {longest}")
        if not 0 < self.batch_seconds <= 36_000:
            raise ConfigError(f"batch_seconds is {self.batch_seconds}; allowed: above 0, up to 36000")
        if self.num_speakers is not None and self.num_speakers < 1:
            raise ConfigError(f"num_speakers is {self.num_speakers}; there is at least 1")
        if self.silence_mode == "dynamic" and self.max_end_silence_ms is not None:
            raise ConfigError(
                "max_end_silence_ms means nothing with silence_mode dynamic, which sets it; leave one of them out"
            )
        if self.lm_weight is not None and self.lm_dir is None:
            raise ConfigError("lm_weight means nothing without lm_dir")
        is_set = {
            "vad_dir": self.max_end_silence_ms is not None or self.silence_mode == "dynamic",
            "spk_dir": self.num_speakers is not None,
        }
        for folder, value in is_set.items():
            if value and getattr(self, folder) is None:
                names = "num_speakers means" if folder == "spk_dir" else "max_end_silence_ms and silence_mode mean"
                raise ConfigError(f"{names} nothing without {folder}")
