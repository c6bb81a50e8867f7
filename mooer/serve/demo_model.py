"""The models behind the demo page: one recogniser in memory, asked in one way, and long audio where models for it are named."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mooer.audio.io import full_scale, load_audio
from mooer.audio.limits import AudioLimits
from mooer.audio.resample import ResampleStream
from mooer.common.errors import AudioError, ConfigError
from mooer.common.lengths import SAMPLE_RATE
from mooer.decode.hypothesis import Answer, Failure
from mooer.decode.recognizer import DecodeConfig, Recognizer
from mooer.pipeline.live_recognition import LiveEvent, LiveRecognizer
from mooer.pipeline.long_audio import Transcriber
from mooer.pipeline.transcriber_config import TranscriberConfig
from mooer.pipeline.transcription import Transcription

LANGUAGES = {"en": "English", "zh": "Chinese"}
_LONG_FOLDERS = ("vad_dir", "punc_dir", "spk_dir", "align_dir")


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Which models the page asks, and for what."""

    model_dir: str = "mini"
    """The recogniser: what mooer-decode takes as --model_dir."""
    task: Literal["asr", "ast", "mtl"] = "asr"
    """Transcribe, translate, or both."""
    target_language: Literal["en", "zh"] | None = None
    """Of the translation; None for en."""
    vad_dir: str | None = None
    """A published FSMN-VAD. This and the next three make sentences with times of recordings of any length."""
    punc_dir: str | None = None
    """A published CT-Transformer, for punctuation."""
    spk_dir: str | None = None
    """A published CAM++, for speakers."""
    align_dir: str | None = None
    """What tells when the words of a speech LLM are said."""
    beam_size: int | None = None
    """1 is greedy search; None for the usual one of the model."""
    dtype: Literal["float32", "bfloat16", "float16", "int8", "fast"] = "float32"
    """Number format of the recogniser."""
    device: str = "auto"
    """auto, cpu, cuda or musa."""
    max_seconds: float = 3600.0
    """Longest recording that is taken."""

    def __post_init__(self) -> None:
        if not self.max_seconds > 0:
            raise ConfigError(f"max_seconds must be positive, found {self.max_seconds}")
        if self.task == "asr" and self.target_language is not None:
            raise ConfigError(f"target_language {self.target_language} belongs to task ast and mtl")
        if self.is_long and (self.task != "asr" or self.beam_size is not None):
            found = f"task {self.task}" if self.task != "asr" else f"beam_size {self.beam_size}"
            raise ConfigError(
                f"{', '.join(_LONG_FOLDERS)} are for transcription as mooer-transcribe does it; leave out {found}"
            )

    @property
    def is_long(self) -> bool:
        """Whether recordings become sentences with times."""
        return any(getattr(self, name) is not None for name in _LONG_FOLDERS)


