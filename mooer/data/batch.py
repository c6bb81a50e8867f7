"""Samples put together to padded batches, each tensor with its lengths.

B batch, T frames, L tokens (audio columns included), U target tokens, D width of a frame. A row of a speech LLM batch is

    [left padding][audio columns, -1][prompt][answer][end of sequence][right padding]

so that audio and prompt of all rows end at the same column. Attention is on audio, prompt and answer. A packed batch has one
row, in which the utterances follow each other without padding and each sees itself alone.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from mooer.common.lengths import adapter_frames

AUDIO_COLUMN = -1
IGNORED_LABEL = -100

BatchT = TypeVar("BatchT")


@dataclass(frozen=True, slots=True)
class SpeechLlmSample:
    """One utterance for training or evaluating a speech LLM."""

    id: str
    frames: Tensor
    """[T, D] float32."""
    token_ids: list[int]
    """Prompt, answer, end of sequence; only the prompt for decoding."""
    prompt_length: int
    """How many of the token ids are the prompt."""


@dataclass(frozen=True, slots=True)
class CtcSample:
    """One utterance for training or evaluating an encoder with CTC, or a Paraformer."""

    id: str
    frames: Tensor
    """[T, D] float32."""
    targets: list[int]
    """Token ids without blanks; for a Paraformer the end of sequence is the last."""


@dataclass(frozen=True)
class SpeechLlmBatch:
    """A batch for training a speech LLM."""

    ids: list[str]
    frames: Tensor
    """[B, T, D] float32, zeros after each row's length."""
    frame_lengths: Tensor
    """[B] int64."""
    input_ids: Tensor
    """[B, L] int64, -1 on audio columns, the padding token on padding; [1, L] where packed."""
    labels: Tensor
    """[B, L] int64, -100 up to the end of the prompt and on padding; [1, L] where packed."""
    attention_mask: Tensor | None
    """[B, L] bool, False on padding; None where packed."""
    position_ids: Tensor | None = None
    """[1, L] int64, from 0 for each utterance, where packed; None where not."""

    def to(self, device: torch.device | str) -> "SpeechLlmBatch":
        """The same batch with its tensors on `device`."""
        return move(self, device)


@dataclass(frozen=True)
class CtcBatch:
    """A batch for training an encoder with CTC, or a Paraformer."""

    ids: list[str]
    frames: Tensor
    """[B, T, D] float32, zeros after each row's length."""
    frame_lengths: Tensor
    """[B] int64."""
    targets: Tensor
    """[B, U] int64, the padding token after each row's length."""
    target_lengths: Tensor
    """[B] int64."""

    def to(self, device: torch.device | str) -> "CtcBatch":
        """The same batch with its tensors on `device`."""
        return move(self, device)


@dataclass(frozen=True)
class PromptBatch:
    """A batch for generation: audio and prompt, padded on the left only."""

    ids: list[str]
    frames: Tensor
    """[B, T, D] float32, zeros after each row's length."""
    frame_lengths: Tensor
    """[B] int64."""
    input_ids: Tensor
    """[B, L] int64, -1 on audio columns, the padding token on padding."""
    attention_mask: Tensor
    """[B, L] bool, False on padding."""

    def to(self, device: torch.device | str) -> "PromptBatch":
        """The same batch with its tensors on `device`."""
        return move(self, device)


def move(batch: BatchT, device: torch.device | str) -> BatchT:
    """A batch of any kind with its tensors on `device`."""
    moved = {
        field.name: value.to(device, non_blocking=True)
        for field in dataclasses.fields(batch)
        if isinstance(value := getattr(batch, field.name), Tensor)
    }
    return dataclasses.replace(batch, **moved)


