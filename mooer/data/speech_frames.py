"""Which frames are speech: the samples and batches that a voice activity network learns from.

Shapes: B batch, T frames of 10 ms, D width of a frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mooer.common.errors import DataError
from mooer.common.speech_times import FRAME_MS, SPEECH_LABEL, Stretch, frames_of_stretch, parse_speech_times
from mooer.data.batch import move, pad_frames
from mooer.data.tasks import Item

# By how much a label may reach beyond the last frame: labels of other tools round, and the last window is not whole.
_TOLERANCE_MS = 100


@dataclass(frozen=True, slots=True)
class SpeechFramesSample:
    """One recording, or a stretch of one."""

    id: str
    frames: Tensor
    """[T, D] float32."""
    is_speech: Tensor
    """[T] bool."""


@dataclass(frozen=True)
class SpeechFramesBatch:
    """A batch for training a voice activity network."""

    ids: list[str]
    frames: Tensor
    """[B, T, D] float32, zeros after each row's length."""
    frame_lengths: Tensor
    """[B] int64."""
    is_speech: Tensor
    """[B, T] bool, False after each row's length."""

    def to(self, device: torch.device | str) -> "SpeechFramesBatch":
        """The same batch with its tensors on `device`."""
        return move(self, device)


def speech_frames(stretches: Sequence[Stretch], num_frames: int) -> Tensor:
    """[num_frames] bool: the frames whose middle lies in one of the stretches (in ms)."""
    is_speech = torch.zeros(num_frames, dtype=torch.bool)
    for stretch in stretches:
        frames = frames_of_stretch(stretch)
        is_speech[frames.start : frames.stop] = True
    return is_speech


class SpeechFramesSamples:
    """Makes samples of utterances with the label `speech`, which names stretches of speech (`mooer.common.speech_times`)."""

    def make(self, items: Sequence[Item]) -> list[SpeechFramesSample | str]:
        """The sample of each item, or the reason why it cannot be used."""
        return [_make(item) for item in items]

    def collate(self, samples: Sequence[SpeechFramesSample]) -> SpeechFramesBatch:
        """Their batch."""
        frames, frame_lengths = pad_frames([sample.frames for sample in samples])
        is_speech = torch.nn.utils.rnn.pad_sequence([sample.is_speech for sample in samples], batch_first=True)
        return SpeechFramesBatch([sample.id for sample in samples], frames, frame_lengths, is_speech)


def _make(item: Item) -> SpeechFramesSample | str:
    try:
        stretches = parse_speech_times(item.utterance.labels[SPEECH_LABEL])
    except DataError:
        return "bad_speech_label"
    num_frames = len(item.frames)
    if stretches and stretches[-1][1] > num_frames * FRAME_MS + _TOLERANCE_MS:
        return "speech_beyond_end"
    return SpeechFramesSample(item.utterance.id, item.frames, speech_frames(stretches, num_frames))
