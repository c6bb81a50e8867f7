"""Frames to text by encoder, adapter and LLM.

T frames of an utterance, A audio embeddings, L columns, D width of the LLM.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mooer.common.errors import ConfigError
from mooer.common.lengths import adapter_frames
from mooer.decode.batching import batch_frames, group_by_length
from mooer.decode.generate import GenerateConfig, Generator, Prompt, mean_log_prob
from mooer.decode.hypothesis import CUT, REPETITION, TOO_SHORT, Alternative, Answer, Refusal
from mooer.decode.repetition import is_repetitive
from mooer.decode.search import Generated
from mooer.features.frontend import FrontendConfig
from mooer.models.speech_llm import SpeechLlm
from mooer.text.prompts import chat_prompt, split_multitask
from mooer.text.tokenizer import decode_settled_text, decode_text, encode_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_NEW_TOKENS = 200
TOKENS_A_SECOND = 15
TOKENS_AT_LEAST = 20
# A longer utterance takes the places of several.
SECONDS_OF_A_PLACE = 15


def default_max_new_tokens(seconds: float, lines: int = 1) -> int:
    """The bound on an answer to a recording of some length: more than anybody says, far less than a loop.

    Args:
        lines: of the answer; transcript and translation are two.
    """
    return min(MAX_NEW_TOKENS, lines * (math.ceil(TOKENS_A_SECOND * seconds) + TOKENS_AT_LEAST))


@dataclass(frozen=True, kw_only=True)
class SpeechLlmSettings:
    """What a speech LLM is asked, and how it is searched."""

    instruction: str
    """What the prompt asks."""
    is_multitask: bool = False
    """Whether the answer is two lines, transcript and translation."""
    max_new_tokens: int | None = None
    """Bound on each answer; None lets it follow the length of the recording, at most 200."""
    costs_seconds: bool = False
    """Whether `generate.max_cost` counts seconds of audio and not utterances."""
    num_alternatives: int = 0
    """How many of the best answers to keep; at most the beams."""
    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    """What made the frames."""
    generate: GenerateConfig
    """How answers are searched."""

    def __post_init__(self) -> None:
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens must be at least 1, found {self.max_new_tokens}")
        if not 0 <= self.num_alternatives <= self.generate.beam_size:
            raise ConfigError(
                f"{self.num_alternatives} best answers were asked for, but beam_size is {self.generate.beam_size}; "
                "there are no more answers than beams"
            )


class SpeechLlmDecoder:
    """Decodes with a SpeechLlm that is in eval mode and on its device."""

    def __init__(self, model: SpeechLlm, tokenizer: "PreTrainedTokenizerBase", settings: SpeechLlmSettings) -> None:
        self._model, self._tokenizer, self._settings = model, tokenizer, settings
        self._generator = Generator(model.llm, tokenizer.eos_token_id, settings.generate)
        greedy = dataclasses.replace(settings.generate, beam_size=1)
        self._greedy_generator = Generator(model.llm, tokenizer.eos_token_id, greedy)
        self._embedding_layer = model.llm.get_input_embeddings()
        self._device = self._embedding_layer.weight.device
        prompt_ids = encode_prompt(tokenizer, chat_prompt(tokenizer, settings.instruction))
        with torch.inference_mode():
            self._prompt = self._embedding_layer(torch.tensor(prompt_ids, device=self._device))  # [L, D]

    def decode(self, frames: Sequence[Tensor]) -> list[Answer | Refusal]:
        """The answer to each utterance's frames [T_i, features], computed together, the same as alone."""
        return self.answer(self.prepare(frames))

    def prepare(self, frames: Sequence[Tensor]) -> list[Prompt | Answer | Refusal]:
        """What the LLM is to be asked for each utterance's frames [T_i, features], or the result if it is not to be asked."""
        prepared: list[Prompt | Answer | Refusal | None] = [self._without_decoding(len(item)) for item in frames]
        decodable = [index for index, result in enumerate(prepared) if result is None]
        audio = self._embed([frames[index] for index in decodable])
        for index, item in zip(decodable, audio, strict=True):
            prepared[index] = self._make_prompt(item, len(frames[index]))
        return prepared

    def answer(self, prepared: Sequence[Prompt | Answer | Refusal]) -> list[Answer | Refusal]:
        """The results of what was prepared, together or apart."""
        results = list(prepared)
        asked = [index for index, item in enumerate(prepared) if isinstance(item, Prompt)]
        for place, generated in self._generator.run([prepared[index] for index in asked]):
            results[asked[place]] = self._read(generated)
        return results

    def stream(self, frames: Tensor) -> Iterator[Answer | Refusal]:
        """The answer to an utterance's frames [T, features] as greedy search writes it.

        The last one is what `decode` gives with beam_size 1. Those before it hold text, translation and tokens only; each goes
        on where the one before it ended.
        """
        result = self._without_decoding(len(frames))
        if result is not None:
            yield result
            return
        (audio,) = self._embed([frames])
        shown = ""
        generated: list[Generated] = []
        for generated in self._greedy_generator.grow(self._make_prompt(audio, len(frames))):
            if generated and not generated[0].ended:
                answer = self._settled(generated[0])
                if answer.full_text != shown and answer.full_text.startswith(shown):
                    shown = answer.full_text
                    yield answer
        yield self._read(generated)

    def _settled(self, generated: Generated) -> Answer:
        """What is certain of an answer that may go on."""
        text, translation = decode_settled_text(self._tokenizer, generated.tokens), None
        if self._settings.is_multitask:
            text, translation = split_multitask(text)
        return Answer(text=text, tokens=generated.tokens, translation=translation)

    def _without_decoding(self, num_frames: int) -> Answer | Refusal | None:
        """The result of an utterance that is too short or too long for the LLM; None for all others."""
        encoder_frames = self._settings.frontend.encoder_frames(num_frames)
        num_embeddings = adapter_frames(encoder_frames, self._model.adapter.downsample_rate)
        if num_embeddings == 0:
            return Answer(text="", flags=(TOO_SHORT,))
        context = getattr(self._model.llm.config, "max_position_embeddings", None)
        needed = num_embeddings + len(self._prompt) + self._bound(num_frames)
        if context is not None and needed > context:
            return Refusal("too_long", f"{needed} positions are needed for audio, prompt and answer; the LLM has {context}")
        return None

    def _bound(self, num_frames: int) -> int:
        settings = self._settings
        if settings.max_new_tokens is not None:
            return settings.max_new_tokens
        return default_max_new_tokens(self._seconds(num_frames), 2 if settings.is_multitask else 1)

    def _seconds(self, num_frames: int) -> float:
        return num_frames * self._settings.frontend.frame_seconds

    @torch.inference_mode()
    def _embed(self, frames: Sequence[Tensor]) -> list[Tensor]:
        """Audio embeddings [A_i, D] of each utterance."""
        embeddings: list[Tensor | None] = [None] * len(frames)
        computed = [self._settings.frontend.computed_frames(len(item)) for item in frames]
        for group in group_by_length(computed, batch_frames(self._device)):
            padded = torch.nn.utils.rnn.pad_sequence([frames[index] for index in group], batch_first=True)
            lengths = torch.tensor([len(frames[index]) for index in group])
            audio, audio_lengths = self._model.encode(padded.to(self._device), lengths.to(self._device))
            for index, row, length in zip(group, audio, audio_lengths.tolist(), strict=True):
                embeddings[index] = row[:length]
        return embeddings

    def _make_prompt(self, audio: Tensor, num_frames: int) -> Prompt:
        embeddings = torch.cat([audio.to(self._prompt.dtype), self._prompt])
        seconds = self._seconds(num_frames)
        cost = seconds if self._settings.costs_seconds else max(1.0, seconds / SECONDS_OF_A_PLACE)
        return Prompt(embeddings=embeddings, max_new_tokens=self._bound(num_frames), cost=cost)

    def _read(self, generated: list[Generated]) -> Answer | Refusal:
        """Ids to text."""
        if not generated:
            return Refusal("not_finite", "the model's output is not finite for this recording")
        best = generated[0]
        text, translation = self._text(best), None
        if self._settings.is_multitask:
            text, translation = split_multitask(text)
        flags = ((CUT,) if not best.ended else ()) + ((REPETITION,) if is_repetitive(best.tokens) else ())
        alternatives = [
            Alternative(self._text(item), item.tokens, item.score) for item in generated[: self._settings.num_alternatives]
        ]
        return Answer(
            text=text,
            tokens=best.tokens,
            score=best.score,
            mean_log_prob=mean_log_prob(best, self._settings.generate),
            translation=translation,
            flags=flags,
            alternatives=tuple(alternatives),
        )

    def _text(self, generated: Generated) -> str:
        return decode_text(self._tokenizer, generated.tokens)
