"""A page in the browser: recordings and a microphone to text or speech. Nothing is fetched from elsewhere, nothing told."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mooer.common.errors import ConfigError
from mooer.decode.hypothesis import Answer
from mooer.pipeline.subtitles import srt
from mooer.pipeline.transcription import Transcription
from mooer.serve.demo_model import DemoModel, Listener
from mooer.serve.demo_parts import ONE_AT_A_TIME, recording_box, require_recording, text_box, told_to_people, warn_of
from mooer.serve.demo_speech import DemoSpeech
from mooer.serve.demo_speech_tab import speech_tab

if TYPE_CHECKING:
    import gradio

MAX_UPLOAD = "1gb"
# How long an uploaded recording is kept, in seconds, and how often one looks.
_KEEP, _LOOK = 3600, 600
_WAITING = 64
# A piece of the microphone, in seconds.
_PIECE = 0.5
_CSS = """
.gradio-container { width: 100% !important; max-width: 1120px !important; margin: 0 auto; }
#title h1 { margin-bottom: 0; }
#title p { color: var(--body-text-color-subdued); }
"""


@contextmanager
def running_demo(
    model: DemoModel | DemoSpeech, server_name: str = "127.0.0.1", server_port: int | None = None, share: bool = False
) -> Iterator[str]:
    """The address of the page while it is served. What was uploaded is removed after an hour, and all of it at the end.

    Args:
        server_port: None for the first free one from 7860 on.
        share: whether to ask gradio.live for an address that everybody can reach.

    Raises:
        ConfigError: the address cannot be used, or there is no public one.
    """
    with tempfile.TemporaryDirectory(prefix="mooer-demo-") as folder:
        # Gradio reads these when it is imported, and when a page is made.
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_TEMP_DIR": folder}
        page = make_page(model, Path(folder))
        try:
            _, local, public = page.launch(
                server_name=server_name,
                server_port=server_port,
                share=share,
                max_file_size=MAX_UPLOAD,
                theme=_theme(),
                css=_CSS,
                footer_links=[],
                run_history=False,
                ssr_mode=False,
                prevent_thread_lock=True,
                quiet=True,
            )
        except OSError as error:
            raise ConfigError(
                f"the page cannot be served at {server_name}, port {server_port or '7860 to 7959'}: {error}"
            ) from error
        try:
            if share and not public:
                raise ConfigError("gradio.live gave no public address; is there a network? Without --share none is needed")
            yield public or local
        finally:
            page.close(verbose=False)


def make_page(model: DemoModel | DemoSpeech, folder: Path) -> "gradio.Blocks":
    """The page.

    Args:
        folder: gets the subtitles.
    """
    import gradio as gr

    with gr.Blocks(title="mooer", analytics_enabled=False, fill_width=True, delete_cache=(_LOOK, _KEEP)) as page:
        gr.Markdown(f"# mooer\n{model.description}", elem_id="title")
        with gr.Tab("Recording"):
            if isinstance(model, DemoSpeech):
                speech_tab(gr, model)
            else:
                _recording_tab(gr, model, folder)
        if isinstance(model, DemoModel):
            with gr.Tab("Live"):
                _live_tab(gr, model)
    return page.queue(max_size=_WAITING)


def _theme() -> "gradio.themes.Base":
    """Plain, with the fonts of the reader's own system: those of the usual theme come from the network."""
    from gradio import themes

    fonts = {"font": ["system-ui", "Noto Sans CJK SC", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    return themes.Default(primary_hue="teal", neutral_hue="slate", radius_size="sm", **fonts)


def _recording_tab(gr: Any, model: DemoModel, folder: Path) -> None:
    config = model.config
    with gr.Row(equal_height=False):
        with gr.Column():
            audio = recording_box(gr)
            grows = gr.Checkbox(
                label="Show the text while it is written (greedy search)",
                value=model.writes_tokens and not config.is_long,
                visible=model.writes_tokens,
                elem_id="grows",
            )
            button = gr.Button("Recognise", variant="primary", elem_id="recognise")
        with gr.Column():
            outputs = _boxes(gr, config.task)
            if config.is_long:
                outputs += [_table(gr, config.spk_dir is not None)]
                outputs += [gr.DownloadButton("Subtitles (srt)", size="md", interactive=False, elem_id="srt")]

    def recognise(path: str | None, is_growing: bool) -> Iterator[list[Any]]:
        with told_to_people(gr):
            yield from _results(gr, model, require_recording(path), is_growing, folder)

    button.click(recognise, [audio, grows], outputs, show_progress="minimal", **ONE_AT_A_TIME)


def _boxes(gr: Any, task: str) -> list[Any]:
    """Those for the texts of a task, in the order of `_texts`."""
    labels = {"asr": ["Transcript"], "ast": ["Translation"], "mtl": ["Transcript", "Translation"]}[task]
    return [text_box(gr, label) for label in labels]


def _table(gr: Any, has_speakers: bool) -> Any:
    """That of the sentences, with the columns of `_rows`."""
    headers, widths = ["Start", "End", "Sentence"], ["17%", "17%", "66%"]
    if has_speakers:
        headers, widths = ["Start", "End", "Speaker", "Sentence"], ["17%", "17%", "16%", "50%"]
    return gr.Dataframe(
        headers=headers, column_widths=widths, interactive=False, wrap=True, label="Sentences", elem_id="sentences"
    )


def _texts(answer: Answer, task: str) -> list[str]:
    return [answer.text, answer.translation or ""] if task == "mtl" else [answer.text]


def _results(gr: Any, model: DemoModel, path: str, is_growing: bool, folder: Path) -> Iterator[list[Any]]:
    """The values of all outputs, again and again."""
    config, samples = model.config, model.read(path)
    nothing = [None, gr.update(value=None, interactive=False)] if config.is_long else []
    if is_growing:
        for answer in model.grow(samples):
            yield [*_texts(answer, config.task), *nothing]
        warn_of(gr, answer.flags)
    elif config.is_long:
        found = model.transcribe(samples, Path(path).stem)
        subtitles = Path(tempfile.mkdtemp(dir=folder)) / f"{Path(path).stem}.srt"
        subtitles.write_text(srt(found), encoding="utf-8")
        yield [found.text, _rows(found, config.spk_dir is not None), gr.update(value=str(subtitles), interactive=True)]
        warn_of(gr, found.flags)
    else:
        answer = model.recognize(samples)
        yield _texts(answer, config.task)
        warn_of(gr, answer.flags)


def _rows(transcription: Transcription, has_speakers: bool) -> list[list[str]]:
    """The table of sentences; a segment that failed says why."""
    rows = [
        (item.start, item.end, "" if item.speaker is None else f"spk{item.speaker}", item.text)
        for item in transcription.sentences
    ]
    rows += [(item.start, item.end, "", f"[{item.message}]") for item in transcription.failures]
    return [[_clock(start), _clock(end), *([who] if has_speakers else []), text] for start, end, who, text in sorted(rows)]


def _clock(milliseconds: int) -> str:
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes:d}:{rest / 1000:06.3f}"


def _live_tab(gr: Any, model: DemoModel) -> None:
    gr.Markdown("Speak: the last line is what was understood so far, and each pause ends a line.")
    audio = gr.Audio(label="Microphone", sources=["microphone"], type="numpy", streaming=True, elem_id="microphone")
    text = gr.Textbox(label="Text", lines=8, buttons=["copy"], elem_id="live")
    listener = gr.State(None)

    def begin() -> tuple[Listener, str]:
        return model.listen(), ""

    def hear(piece: Any, listening: Listener | None) -> tuple[Listener | None, Any]:
        if listening is None or piece is None:
            return listening, gr.skip()
        with told_to_people(gr):
            listening.accept(*piece)
        return listening, listening.text

    def end(listening: Listener | None) -> tuple[None, Any]:
        if listening is None:
            return None, gr.skip()
        with told_to_people(gr):
            listening.finish()
        return None, listening.text

    quiet = {"show_progress": "hidden", **ONE_AT_A_TIME}
    audio.start_recording(begin, None, [listener, text], **quiet)
    audio.stream(hear, [audio, listener], [listener, text], stream_every=_PIECE, time_limit=None, **quiet)
    audio.stop_recording(end, listener, [listener, text], **quiet)
