"""The models of a server: one recogniser in memory, asked in all the ways that it was trained for."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from mooer.common.errors import AudioError, ConfigError
from mooer.common.lengths import SAMPLE_RATE
from mooer.data.config import TaskConfig
from mooer.decode.hypothesis import Failure, Hypothesis
from mooer.decode.recognizer import DecodeConfig, Prepared, Recognizer
from mooer.decode.writer import one_line
from mooer.pipeline.live_recognition import LiveRecognizer
from mooer.pipeline.long_audio import Transcriber
from mooer.pipeline.punctuated_words import sentences_of_segments, words_of
from mooer.pipeline.speech_segments import SpeechSegment
from mooer.pipeline.transcriber_config import TranscriberConfig
from mooer.pipeline.transcription import DecodedSegment, Transcription
from mooer.serve.config import ServedModelConfig

TRANSCRIPTION = "asr"
TRANSLATION = "ast"
# With a detector of speech a recording may be as long as an hour; who wants more says so.
LONG_SECONDS = 3600.0
_MULTITASK = "mtl"

Value = TypeVar("Value")
Other = TypeVar("Other")


@dataclass(frozen=True, eq=False)
class SpeechJob:
    """What is to be recognised."""

    task: str
    """asr, or ast and the language of the translation, as ast.en."""
    samples: Tensor
    """[S] float32, 16 kHz, full scale 1."""


@dataclass(frozen=True, eq=False)
class PreparedJob:
    """The same when all is computed that needs no search."""

    task: str
    input: Prepared | Failure | Tensor
    """Samples where they are still to be cut at pauses."""


@dataclass(frozen=True)
class Recognised:
    """What was heard."""

    transcription: Transcription
    """Text, sentences, and words where their times are known."""
    tokens: tuple[int, ...] = ()
    """Of the answer; empty where it was put together of several."""
    mean_log_prob: float | None = None
    """Of the answer's tokens; None where there is no single answer."""


class ServedModel:
    """Recognises jobs.

    Raises:
        PathError, ConfigError, WeightsError, DataError: a model cannot be opened, or does not fit the settings.
    """

    def __init__(self, config: ServedModelConfig, batch_size: int) -> None:
        self.config = config
        self._transcriber = _open_transcriber(config)
        self._recognizers = _open_recognizers(config, batch_size, self._transcriber)
        self.names = config.names or (Path(config.model_dir).resolve().name,)

    @property
    def tasks(self) -> tuple[str, ...]:
        """What jobs may ask for."""
        return tuple(self._recognizers)

    @property
    def family(self) -> str:
        """Of the recogniser."""
        return next(iter(self._recognizers.values())).loaded.config.family

    @property
    def cuts_speech(self) -> bool:
        """Whether transcriptions have segments, so that they may be of any length."""
        return self._transcriber is not None and self._transcriber.models.detector is not None

    @property
    def max_seconds(self) -> float:
        """The longest recording that is read."""
        if self._transcriber is None:
            return next(iter(self._recognizers.values())).max_seconds
        return LONG_SECONDS if self.cuts_speech else self._transcriber.models.whole_ms / 1000

    def recognizer(self, task: str) -> Recognizer:
        """The recogniser for a task."""
        return self._recognizers[task]

    def has_words(self, task: str) -> bool:
        """Whether the words of a task's answers have times."""
        if task != TRANSCRIPTION:
            return False
        return self.family != "speech_llm" if self._transcriber is None else self._transcriber.models.has_times

    def writes_tokens(self, task: str) -> bool:
        """Whether the text of a task's answers can be had as it grows."""
        recognizer = self._recognizers[task]
        is_plain = task != TRANSCRIPTION or self._transcriber is None
        return is_plain and self.family == "speech_llm" and recognizer.config.task != _MULTITASK

    def open_live(self) -> LiveRecognizer:
        """What hears one stream; the detector of speech that was named, or energy, cuts it."""
        recognizer = self._recognizers.get(TRANSCRIPTION) or next(iter(self._recognizers.values()))
        vad = self._transcriber.models.detector if self._transcriber is not None else None
        return LiveRecognizer(recognizer, vad=vad)

    def stream(self, job: SpeechJob) -> Iterator[Recognised]:
        """The answer as it grows, by greedy search; the last one is complete. Raises AudioError where there is none."""
        seconds = len(job.samples) / SAMPLE_RATE
        for answer in self._recognizers[job.task].stream_answers(job.samples):
            yield _of_answer(Hypothesis("recording", answer, seconds, 0.0), answer.text)

    def prepare(self, jobs: Sequence[SpeechJob]) -> list[PreparedJob]:
        """What `decode` needs of jobs, in their order; another thread may do this while that works on the last ones."""
        inputs = _by_task([(job.task, job.samples) for job in jobs], self._prepare_task)
        return [PreparedJob(job.task, value) for job, value in zip(jobs, inputs, strict=True)]

    def decode(self, jobs: Sequence[PreparedJob]) -> list[Recognised | Failure]:
        """The results in the order of the jobs, each as if it were alone."""
        return _by_task([(job.task, job.input) for job in jobs], self._decode_task)

    def _is_cut(self, task: str) -> bool:
        return task == TRANSCRIPTION and self._transcriber is not None

    def _prepare_task(self, task: str, waveforms: Sequence[Tensor]) -> Sequence[Prepared | Failure | Tensor]:
        if self._is_cut(task):
            return waveforms
        return self._recognizers[task].prepare(("recording", samples) for samples in waveforms)

    def _decode_task(self, task: str, inputs: Sequence[Any]) -> list[Recognised | Failure]:
        if self._is_cut(task):
            return [self._transcribe(samples) for samples in inputs]
        recognizer = self._recognizers[task]
        wants_second_line = recognizer.config.task == _MULTITASK and task != TRANSCRIPTION
        return [_recognised(result, wants_second_line) for result in recognizer.answer(inputs)]

    def _transcribe(self, samples: Tensor) -> Recognised | Failure:
        try:
            transcription = self._transcriber(samples, sample_rate=SAMPLE_RATE)
        except AudioError as error:
            return Failure("recording", error.reason, str(error))
        if transcription.failures and len(transcription.failures) == len(transcription.segments):
            first = transcription.failures[0]
            return Failure("recording", first.reason, first.message)
        return Recognised(transcription)


