"""From an utterance's labels to what a model is trained on: which task, which prompt, which token ids."""

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from mooer.common.seed import derived_seed
from mooer.data.batch import (
    CtcBatch,
    CtcSample,
    SpeechLlmBatch,
    SpeechLlmSample,
    collate_ctc,
    collate_packed,
    collate_speech_llm,
)
from mooer.data.config import DataConfig, TaskConfig
from mooer.data.utterance import Utterance
from mooer.text.piece_tokenizer import PieceTokenizer
from mooer.text.pieces import END_ID
from mooer.text.prompts import chat_prompt
from mooer.text.speech_tokens import SpeechTokens
from mooer.text.tokenizer import encode_prompt_and_answers
from mooer.text.vocabulary import BpeVocabulary, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def possible_tasks(tasks: Sequence[TaskConfig], labels: Mapping[str, str]) -> list[TaskConfig] | str:
    """The tasks whose labels all have words, or the reason why there is none: `no_label` or `empty_text`."""
    present = [task for task in tasks if all(name in labels for name in task.label_names)]
    if not present:
        return "no_label"
    return [task for task in present if all(labels[name].strip() for name in task.label_names)] or "empty_text"


def draw_task(tasks: Sequence[TaskConfig], utterance: Utterance, seed: int, occasion: str) -> TaskConfig | None:
    """One of the utterance's possible tasks by weight, the same for the same (seed, occasion, id); None if there is none."""
    possible = possible_tasks(tasks, utterance.labels)
    if isinstance(possible, str):
        return None
    if len(possible) == 1:
        return possible[0]
    generator = random.Random(derived_seed(seed, occasion, utterance.id, "task"))
    return generator.choices(possible, weights=[task.weight for task in possible])[0]


def answer(task: TaskConfig, labels: Mapping[str, str]) -> str:
    """What the model is to write: the task's labels, one a line, without audio tokens."""
    names = task.label_names[:-1] if task.is_spoken else task.label_names
    return "\n".join(" ".join(labels[name].splitlines()) for name in names)


def ctc_frames_needed(targets: Sequence[int]) -> int:
    """The fewest frames in which CTC can say `targets`: one a token, and a blank between two equal ones."""
    return len(targets) + sum(left == right for left, right in pairwise(targets))


@dataclass(frozen=True, slots=True)
class Item:
    """An utterance that a sample can be made of."""

    utterance: Utterance
    task: TaskConfig
    frames: Tensor
    """[T, D]."""


class Samples(Protocol):
    """What a kind of model is given to learn from: a sample of each utterance, a batch of samples."""

    def make(self, items: Sequence[Item]) -> list[Any]:
        """The sample of each item, or, as a string, the reason why it cannot be used."""

    def collate(self, samples: Sequence[Any]) -> Any:
        """Their batch (at least one): a frozen dataclass of `ids`, tensors and a method `to(device)`."""


