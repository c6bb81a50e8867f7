"""mooer-demo: a page in the browser that recognises recordings and a microphone."""

from typing import TYPE_CHECKING, Any

import click

from mooer.cli._command import command
from mooer.cli._options import PATH, speech_models_of, vocoder_options

if TYPE_CHECKING:
    from mooer.serve.demo_model import DemoModel
    from mooer.serve.demo_speech import DemoSpeech

SPEECH_TASKS = ("s2s_trans", "s2s_chat")
# What goes with these tasks alone, and with the others alone.
SPEECH_OPTIONS = ("vocoder_path", "vocoder_config", "spk_encoder_path", "prompt_wav_path", "voice_from_input")
TEXT_OPTIONS = ("target_language", "vad_dir", "punc_dir", "spk_dir", "align_dir", "max_seconds")
SERVER_OPTIONS = ("server_name", "server_port", "share")


@command
@click.option("--model_dir", type=PATH, help="Recogniser, as mooer-decode takes it. [default: mini]")
@click.option(
    "--task",
    type=click.Choice(["asr", "ast", "mtl", *SPEECH_TASKS]),
    help="Transcribe, translate or both; translate or answer in speech. [default: asr]",
)
@click.option("--target_language", type=click.Choice(["en", "zh"]), help="Of the translation. [default: en]")
@click.option("--vad_dir", type=PATH, help="Published FSMN-VAD: recordings of any length, with sentences and subtitles.")
@click.option("--punc_dir", type=PATH, help="Published CT-Transformer, for punctuation and sentences.")
@click.option("--spk_dir", type=PATH, help="Published CAM++, for speakers.")
@click.option("--align_dir", type=PATH, help="Paraformer or CTC model that tells when the words of a speech LLM are said.")
@vocoder_options(is_required=False)
@click.option("--beam_size", type=click.IntRange(1, 64), help="1 is greedy search. [default: by the model]")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16", "int8", "fast"]), help="[default: float32]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "musa"]), help="[default: auto]")
@click.option("--max_seconds", type=click.FloatRange(0, min_open=True), help="Longest recording. [default: 3600]")
@click.option("--server_name", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--server_port", type=click.IntRange(1, 65535), help="[default: the first free one from 7860 on]")
@click.option("--share", is_flag=True, help="Also ask gradio.live for an address that everybody can reach.")
def main(**options: Any) -> None:
    """Serve a page that turns recordings and what a microphone hears into text, or answers them in speech; ends with Ctrl+C.

    Everybody who reaches the address may use it.
    """
    _require_gradio()
    from mooer.serve.demo import running_demo

    server = {name: options.pop(name) for name in SERVER_OPTIONS}
    model = _open_model({name: value for name, value in options.items() if value is not None})
    with running_demo(model, **server) as address:
        click.echo(address)
        _wait()


def _open_model(given: dict[str, Any]) -> "DemoModel | DemoSpeech":
    """What the page asks."""
    _check_together(given)
    if given.get("task") in SPEECH_TASKS:
        from mooer.serve.demo_speech import DemoSpeech

        return DemoSpeech(speech_models_of(given))
    from mooer.serve.demo_model import DemoConfig, DemoModel

    return DemoModel(DemoConfig(**given))


def _check_together(given: dict[str, Any]) -> None:
    """Raise ConfigError for options of text beside a task of speech, the other way round, and where models are missing."""
    from mooer.common.device import DTYPES
    from mooer.common.errors import ConfigError

    task = given.get("task", "asr")
    if task not in SPEECH_TASKS:
        if name := next((name for name in SPEECH_OPTIONS if name in given), None):
            tasks = " or ".join(SPEECH_TASKS)
            raise ConfigError(f"--{name} does not go with --task {task}; ask for --task {tasks}, or leave it out")
        return
    if name := next((name for name in TEXT_OPTIONS if name in given), None):
        raise ConfigError(f"--{name} does not go with --task {task}, which answers in speech; leave it out")
    if given.get("dtype", DTYPES[0]) not in DTYPES:
        raise ConfigError(f"--dtype {given['dtype']} does not go with --task {task}; allowed: {', '.join(DTYPES)}")
    if name := next((name for name in ("model_dir", "vocoder_path") if name not in given), None):
        what = {"model_dir": "a speech LLM", "vocoder_path": "a vocoder"}[name]
        raise ConfigError(f"--task {task} needs {what}; name one (--{name})")


def _require_gradio() -> None:
    """Exits with a message where the package of the extra `demo` is not installed."""
    from importlib.util import find_spec

    from mooer.common.errors import ConfigError

    if find_spec("gradio") is None:
        raise ConfigError("mooer-demo needs the package gradio; install the extra: pip install 'mooer[demo]'")


def _wait() -> None:
    """Until SIGINT or SIGTERM."""
    import signal
    import threading

    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    end.wait()