def _by_task(jobs: Sequence[tuple[str, Value]], work: Callable[[str, list[Value]], Sequence[Other]]) -> list[Other]:
    """What `work` makes of the values of each task's jobs, in the order of the jobs."""
    results: list[Other | None] = [None] * len(jobs)
    for task in dict.fromkeys(task for task, _ in jobs):
        places = [place for place, job in enumerate(jobs) if job[0] == task]
        for place, result in zip(places, work(task, [jobs[place][1] for place in places]), strict=True):
            results[place] = result
    return results


def _open_transcriber(config: ServedModelConfig) -> Transcriber | None:
    if not config.is_long:
        return None
    if config.task not in (None, "asr"):
        raise ConfigError(f"vad_dir, punc_dir and align_dir are for transcriptions; leave out task {config.task}")
    if config.beam_size is not None:
        raise ConfigError("beam_size means nothing with vad_dir, punc_dir or align_dir")
    names = ("model_dir", "vad_dir", "punc_dir", "align_dir", "dtype", "device")
    return Transcriber(TranscriberConfig(**{name: getattr(config, name) for name in names}))


def _open_recognizers(config: ServedModelConfig, batch_size: int, transcriber: Transcriber | None) -> dict[str, Recognizer]:
    """A recogniser for each task, all of them with the same model in memory."""
    if transcriber is None:
        asked = DecodeConfig(
            task=config.task or TRANSCRIPTION,
            beam_size=config.beam_size,
            batch_size=batch_size,
            estimate_times=True,
            dtype=config.dtype,
            device=config.device,
        )
        first = Recognizer.from_model_dir(config.model_dir, asked)
    else:
        first = transcriber.models.recognizer
    if config.beam_size is not None and first.loaded.config.family != "speech_llm":
        raise ConfigError(f"beam_size means nothing for a model of family {first.loaded.config.family}")
    if config.task == _MULTITASK:
        return {TRANSCRIPTION: first, f"{TRANSLATION}.{first.config.target_language}": first}
    if config.task is not None:
        return {TaskConfig(task=config.task, target_language=first.config.target_language).key: first}
    return {TRANSCRIPTION: first} | {
        key: _for_translation(first, key.partition(".")[2])
        for key in sorted(first.instructions)
        if key.startswith(f"{TRANSLATION}.")
    }


def _for_translation(first: Recognizer, language: str) -> Recognizer:
    config = dataclasses.replace(first.config, task=TRANSLATION, target_language=language)
    return Recognizer(first.loaded, config, first.is_released, first.instructions)


def _recognised(result: Hypothesis | Failure, wants_second_line: bool) -> Recognised | Failure:
    """An answer as a transcription of one segment, the whole recording.

    Args:
        wants_second_line: whether it is the translation of an answer that has both.
    """
    if isinstance(result, Failure):
        return result
    text = result.answer.translation if wants_second_line else result.answer.text
    if text is None:
        return Failure(result.id, "no_translation", "the model's answer is not two lines, so it has no translation")
    return _of_answer(result, text)


def _of_answer(result: Hypothesis, text: str) -> Recognised:
    answer = result.answer
    segment = DecodedSegment(
        start=0,
        end=max(1, round(1000 * result.seconds)),
        num_samples=round(SAMPLE_RATE * result.seconds),
        text=one_line(text).strip(),
        words=answer.words,
        flags=answer.flags,
    )
    transcription = Transcription(
        key=result.id,
        text=segment.text,
        raw_text=segment.text,
        segments=(SpeechSegment(segment.start, segment.end),),
        sentences=tuple(sentences_of_segments([segment])),
        words=words_of(segment) or (),
        turns=None,
        score=answer.score,
        flags=answer.flags,
        failures=(),
        seconds=result.seconds,
        elapsed_seconds=result.seconds * result.real_time_factor,
    )
    return Recognised(transcription, answer.tokens, answer.mean_log_prob)