class DemoModel:
    """Recognises recordings by path.

    Raises:
        PathError, ConfigError, WeightsError, DataError: a model cannot be opened, or does not fit the settings.
    """

    def __init__(self, config: DemoConfig) -> None:
        self.config = config
        self._limits = AudioLimits(max_seconds=config.max_seconds)
        self._transcriber = _open_transcriber(config) if config.is_long else None
        self._recognizer = _open_recognizer(config) if self._transcriber is None else self._transcriber.models.recognizer

    @property
    def description(self) -> str:
        """What the page does, in Markdown."""
        config = self.config
        language = LANGUAGES[config.target_language or "en"]
        does = {"asr": "Transcription", "ast": f"Translation to {language}"}
        does |= {"mtl": f"Transcription and translation to {language}"}
        return f"{does[config.task]} with the model `{Path(config.model_dir).name}`"

    @property
    def writes_tokens(self) -> bool:
        """Whether texts can be seen as they grow."""
        return self._recognizer.loaded.config.family == "speech_llm"

    def read(self, path: str) -> Tensor:
        """Samples [S] of a recording. Raises AudioError, which names the file and not the folder where it was put."""
        try:
            return load_audio(path, limits=self._limits)
        except AudioError as error:
            raise AudioError(str(error).replace(path, Path(path).name), error.reason) from error

    def grow(self, samples: Tensor) -> Iterator[Answer]:
        """The answer as it is written, by greedy search. Raises AudioError."""
        return self._recognizer.stream_answers(self._short(samples))

    def recognize(self, samples: Tensor) -> Answer:
        """The answer. Raises AudioError."""
        (result,) = self._recognizer.recognize([("recording", self._short(samples))])
        if isinstance(result, Failure):
            raise AudioError(result.message, result.reason)
        return result.answer

    def transcribe(self, samples: Tensor, name: str) -> Transcription:
        """Sentences with times, where models for them are named. Raises AudioError if no segment could be recognised."""
        assert self._transcriber is not None, "the page asks for sentences only where there are models for them"
        result = self._transcriber(samples, sample_rate=SAMPLE_RATE, key=name)
        if result.failures and len(result.failures) == len(result.segments):
            raise AudioError(result.failures[0].message, result.failures[0].reason)
        return result

    def listen(self) -> "Listener":
        """What hears a microphone."""
        vad = None if self._transcriber is None else self._transcriber.models.detector
        return Listener(LiveRecognizer(self._recognizer, vad))

    def _short(self, samples: Tensor) -> Tensor:
        seconds, most = len(samples) / SAMPLE_RATE, self._recognizer.max_seconds
        if seconds > most:
            message = f"the recording has {seconds:.0f} s; at most {most:.0f} s are recognised in one piece"
            hint = "start the demo with --vad_dir" if self._transcriber is None else "switch the growing text off"
            raise AudioError(f"{message}; {hint} for longer ones", "too_long")
        return samples


class Listener:
    """One microphone: its text so far."""

    def __init__(self, live: LiveRecognizer) -> None:
        self._live = live
        self._resampler: ResampleStream | None = None
        self._rate = 0
        self._lines: list[str] = []
        self._partial = ""

    @property
    def text(self) -> str:
        """A line a segment; the last one may still change."""
        return "\n".join([*self._lines, self._partial] if self._partial else self._lines)

    def accept(self, sample_rate: int, samples: np.ndarray) -> None:
        """Hear the next samples [S] or [S, channels]. Raises AudioError."""
        if self._resampler is None:
            self._resampler, self._rate = ResampleStream(sample_rate, SAMPLE_RATE), sample_rate
        if sample_rate != self._rate:
            raise AudioError(f"the microphone's rate changed from {self._rate} to {sample_rate} Hz", "unsupported")
        mono = full_scale(samples)
        mono = mono.mean(axis=1) if mono.ndim == 2 else mono
        self._take(self._live.accept(self._resampler.accept(torch.from_numpy(mono[None]))[0].numpy()))

    def finish(self) -> None:
        """The microphone was switched off."""
        if self._resampler is not None:
            self._take(self._live.accept(self._resampler.finish()[0].numpy()))
        self._take(self._live.finish())

    def _take(self, events: list[LiveEvent]) -> None:
        for event in events:
            text = event.text if event.failure is None else f"[{event.failure[1]}]"
            if event.kind == "partial":
                self._partial = text
            else:
                self._partial = ""
                self._lines += [text] if text else []


def _open_transcriber(config: DemoConfig) -> Transcriber:
    names = ("model_dir", *_LONG_FOLDERS, "dtype", "device")
    return Transcriber(TranscriberConfig(**{name: getattr(config, name) for name in names}))


def _open_recognizer(config: DemoConfig) -> Recognizer:
    decoding = DecodeConfig(
        task=config.task,
        target_language=config.target_language or "en",
        beam_size=config.beam_size,
        dtype=config.dtype,
        device=config.device,
    )
    return Recognizer.from_model_dir(config.model_dir, decoding)
