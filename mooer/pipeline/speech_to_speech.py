"""Recordings to spoken answers: each is read, answered by the speech LLM, and spoken in the voice that is asked for.

A recording that cannot be read, or gets no answer in speech, becomes a Failure and leaves the others alone. A result depends on
the recording, its id and its history alone, not on the others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from mooer.common.errors import AudioError
from mooer.common.lengths import SAMPLE_RATE
from mooer.data.utterance import Problem
from mooer.decode.hypothesis import Failure, Refusal
from mooer.decode.spoken_answer import Question, SilentAnswer
from mooer.pipeline.recording_sources import Recording
from mooer.pipeline.speech_folder import SpeechFolder
from mooer.pipeline.speech_models import SpeechModels
from mooer.pipeline.spoken import Spoken, Unspoken, key_of
from mooer.text.conversation import Conversations


@dataclass(frozen=True)
class _Heard:
    """A recording that was read."""

    question: Question
    voice: Tensor | None
    seconds: float


def answer_recordings(
    models: SpeechModels,
    recordings: Sequence[Recording | Problem],
    conversations: Conversations | None = None,
    folder: SpeechFolder | None = None,
) -> Iterator[Spoken | Failure]:
    """The answer to each recording, in their order; a folder keeps them, and those that it has already are left out."""
    conversations = conversations or Conversations()
    missing = [item for item in recordings if folder is None or not folder.has(key_of(item))]
    for start in range(0, len(missing), models.config.batch_size):
        window = missing[start : start + models.config.batch_size]
        for item, result in zip(window, _answer(models, window, conversations), strict=True):
            if folder is not None:
                folder.add(item, result)
            yield result


def _answer(
    models: SpeechModels, window: Sequence[Recording | Problem], conversations: Conversations
) -> Iterator[Spoken | Failure]:
    """The answers to recordings that are decoded together."""
    heard = [_hear(models, item, conversations) for item in window]
    answers = iter(models.answers.decode([item.question for item in heard if isinstance(item, _Heard)]))
    for item in heard:
        if isinstance(item, Failure):
            yield item
            continue
        answer, key = next(answers), item.question.id
        if isinstance(answer, SilentAnswer):
            yield Unspoken(key, answer.reason, answer.message, answer.text)
            continue
        if isinstance(answer, Refusal):
            yield Failure(key, answer.reason, answer.message)
            continue
        yield Spoken(
            key=key,
            text=answer.text,
            waveform=models.speak(answer.latents, item.voice),
            sample_rate=models.vocoder.config.sampling_rate,
            seconds=item.seconds,
            tokens=answer.tokens,
            flags=answer.flags,
        )


def _hear(models: SpeechModels, item: Recording | Problem, conversations: Conversations) -> _Heard | Failure:
    if isinstance(item, Problem):
        return Failure(item.id, item.reason, item.message)
    try:
        with item.opened() as source:
            waveform = models.read(source, item.start, item.end)
        question = Question(item.key, models.frontend(waveform), conversations.before(item.key))
        return _Heard(question, models.voice(waveform), len(waveform) / SAMPLE_RATE)
    except AudioError as error:
        return Failure(item.key, error.reason, f"{item.path}: {error}")
