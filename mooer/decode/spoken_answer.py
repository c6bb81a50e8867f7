"""Frames to an answer in text and speech: the LLM writes text, then <|audio_start|>, then audio tokens; its hidden states over
them are what the vocoder speaks.

A audio embeddings, L columns of a prompt, N generated tokens, D width of the LLM, T latents.

Only the choice of tokens is done for several utterances at once. What latents are made of is computed for each alone, so that
they are the same to the last bit whatever the company.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mooer.common.errors import ConfigError, DataError
from mooer.common.lengths import adapter_frames
from mooer.common.seed import derived_seed
from mooer.decode.generate import GenerateConfig, Generator, Prompt
from mooer.decode.hypothesis import CUT, REPETITION, TOO_SHORT, Refusal
from mooer.decode.repetition import is_repetitive
from mooer.decode.search import Generated
from mooer.features.frontend import FrontendConfig
from mooer.models.speech_llm import SpeechLlm
from mooer.text.prompts import Turn, chat_prompt
from mooer.text.speech_tokens import AUDIO_START, SILENT_POSITIONS
from mooer.text.tokenizer import decode_text, encode_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOO_LONG, NOT_FINITE = "too_long", "not_finite"
NO_AUDIO_START, NO_SPEECH = "no_audio_start", "no_speech"


@dataclass(frozen=True, kw_only=True)
class SpokenAnswerSettings:
    """What a speech LLM is asked, and how its answer is searched."""

    instruction: str
    """What the prompt asks."""
    max_new_tokens: int = 1000
    """Bound on each answer, text and audio tokens together."""
    seed: int = 0
    """What is drawn for an utterance follows from this and its id."""
    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    """What made the frames."""
    generate: GenerateConfig
    """How answers are searched."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens must be at least 1, found {self.max_new_tokens}")


@dataclass(frozen=True)
class Question:
    """An utterance that wants an answer."""

    id: str
    frames: Tensor
    """[frames, features]."""
    history: tuple[Turn, ...] = ()
    """Earlier turns of the conversation."""


@dataclass(frozen=True, kw_only=True)
class SpokenAnswer:
    """An answer before the vocoder has spoken it."""

    text: str
    """What is said."""
    tokens: tuple[int, ...]
    """All generated ids, the end-of-sequence token included where the LLM came to it."""
    flags: tuple[str, ...]
    """What is to be mistrusted: max_new_tokens (cut at the bound), repetition (the text runs in a circle)."""
    latents: Tensor
    """[T, D] float32, on the device of the LLM."""


@dataclass(frozen=True)
class SilentAnswer(Refusal):
    """An answer of which nothing can be spoken."""

    text: str
    """What the LLM wrote."""