class SpeechLlmSamples:
    """Makes the samples and batches of a speech LLM.

    Args:
        downsample_rate: encoder frames that the adapter makes one embedding of.
        packing: whether a batch is one row without padding.
        encoder_frames: how many frames the encoder makes of so many; by default as many.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        downsample_rate: int,
        packing: bool = False,
        encoder_frames: Callable[[int], int] = int,
    ) -> None:
        self.downsample_rate = downsample_rate
        self._tokenizer = tokenizer
        self._packing = packing
        self._encoder_frames = encoder_frames
        self._prompts: dict[str, str] = {}

    @classmethod
    def of(cls, config: DataConfig, tokenizer: "PreTrainedTokenizerBase", downsample_rate: int = 2) -> "SpeechLlmSamples":
        """Those that the `data` section of a training file asks for."""
        return cls(tokenizer, downsample_rate, config.packing, config.frontend.encoder_frames)

    def make(self, items: Sequence[Item]) -> list[SpeechLlmSample | str]:
        """The sample of each item, or the reason why it cannot be used."""
        by_task: dict[TaskConfig, list[int]] = {}
        for number, item in enumerate(items):
            by_task.setdefault(item.task, []).append(number)
        made: list[SpeechLlmSample | str] = ["too_short"] * len(items)
        for task, numbers in by_task.items():
            token_ids, prompt_length = self._encode(task, [items[number].utterance.labels for number in numbers])
            for number, ids in zip(numbers, token_ids, strict=True):
                item = items[number]
                if None in ids:
                    made[number] = "unknown_audio_token"
                elif self._encoder_frames(len(item.frames)) >= self.downsample_rate:
                    made[number] = SpeechLlmSample(item.utterance.id, item.frames, ids, prompt_length)
        return made

    def prompt_length(self, task: TaskConfig) -> int:
        """Tokens of the task's prompt."""
        return self._encode(task, [])[1]

    def answer_lengths(self, task: TaskConfig, labels: Sequence[Mapping[str, str]]) -> list[int]:
        """Tokens of the answer and the end of sequence, for the labels of each utterance."""
        token_ids, prompt_length = self._encode(task, labels)
        return [len(ids) - prompt_length for ids in token_ids]

    def _encode(self, task: TaskConfig, labels: Sequence[Mapping[str, str]]) -> tuple[list[list[int | None]], int]:
        """Token ids of prompt and answer, None for an audio token that is none; and how many are the prompt."""
        texts = [answer(task, own) for own in labels]
        token_ids, prompt_length = encode_prompt_and_answers(self._tokenizer, self._prompt(task), texts)
        if task.is_spoken:
            sounds = [own[task.label_names[-1]].split() for own in labels]
            token_ids = [ids[:-1] + self._speech.encode(said) for ids, said in zip(token_ids, sounds, strict=True)]
        return token_ids, prompt_length

    @functools.cached_property
    def _speech(self) -> SpeechTokens:
        return SpeechTokens(self._tokenizer)

    def _prompt(self, task: TaskConfig) -> str:
        instruction = task.instruction_text
        if instruction not in self._prompts:
            self._prompts[instruction] = chat_prompt(self._tokenizer, instruction)
        return self._prompts[instruction]

    def collate(self, samples: Sequence[SpeechLlmSample]) -> SpeechLlmBatch:
        """Their batch."""
        if self._packing:
            return collate_packed(samples, self.downsample_rate, self._encoder_frames)
        return collate_speech_llm(samples, self._tokenizer.pad_token_id, self.downsample_rate, self._encoder_frames)


class CtcSamples:
    """Makes the samples and batches of an encoder with CTC, and of one with an attention decoder beside it.

    Args:
        encoder_frames: how many frames the encoder makes of so many; by default as many.
    """

    def __init__(self, vocabulary: Vocabulary, encoder_frames: Callable[[int], int] = int) -> None:
        self._vocabulary = vocabulary
        self._encoder_frames = encoder_frames

    @classmethod
    def of(cls, config: DataConfig, tokenizer: "PreTrainedTokenizerBase") -> "CtcSamples":
        """Those that the `data` section of a training file asks for."""
        return cls(BpeVocabulary(tokenizer), config.frontend.encoder_frames)

    def make(self, items: Sequence[Item]) -> list[CtcSample | str]:
        """The sample of each item, or the reason why it cannot be used."""
        targets = self._vocabulary.encode([answer(item.task, item.utterance.labels) for item in items])
        return [
            CtcSample(item.utterance.id, item.frames, ids)
            if ctc_frames_needed(ids) <= self._encoder_frames(len(item.frames))
            else "too_long_for_ctc"
            for item, ids in zip(items, targets, strict=True)
        ]

    def collate(self, samples: Sequence[CtcSample]) -> CtcBatch:
        """Their batch."""
        return collate_ctc(samples, self._vocabulary.blank_id)


class ParaformerSamples:
    """Makes the samples and batches of a Paraformer: the tokens of the transcript, and the end of sequence."""

    def __init__(self, tokenizer: PieceTokenizer) -> None:
        self._tokenizer = tokenizer

    def make(self, items: Sequence[Item]) -> list[CtcSample | str]:
        """The sample of each item; an utterance with more tokens than frames has no use: no frame can make two."""
        made: list[CtcSample | str] = []
        for item in items:
            targets = [*self._tokenizer.encode(answer(item.task, item.utterance.labels)), END_ID]
            fits = len(targets) <= len(item.frames)
            made.append(CtcSample(item.utterance.id, item.frames, targets) if fits else "more_tokens_than_frames")
        return made

    def collate(self, samples: Sequence[CtcSample]) -> CtcBatch:
        """Their batch."""
        return collate_ctc(samples)
