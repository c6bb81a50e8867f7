"""The tab of the demo page for models that answer in speech."""

from collections.abc import Sequence
from typing import Any

from mooer.pipeline.spoken import Spoken, Unspoken
from mooer.serve.demo_parts import ONE_AT_A_TIME, recording_box, require_recording, text_box, told_to_people, warn_of
from mooer.serve.demo_speech import DemoSpeech, speech_of
from mooer.text.prompts import Turn

_BEGIN_ANEW = "Begin anew"


def speech_tab(gr: Any, model: DemoSpeech) -> None:
    """A recording, and its answer in text and speech; a chat goes on from answer to answer until one begins anew."""
    is_chat = model.task == "s2s_chat"
    with gr.Row(equal_height=False):
        with gr.Column():
            audio = recording_box(gr)
            button = gr.Button("Answer" if is_chat else "Translate", variant="primary", elem_id="recognise")
        with gr.Column():
            text = text_box(gr, "Answer" if is_chat else "Translation")
            speech = gr.Audio(
                label="Speech", type="filepath", interactive=False, editable=False, buttons=["download"], elem_id="speech"
            )
            anew = gr.Button(_BEGIN_ANEW, interactive=False, visible=is_chat, elem_id="anew")
    history = gr.State(())

    def answer(path: str | None, turns: Sequence[Turn]) -> tuple[str, bytes | None, Sequence[Turn], Any]:
        with told_to_people(gr):
            found = model.answer(require_recording(path), turns)
        _warn(gr, found)
        remembered = (*turns, *model.turns_of(found)) if is_chat else ()
        return found.text, speech_of(found), remembered, _anew(gr, remembered)

    def begin_anew() -> tuple[None, str, None, Sequence[Turn], Any]:
        return None, "", None, (), _anew(gr, ())

    outputs = [text, speech, history, anew]
    button.click(answer, [audio, history], outputs, show_progress="minimal", **ONE_AT_A_TIME)
    anew.click(begin_anew, None, [audio, *outputs], show_progress="hidden", **ONE_AT_A_TIME)


def _anew(gr: Any, turns: Sequence[Turn]) -> Any:
    """The button says how many answers it makes the page forget."""
    remembered = sum(turn.role == "assistant" for turn in turns)
    label = f"{_BEGIN_ANEW} (answers remembered: {remembered})" if remembered else _BEGIN_ANEW
    return gr.update(value=label, interactive=remembered > 0)


def _warn(gr: Any, answer: Spoken | Unspoken) -> None:
    if isinstance(answer, Unspoken):
        gr.Warning(f"This answer has no speech: {answer.message}", duration=None)
    else:
        warn_of(gr, answer.flags)
