"""Transcripts of a stretch of utterances, by a recogniser or those they come with, in the form in which they are kept."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from mooer.common.errors import AudioError, ConfigError
from mooer.common.lengths import SAMPLE_RATE
from mooer.data.survey import with_length
from mooer.data.utterance import TRANSCRIPT, Problem, Utterance
from mooer.decode.hypothesis import REPETITION, Answer, Failure
from mooer.decode.recognizer import DecodeConfig, Recognizer
from mooer.decode.repetition import is_repetitive
from mooer.decode.writer import one_line
from mooer.features.frontend import FrontendConfig


@dataclass(frozen=True, kw_only=True)
class RecognitionConfig:
    """Which model transcribes, and how."""

    model_dir: str
    """What mooer-decode takes as --model_dir."""
    task: Literal["asr", "mtl"] = "asr"
    """Transcribe, or transcribe and translate."""
    target_language: str | None = None
    """Of the translation: en or zh; None for task asr."""
    beam_size: int | None = None
    """Of a speech LLM; None for its usual one. A model of family ctc has none."""
    batch_size: int = 32
    """Utterances decoded together."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the model."""
    device: str = "auto"
    """auto, cpu, cuda or musa."""

    def __post_init__(self) -> None:
        if (self.task == "mtl") != (self.target_language is not None):
            raise ConfigError(f"target_language belongs to task mtl; found {self.target_language} with {self.task}")

    def decoding(self) -> DecodeConfig:
        """How the recogniser is to decode. Raises ConfigError for values that make no sense."""
        optional = {"beam_size": self.beam_size, "target_language": self.target_language}
        given = {name: value for name, value in optional.items() if value is not None}
        return DecodeConfig(task=self.task, batch_size=self.batch_size, dtype=self.dtype, device=self.device, **given)


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """What is said in an utterance."""

    id: str
    text: str
    """In one line."""
    confidence: float | None
    """Geometric mean of the probabilities of the recogniser's tokens, from 0 to 1; None if no recogniser wrote it."""
    flags: tuple[str, ...]
    """What is to be mistrusted of a recogniser: too_short, max_new_tokens, repetition."""
    seconds: float
    """Length of the recording."""
    translation: str | None = None
    """The translation, in one line; None where there is none."""


def given_transcripts(entries: Iterable[Utterance | Problem]) -> Iterator[Transcript | Failure]:
    """The transcripts that utterances come with, as they are, in their order; of recordings, only the headers are read."""
    for entry in entries:
        try:
            yield _given(entry)
        except AudioError as error:
            yield Failure(entry.id, error.reason, str(error))


def _given(entry: Utterance | Problem) -> Transcript:
    if isinstance(entry, Problem):
        raise AudioError(entry.message, entry.reason)
    num_samples = with_length(entry).num_samples
    FrontendConfig().check_length(num_samples)
    return Transcript(id=entry.id, text=entry.labels[TRANSCRIPT], confidence=None, flags=(), seconds=num_samples / SAMPLE_RATE)


def open_recognizer(config: RecognitionConfig) -> Recognizer:
    """The recogniser of a model directory. Raises PathError, WeightsError or ConfigError."""
    recognizer = Recognizer.from_model_dir(config.model_dir, config.decoding())
    family = recognizer.loaded.config.family
    if family != "speech_llm" and config.beam_size is not None:
        raise ConfigError(f"{config.model_dir} is of family {family}, for which a beam size means nothing; leave it out")
    return recognizer


def model_record(recognizer: Recognizer) -> dict[str, Any]:
    """What a transcript depends on besides the settings: family and weights of the model, and what it is asked."""
    record = recognizer.record()
    return record["model"] | {"instruction": record["decode"].get("instruction")}


def recognise(recognizer: Recognizer, utterances: Iterable[Utterance | Problem]) -> Iterator[Transcript | Failure]:
    """The results for utterances by reference, in their order."""
    for result in recognizer.recognize_utterances(utterances):
        if isinstance(result, Failure):
            yield result
        else:
            yield _recognised(result.id, result.answer, result.seconds)


def _recognised(identity: str, answer: Answer, seconds: float) -> Transcript:
    # A CTC decoder does not look for loops.
    loops = REPETITION not in answer.flags and is_repetitive(answer.tokens)
    return Transcript(
        id=identity,
        text=one_line(answer.text).strip(),
        confidence=round(answer.confidence, 6),
        flags=answer.flags + ((REPETITION,) if loops else ()),
        seconds=seconds,
        translation=None if answer.translation is None else one_line(answer.translation).strip(),
    )