class SpokenAnswerDecoder:
    """Answers with a SpeechLlm that is in eval mode and on its device.

    Raises:
        ConfigError: the LLM's tokenizer knows no <|audio_start|>.
    """

    def __init__(self, model: SpeechLlm, tokenizer: "PreTrainedTokenizerBase", settings: SpokenAnswerSettings) -> None:
        self._model, self._tokenizer, self._settings = model, tokenizer, settings
        self._audio_start = tokenizer.get_vocab().get(AUDIO_START)
        if self._audio_start is None:
            raise ConfigError(f"this LLM cannot speak: its tokenizer knows no {AUDIO_START}; name a model for speech out")
        self._generator = Generator(model.llm, tokenizer.eos_token_id, settings.generate)
        self._embedding_layer = model.llm.get_input_embeddings()
        self._device = self._embedding_layer.weight.device

    def check_history(self, history: Sequence[Turn]) -> None:
        """Raise DataError for a turn that would end itself, or begin another."""
        for turn in history:
            special = next((token for token in (AUDIO_START, *self._tokenizer.all_special_tokens) if token in turn.text), None)
            if special is not None:
                raise DataError(f"a turn of the history holds {special}, which means something else to the LLM; remove it")

    def decode(self, questions: Sequence[Question]) -> list[SpokenAnswer | Refusal]:
        """The answer to each question, the same as alone."""
        prompts = [self._make_prompt(question) for question in questions]
        results: list[SpokenAnswer | Refusal | None] = [item if isinstance(item, Refusal) else None for item in prompts]
        sound = [index for index, result in enumerate(results) if result is None]
        for place, generated in self._generator.run([prompts[index] for index in sound]):
            results[sound[place]] = self._read(prompts[sound[place]], generated)
        return results

    @torch.inference_mode()
    def _make_prompt(self, question: Question) -> Prompt | Refusal:
        """Audio embeddings, then the text that asks."""
        settings = self._settings
        num_frames = settings.frontend.encoder_frames(len(question.frames))
        num_embeddings = adapter_frames(num_frames, self._model.adapter.downsample_rate)
        if num_embeddings == 0:
            return Refusal(TOO_SHORT, "the recording is too short for a single embedding, so there is nothing to answer")
        ids = encode_prompt(self._tokenizer, chat_prompt(self._tokenizer, settings.instruction, question.history))
        context = getattr(self._model.llm.config, "max_position_embeddings", None)
        needed = num_embeddings + len(ids) + settings.max_new_tokens
        if context is not None and needed > context:
            return Refusal(TOO_LONG, f"{needed} positions are needed for audio, prompt and answer; the LLM has {context}")
        lengths = torch.tensor([len(question.frames)], device=self._device)
        audio, audio_lengths = self._model.encode(question.frames[None].to(self._device), lengths)
        text = self._embed(ids)
        embeddings = torch.cat([audio[0, : audio_lengths[0]].to(text.dtype), text])
        seed = derived_seed(settings.seed, question.id)
        return Prompt(embeddings=embeddings, max_new_tokens=settings.max_new_tokens, seed=seed)

    def _embed(self, ids: Sequence[int]) -> Tensor:
        """[N] -> [N, D]."""
        return self._embedding_layer(torch.tensor(ids, device=self._device))

    @torch.inference_mode()
    def _read(self, prompt: Prompt, generated: list[Generated]) -> SpokenAnswer | Refusal:
        """Ids to text and latents."""
        if not generated:
            return Refusal(NOT_FINITE, "the model's output is not finite for this recording")
        best = generated[0]
        ids = (*best.tokens, self._tokenizer.eos_token_id) if best.ended else best.tokens
        if self._audio_start not in ids:
            text = spoken_text(decode_text(self._tokenizer, best.tokens))
            message = f"the LLM wrote text alone, without {AUDIO_START}, so nothing is said: {text[:200]!r}"
            return SilentAnswer(NO_AUDIO_START, message, text)
        place = ids.index(self._audio_start)
        text = spoken_text(decode_text(self._tokenizer, ids[:place]))
        latents = speech_latents(self._model.llm, prompt.embeddings, self._embed(ids), place)
        if not len(latents):
            message = f"the answer ends within {SILENT_POSITIONS} tokens of {AUDIO_START}, so nothing is said"
            return SilentAnswer(NO_SPEECH, message, text)
        if not latents.isfinite().all():
            return Refusal(NOT_FINITE, "the model's hidden states are not finite for this recording")
        loops = is_repetitive(ids[:place])
        return SpokenAnswer(
            text=text,
            tokens=ids,
            flags=((CUT,) if not best.ended else ()) + ((REPETITION,) if loops else ()),
            latents=latents,
        )


def speech_latents(llm: nn.Module, prompt: Tensor, answer: Tensor, audio_start: int) -> Tensor:
    """What the vocoder speaks: the LLM's last hidden states from <|audio_start|> on, without those of the last positions.

    Args:
        llm: a causal LM of transformers.
        prompt: [L, D] embeddings.
        answer: [N, D] embeddings of all generated ids, the end-of-sequence token included.
        audio_start: which of the generated ids is the first <|audio_start|>, from 0 on.

    Returns:
        [T, D] float32, after the final norm; T = N - audio_start - 6, none if that is below 1.
    """
    inputs = torch.cat([prompt, answer])[None]
    hidden = llm.base_model(inputs_embeds=inputs, use_cache=False).last_hidden_state[0]  # [L + N, D]
    return hidden[len(prompt) + audio_start : max(0, len(hidden) - SILENT_POSITIONS)].float()


def spoken_text(text: str) -> str:
    """The text of an answer, in which a backslash and an n stand for a line end, as the released models write it."""
    return text.replace("\\n", "\n")
