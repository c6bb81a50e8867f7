"""mooer-demo: a page in the browser that recognises recordings and a microphone."""

from typing import Any

import click

from mooer.cli._command import command
from mooer.cli._options import PATH

SERVER_OPTIONS = ("server_name", "server_port", "share")


@command
@click.option("--model_dir", type=PATH, help="Recogniser, as mooer-decode takes it. [default: mini]")
@click.option("--task", type=click.Choice(["asr", "ast", "mtl"]), help="Transcribe, translate or both. [default: asr]")
@click.option("--target_language", type=click.Choice(["en", "zh"]), help="Of the translation. [default: en]")
@click.option("--vad_dir", type=PATH, help="Published FSMN-VAD: recordings of any length, with sentences and subtitles.")
@click.option("--punc_dir", type=PATH, help="Published CT-Transformer, for punctuation and sentences.")
@click.option("--spk_dir", type=PATH, help="Published CAM++, for speakers.")
@click.option("--align_dir", type=PATH, help="Paraformer or CTC model that tells when the words of a speech LLM are said.")
@click.option("--beam_size", type=click.IntRange(1, 64), help="1 is greedy search. [default: by the model]")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16", "int8", "fast"]), help="[default: float32]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "musa"]), help="[default: auto]")
@click.option("--max_seconds", type=click.FloatRange(0, min_open=True), help="Longest recording. [default: 3600]")
@click.option("--server_name", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--server_port", type=click.IntRange(1, 65535), help="[default: the first free one from 7860 on]")
@click.option("--share", is_flag=True, help="Also ask gradio.live for an address that everybody can reach.")
def main(**options: Any) -> None:
    """Serve a page that turns recordings and what a microphone hears into text; ends with Ctrl+C.

    Everybody who reaches the address may use it.
    """
    _require_gradio()
    from mooer.serve.demo import running_demo
    from mooer.serve.demo_model import DemoConfig, DemoModel

    server = {name: options.pop(name) for name in SERVER_OPTIONS}
    config = DemoConfig(**{name: value for name, value in options.items() if value is not None})
    with running_demo(DemoModel(config), **server) as address:
        click.echo(address)
        _wait()


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
