"""The models behind a demo page that answers in speech, asked in one way."""

from collections.abc import Sequence
from pathlib import Path

from mooer.common.errors import AudioError
from mooer.data.packing import encode_audio
from mooer.decode.hypothesis import Failure
from mooer.pipeline.recording_sources import recordings_of_files
from mooer.pipeline.speech_models import SpeechModels
from mooer.pipeline.speech_to_speech import answer_recordings
from mooer.pipeline.spoken import Spoken, Unspoken
from mooer.text.conversation import Conversations
from mooer.text.prompts import Turn


class DemoSpeech:
    """Answers recordings by path in speech, as mooer-speak does it: what is drawn follows from the seed and the file's name."""

    def __init__(self, models: SpeechModels) -> None:
        self._models = models
        self.task = models.config.task

    @property
    def description(self) -> str:
        """What the page does, in Markdown."""
        does = {"s2s_trans": "Spoken translation to English", "s2s_chat": "Spoken answers"}[self.task]
        return f"{does} with the model `{Path(self._models.paths.model_dir or '').name}`"

    def answer(self, path: str, history: Sequence[Turn] = ()) -> Spoken | Unspoken:
        """The answer to a recording.

        Raises:
            AudioError: it cannot be read, or there is no answer; this names the file and not the folder where it was put.
            DataError: a turn of the history means something else to the LLM.
        """
        self._models.answers.check_history(history)
        conversations = Conversations([(None, turn) for turn in history])
        (result,) = answer_recordings(self._models, recordings_of_files([path], allow_url=False), conversations)
        if isinstance(result, Failure) and not isinstance(result, Unspoken):
            raise AudioError(result.message.removeprefix(f"{path}: ").replace(path, Path(path).name), result.reason)
        return result

    def turns_of(self, answer: Spoken | Unspoken) -> tuple[Turn, ...]:
        """What a conversation remembers of an answer; none where it has no text.

        Nobody wrote down what the person said, so the question is what the prompt asks: all of its text that the LLM was shown.
        """
        text = answer.text.strip()
        return (Turn("user", self._models.instruction.strip()), Turn("assistant", text)) if text else ()


def speech_of(answer: Spoken | Unspoken) -> bytes | None:
    """A wav file, as mooer-speak writes it; None for an answer without speech."""
    return None if isinstance(answer, Unspoken) else encode_audio(answer.waveform, "wav", answer.sample_rate)
