"""What was heard, in the forms in which OpenAI's audio endpoints answer."""

import json
import zlib
from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from mooer.decode.hypothesis import Word
from mooer.pipeline.subtitles import srt, vtt
from mooer.pipeline.transcription import Sentence, Transcription
from mooer.serve.schema import SpeechRequest
from mooer.serve.served_model import TRANSCRIPTION, Recognised

_SUBTITLES: dict[str, tuple[Callable[[Transcription], str], str]] = {
    "srt": (srt, "application/x-subrip"),
    "vtt": (vtt, "text/vtt"),
}


def render(found: Recognised, request: SpeechRequest, language: str) -> Response:
    """The answer to a request that is not streamed."""
    transcription = found.transcription
    if request.response_format in _SUBTITLES:
        write, media_type = _SUBTITLES[request.response_format]
        return PlainTextResponse(write(transcription), media_type=media_type)
    if request.response_format == "text":
        return PlainTextResponse(transcription.text + "\n")
    if request.response_format == "verbose_json":
        return JSONResponse(verbose(found, request, language))
    return JSONResponse({"text": transcription.text, "usage": usage(transcription)})


def usage(transcription: Transcription) -> dict[str, Any]:
    """What was used of the server."""
    return {"type": "duration", "seconds": transcription.seconds}


def verbose(found: Recognised, request: SpeechRequest, language: str) -> dict[str, Any]:
    """verbose_json; what is not known is null."""
    transcription = found.transcription
    values: dict[str, Any] = {
        "task": "transcribe" if request.task == TRANSCRIPTION else "translate",
        "language": language,
        "duration": transcription.seconds,
        "text": transcription.text,
    }
    if "segment" in request.granularities:
        values["segments"] = [_segment(*numbered, found) for numbered in enumerate(transcription.sentences)]
    if "word" in request.granularities:
        values["words"] = [_word(word) for word in transcription.words]
    if transcription.flags:
        values["flags"] = transcription.flags
    if transcription.failures:
        values["failures"] = [
            {"start": item.start / 1000, "end": item.end / 1000, "reason": item.reason} for item in transcription.failures
        ]
    return values | {"usage": usage(transcription)}


def _segment(number: int, sentence: Sentence, found: Recognised) -> dict[str, Any]:
    is_whole = len(found.transcription.sentences) == 1
    text = sentence.text.encode()
    return {
        "id": number,
        "seek": 0,
        "start": sentence.start / 1000,
        "end": sentence.end / 1000,
        "text": sentence.text,
        "tokens": found.tokens if is_whole else (),
        "temperature": 0.0,
        "avg_logprob": found.mean_log_prob if is_whole else None,
        "compression_ratio": len(text) / len(zlib.compress(text)),
        "no_speech_prob": None,
    }


def _word(word: Word) -> dict[str, Any]:
    return {"word": word.text, "start": word.start / 1000, "end": word.end / 1000}


def delta_event(text: str) -> str:
    """A server-sent event: what the text has grown by."""
    return _event({"type": "transcript.text.delta", "delta": text})


def done_event(transcription: Transcription) -> str:
    """The one that ends a stream, with the whole text."""
    return _event({"type": "transcript.text.done", "text": transcription.text, "usage": usage(transcription)})


def error_event(body: dict[str, Any]) -> str:
    """The one that ends a stream that failed."""
    return _event(body)


def _event(values: dict[str, Any]) -> str:
    return f"data: {json.dumps(values, ensure_ascii=False)}\n\n"
