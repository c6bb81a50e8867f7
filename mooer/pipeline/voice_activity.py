"""Where in a recording there is speech: front end, network and segmenter, applied to recordings and streams of any length."""

from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mooer.common.errors import ConfigError
from mooer.common.lengths import SHIFT_SAMPLES
from mooer.features.frame_stream import FrameStream
from mooer.features.frontend import Frontend
from mooer.models.vad import FsmnVad
from mooer.pipeline.speech_segments import SpeechOptions, SpeechSegment, SpeechSegmenter

# Samples that are computed at once, whatever comes in one piece: intermediate results stay near the processor.
BLOCK_SAMPLES = 1024 * SHIFT_SAMPLES


class VoiceActivityDetector:
    """Front end, network and options of one model."""

    def __init__(self, frontend: Frontend, model: FsmnVad, options: SpeechOptions | None = None) -> None:
        if frontend.feature_dim != model.encoder.input_dim:
            found = f"frames of {frontend.feature_dim} values, the network reads {model.encoder.input_dim}"
            raise ConfigError(f"front end and network do not fit: the one makes {found}")
        self.frontend = frontend
        self.model = model
        self.options = options or SpeechOptions()

    def stream(self, options: SpeechOptions | None = None) -> "SpeechStream":
        """A new recording, to be given piece by piece; without `options` the model's own hold."""
        return SpeechStream(self.frontend, _NetworkPosteriors(self.model), options or self.options)


class SpeechDetector(Protocol):
    """What finds speech in recordings that come in pieces: a VoiceActivityDetector, or one without a network."""

    options: SpeechOptions

    def stream(self, options: SpeechOptions | None = None) -> "SpeechStream":
        """A new recording; without `options` the detector's own hold."""


class _NetworkPosteriors:
    """The network's posteriors of silence [T] of the frames [T, D] of one recording, as they come."""

    def __init__(self, model: FsmnVad) -> None:
        self._model = model
        self._memories: list[Tensor] | None = None

    def __call__(self, frames: Tensor, decibels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            silence, self._memories = self._model(frames[None], self._memories)
        return silence[0].numpy()


class SpeechStream:
    """One recording on its way: `accept` samples as they come, then `finish`. Pieces of any lengths give the same segments.

    Args:
        posteriors: makes posteriors of silence [T] of the next frames [T, D] and their decibels [T].
    """

    def __init__(
        self, frontend: Frontend, posteriors: Callable[[Tensor, np.ndarray], np.ndarray], options: SpeechOptions
    ) -> None:
        self._frames = FrameStream(frontend)
        self._posteriors = posteriors
        self._segmenter = SpeechSegmenter(options)
        self._is_finished = False

    @property
    def open_start_ms(self) -> int | None:
        """Where the segment begins that has begun and not ended; None if there is none."""
        return self._segmenter.open_start_ms

    def accept(self, samples: Tensor) -> list[SpeechSegment]:
        """The segments that end in these samples [S] (float32, 16 kHz, full scale 1).

        Raises:
            AudioError: unsupported (another type or shape), not_finite.
            ValueError: the stream is finished.
        """
        if self._is_finished:
            raise ValueError("this stream is finished; open a new one for the next recording")
        blocks = samples.split(BLOCK_SAMPLES) if samples.dim() == 1 else [samples]
        return [segment for block in blocks for segment in self._segments(*self._frames.accept(block))]

    def finish(self) -> list[SpeechSegment]:
        """The segments that the end of the recording ends."""
        self._is_finished = True
        return self._segments(*self._frames.finish()) + self._segmenter.finish()

    def _segments(self, frames: Tensor, decibels: np.ndarray) -> list[SpeechSegment]:
        if not len(frames):
            return []
        return self._segmenter.accept(self._posteriors(frames, decibels), decibels)


def find_speech(
    detector: VoiceActivityDetector, audio: Tensor | Iterable[Tensor], options: SpeechOptions | None = None
) -> list[SpeechSegment]:
    """The segments of speech of a recording, in order, without overlap.

    Args:
        audio: the waveform [S] (float32, 16 kHz, full scale 1), or pieces of it one after another, of which none is kept.
        options: in place of the model's own; all of them hold, max_single_segment_time too.

    Returns:
        Times in milliseconds, multiples of 10, inside of the recording. One without a whole frame (400 samples) has no segment.

    Raises:
        AudioError: unsupported (another type or shape), not_finite.
    """
    stream = detector.stream(options)
    pieces = [audio] if isinstance(audio, Tensor) else audio
    found = [segment for piece in pieces for segment in stream.accept(piece)]
    return found + stream.finish()