def pad_frames(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Frames [T_i, D] of several utterances as [B, T, D] with zeros on the right, and their lengths [B]."""
    lengths = torch.tensor([len(frames) for frames in sequences], dtype=torch.int64)
    padded = sequences[0].new_zeros(len(sequences), int(lengths.max()), sequences[0].shape[1])
    for row, frames in zip(padded, sequences, strict=True):
        row[: len(frames)] = frames
    return padded, lengths


def collate_speech_llm(
    samples: Sequence[SpeechLlmSample], pad_id: int, downsample_rate: int, encoder_frames: Callable[[int], int] = int
) -> SpeechLlmBatch:
    """The training batch of some samples (at least one).

    Args:
        pad_id: id of the padding token.
        downsample_rate: encoder frames that the adapter makes one embedding of.
        encoder_frames: how many frames the encoder makes of so many; by default as many.
    """
    frames, frame_lengths = pad_frames([sample.frames for sample in samples])
    audio = [adapter_frames(encoder_frames(len(sample.frames)), downsample_rate) for sample in samples]
    border = max(count + sample.prompt_length for count, sample in zip(audio, samples, strict=True))
    width = border + max(len(sample.token_ids) - sample.prompt_length for sample in samples)
    input_ids, labels, attention_mask = [], [], []
    for count, sample in zip(audio, samples, strict=True):
        answer = sample.token_ids[sample.prompt_length :]
        before, after = border - sample.prompt_length - count, width - border - len(answer)
        input_ids.append([pad_id] * before + [AUDIO_COLUMN] * count + sample.token_ids + [pad_id] * after)
        labels.append([IGNORED_LABEL] * border + answer + [IGNORED_LABEL] * after)
        attention_mask.append([False] * before + [True] * (width - before - after) + [False] * after)
    return SpeechLlmBatch(
        ids=[sample.id for sample in samples],
        frames=frames,
        frame_lengths=frame_lengths,
        input_ids=torch.tensor(input_ids),
        labels=torch.tensor(labels),
        attention_mask=torch.tensor(attention_mask),
    )


def collate_packed(
    samples: Sequence[SpeechLlmSample], downsample_rate: int, encoder_frames: Callable[[int], int] = int
) -> SpeechLlmBatch:
    """The packed training batch of some samples (at least one); the arguments are as for `collate_speech_llm`."""
    frames, frame_lengths = pad_frames([sample.frames for sample in samples])
    input_ids, labels, position_ids = [], [], []
    for sample in samples:
        audio = adapter_frames(encoder_frames(len(sample.frames)), downsample_rate)
        unlearnt = audio + sample.prompt_length
        input_ids += [AUDIO_COLUMN] * audio + sample.token_ids
        labels += [IGNORED_LABEL] * unlearnt + sample.token_ids[sample.prompt_length :]
        position_ids += range(audio + len(sample.token_ids))
    return SpeechLlmBatch(
        ids=[sample.id for sample in samples],
        frames=frames,
        frame_lengths=frame_lengths,
        input_ids=torch.tensor([input_ids]),
        labels=torch.tensor([labels]),
        attention_mask=None,
        position_ids=torch.tensor([position_ids]),
    )


def collate_prompts(samples: Sequence[SpeechLlmSample], pad_id: int, downsample_rate: int) -> PromptBatch:
    """The generation batch of some samples (at least one); what follows a sample's prompt is left out."""
    prompts = [dataclasses.replace(sample, token_ids=sample.token_ids[: sample.prompt_length]) for sample in samples]
    batch = collate_speech_llm(prompts, pad_id, downsample_rate)
    return PromptBatch(batch.ids, batch.frames, batch.frame_lengths, batch.input_ids, batch.attention_mask)


def collate_ctc(samples: Sequence[CtcSample], pad_id: int = 0) -> CtcBatch:
    """The CTC batch of some samples (at least one)."""
    frames, frame_lengths = pad_frames([sample.frames for sample in samples])
    lengths = [len(sample.targets) for sample in samples]
    width = max(1, *lengths)
    targets = torch.tensor([sample.targets + [pad_id] * (width - len(sample.targets)) for sample in samples])
    target_lengths = torch.tensor(lengths)
    return CtcBatch([sample.id for sample in samples], frames, frame_lengths, targets, target_lengths)
