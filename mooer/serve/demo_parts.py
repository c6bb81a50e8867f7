"""What all tabs of the demo page have: a recording, a queue, and how flags and errors reach the person."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mooer.common.errors import ConfigError, MooerError
from mooer.decode.hypothesis import CUT, REPETITION, TOO_SHORT

# One after another: a model answers one question at a time.
ONE_AT_A_TIME = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
_FLAGS = {
    TOO_SHORT: "the recording is too short",
    CUT: "it was cut at its longest length",
    REPETITION: "it runs in a circle",
}


def recording_box(gr: Any) -> Any:
    """Takes a file or the microphone; its value is a path, or None."""
    return gr.Audio(
        label="Recording",
        sources=["upload", "microphone"],
        type="filepath",
        buttons=[],
        editable=False,
        elem_id="recording",
    )


def text_box(gr: Any, label: str) -> Any:
    """A text to read and copy."""
    return gr.Textbox(label=label, lines=4, buttons=["copy"], elem_id=label.lower())


def require_recording(path: str | None) -> str:
    """The path of a recording. Raises ConfigError where there is none."""
    if path is None:
        raise ConfigError("there is no recording yet: choose a file, or record one")
    return path


def warn_of(gr: Any, flags: Sequence[str]) -> None:
    """Show why a text is to be mistrusted, if it is."""
    if flags:
        gr.Warning(f"This text is to be mistrusted: {'; '.join(_FLAGS[flag] for flag in flags)}.", duration=None)


@contextmanager
def told_to_people(gr: Any) -> Iterator[None]:
    """Messages of the library are shown as they are."""
    try:
        yield
    except MooerError as error:
        raise gr.Error(str(error), duration=None, print_exception=False) from error
