"""mooer-serve: speech recognition over HTTP, as OpenAI's audio API, and over WebSockets."""

from typing import Any

import click

from mooer.cli._command import command
from mooer.cli._options import PATH

MODEL_OPTIONS = ("model_dir", "task", "vad_dir", "punc_dir", "align_dir", "beam_size", "dtype", "device")
SERVICE_OPTIONS = ("batch_size", "batch_window_ms", "max_queue", "timeout", "max_seconds", "readers", "max_live")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@command
@click.option("--model_dir", type=PATH, help="Recogniser, as mooer-decode takes it. [default: mini]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=10010, show_default=True, help="0 for a free one.")
@click.option("--model_name", multiple=True, help="What requests call the model, once or more. [default: its folder's name]")
@click.option("--task", type=click.Choice(["asr", "ast", "mtl"]), help="[default: all that the model knows, or asr]")
@click.option("--languages", help="What requests may name as the language of a recording, as en,zh. [default: none]")
@click.option("--vad_dir", type=PATH, help="Published FSMN-VAD: recordings of any length, with segments.")
@click.option("--punc_dir", type=PATH, help="Published CT-Transformer, for punctuation and sentences.")
@click.option("--align_dir", type=PATH, help="Paraformer or CTC model that tells when the words of a speech LLM are said.")
@click.option("--beam_size", type=click.IntRange(1, 64), help="Of a speech LLM; 1 is greedy search. [default: 4]")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16", "int8", "fast"]), help="[default: float32]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "musa"]), help="[default: auto]")
@click.option("--batch_size", type=click.IntRange(min=1), help="Recordings decoded together. [default: 32]")
@click.option("--batch_window_ms", type=click.FloatRange(0, 10_000), help="How long the first waits for others. [default: 10]")
@click.option("--max_queue", type=click.IntRange(min=1), help="Requests answered at a time; more get 429. [default: 256]")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Seconds for a request, then 504. [default: 120]")
@click.option("--max_upload_mb", type=click.FloatRange(0, min_open=True), help="Largest body, else 413. [default: 25]")
@click.option("--max_seconds", type=click.FloatRange(0, min_open=True), help="Longest recording. [default: the model's]")
@click.option("--readers", type=click.IntRange(min=1), help="Threads that read recordings. [default: 2]")
@click.option("--max_live", type=click.IntRange(min=1), help="WebSockets heard at a time. [default: 8]")
@click.option("--api_key_file", type=PATH, help="File of keys, one a line; requests must bear one of them.")
def main(**options: Any) -> None:
    """Answer requests for transcripts and translations: OpenAI's audio endpoints, and live audio over WebSockets.

    SIGTERM ends the server when all that it accepted is answered. Without --api_key_file everybody who reaches the address
    may ask.
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    _require_packages()
    from mooer.common.log import get_logger
    from mooer.serve.config import ServedModelConfig, ServiceConfig, read_api_keys
    from mooer.serve.served_model import ServedModel
    from mooer.serve.server import bound_memory, serve

    bound_memory()
    keys = read_api_keys(given["api_key_file"]) if "api_key_file" in given else ()
    bounds = {"max_upload_bytes": int(given["max_upload_mb"] * (1 << 20))} if "max_upload_mb" in given else {}
    service = ServiceConfig(**_chosen(given, SERVICE_OPTIONS), **bounds, api_keys=keys)
    names, languages = given.get("model_name", ()), tuple(filter(None, given.get("languages", "").split(",")))
    config = ServedModelConfig(**_chosen(given, MODEL_OPTIONS), names=names, languages=languages)
    if given["host"] not in LOOPBACK and not keys:
        get_logger(__name__).warning("everybody who reaches %s may ask; --api_key_file names keys", given["host"])
    serve(ServedModel(config, service.batch_size), service, given["host"], given["port"])


def _chosen(given: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: given[name] for name in names if name in given}


def _require_packages() -> None:
    """Exits with a message where the packages of the extra `serve` are not installed."""
    from importlib.util import find_spec

    from mooer.common.errors import ConfigError

    needed = ("fastapi", "uvicorn", "websockets", "prometheus_client", "python_multipart")
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise ConfigError(f"mooer-serve needs {', '.join(missing)}; install the extra: pip install 'mooer[serve]'")
