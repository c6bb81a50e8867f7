"""What a request may ask for: the fields of OpenAI's audio endpoints, of which each is followed or refused."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mooer.serve.api_error import ApiError, invalid
from mooer.serve.served_model import TRANSCRIPTION, TRANSLATION, ServedModel
from mooer.serve.uploads import FILE_FIELD
from mooer.text.prompts import TARGET_LANGUAGES

Endpoint = Literal["transcriptions", "translations"]
FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
STREAMED_FORMATS = ("json", "text")
GRANULARITIES = ("segment", "word")
_GRANULARITIES = "timestamp_granularities[]"
_COMMON = ("model", "prompt", "response_format", "temperature", "language")
_FIELDS: dict[str, tuple[str, ...]] = {
    "transcriptions": (*_COMMON, _GRANULARITIES, "stream", "chunking_strategy", "include[]"),
    "translations": _COMMON,
}
_LISTS = (_GRANULARITIES, "include[]")


@dataclass(frozen=True, kw_only=True)
class SpeechRequest:
    """What is asked about a recording."""

    task: str
    """asr, or ast and the language of the translation."""
    response_format: str
    """One of FORMATS."""
    granularities: tuple[str, ...]
    """Of times, in verbose_json."""
    stream: bool
    """Whether the text is wanted as it grows."""
    language: str | None
    """What the request named."""


def parse_request(endpoint: Endpoint, fields: Sequence[tuple[str, str]], model: ServedModel) -> SpeechRequest:
    """Read the fields of a form.

    Raises:
        ApiError: 400 for a field that is unknown, given twice, or asks for what the model cannot do; 404 for another model.
    """
    values = _single(endpoint, fields)
    lists = {name: tuple(value for key, value in fields if _list_name(key) == name) for name in _LISTS}
    _check_model(values.get("model"), model)
    _check_what_cannot_be_followed(values, lists, model)
    response_format = values.get("response_format", "json")
    if response_format not in FORMATS:
        raise invalid(f"response_format {response_format!r}; allowed: {', '.join(FORMATS)}", "response_format")
    task = _task(endpoint, values.get("language"), model)
    stream = _flag("stream", values.get("stream", "false"))
    if stream and response_format not in STREAMED_FORMATS:
        allowed = " and ".join(STREAMED_FORMATS)
        raise invalid(f"stream goes with response_format {allowed}, not with {response_format}", "stream")
    return SpeechRequest(
        task=task,
        response_format=response_format,
        granularities=_granularities(lists[_GRANULARITIES], response_format, model.has_words(task)),
        stream=stream,
        language=values.get("language") or None,
    )


def _list_name(name: str) -> str:
    return name if name.endswith("[]") or f"{name}[]" not in _LISTS else f"{name}[]"


def _single(endpoint: Endpoint, fields: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The fields that have one value."""
    allowed, values = _FIELDS[endpoint], {}
    for name, value in fields:
        if _list_name(name) not in allowed:
            raise invalid(f"unknown field {name!r}; allowed: {', '.join((FILE_FIELD, *allowed))}", name, "unknown_parameter")
        if name in values:
            raise invalid(f"the field {name!r} is given twice", name)
        if _list_name(name) not in _LISTS:
            values[name] = value
    return values


def _check_model(name: str | None, model: ServedModel) -> None:
    if not name:
        raise invalid(f"the field 'model' is needed; served: {', '.join(model.names)}", "model", "missing_parameter")
    check_model_name(name, model)


def check_model_name(name: str, model: ServedModel) -> None:
    """Raise ApiError 404 for a model that is not served."""
    if name not in model.names:
        message = f"the model {name!r} is not served here; served: {', '.join(model.names)}"
        raise ApiError(404, message, param="model", code="model_not_found")


def _check_what_cannot_be_followed(values: dict[str, str], lists: dict[str, tuple[str, ...]], model: ServedModel) -> None:
    if _number("temperature", values.get("temperature") or "0") != 0:
        raise invalid("temperature must be 0: answers are searched, not drawn", "temperature", "unsupported_value")
    if values.get("prompt", "").strip():
        raise invalid("a prompt cannot be followed by this model; leave it out", "prompt", "unsupported_value")
    if lists["include[]"]:
        raise invalid("nothing can be included; leave out include[]", "include[]", "unsupported_value")
    strategy = values.get("chunking_strategy", "auto")
    if strategy != "auto" or ("chunking_strategy" in values and not model.cuts_speech):
        message = "chunking_strategy may be auto where the server has a detector of speech; leave it out"
        raise invalid(message, "chunking_strategy", "unsupported_value")


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise invalid(f"{name} {text!r} is not a number", name)
    return value


def _flag(name: str, text: str) -> bool:
    values = {"true": True, "false": False, "1": True, "0": False, "": False}
    if text.lower() not in values:
        raise invalid(f"{name} {text!r}; allowed: true, false", name)
    return values[text.lower()]


def _task(endpoint: Endpoint, language: str | None, model: ServedModel) -> str:
    """What the model is asked; `language` is what is heard, or for translations what it is translated into."""
    if endpoint == "translations":
        task = f"{TRANSLATION}.{language or 'en'}"
        if task not in model.tasks:
            known = ", ".join(key.partition(".")[2] for key in model.tasks if key != TRANSCRIPTION)
            can = f"it translates into: {known}" if known else "it does not translate"
            raise invalid(f"this model does not translate into {language or 'en'!r}; {can}", "language", "unsupported_value")
        return task
    if TRANSCRIPTION not in model.tasks:
        raise invalid("this model translates, it does not transcribe", "model", "unsupported_task")
    if language and language not in model.config.languages:
        known = ", ".join(model.config.languages)
        can = f"allowed: {known}" if known else "the model finds it out by itself; leave it out"
        raise invalid(f"language {language!r} cannot be followed; {can}", "language", "unsupported_value")
    return TRANSCRIPTION


def _granularities(given: tuple[str, ...], response_format: str, has_words: bool) -> tuple[str, ...]:
    unknown = [name for name in given if name not in GRANULARITIES]
    if unknown:
        raise invalid(f"{_GRANULARITIES} {unknown[0]!r}; allowed: {', '.join(GRANULARITIES)}", _GRANULARITIES)
    if given and response_format != "verbose_json":
        raise invalid(f"{_GRANULARITIES} goes with response_format verbose_json, not {response_format}", _GRANULARITIES)
    if "word" in given and not has_words:
        message = "the times of words are not known to this model; ask for 'segment'"
        raise invalid(message, _GRANULARITIES, "unsupported_value")
    return given or ("segment",)


def language_name(request: SpeechRequest, model: ServedModel) -> str:
    """What verbose_json says of the language of the text."""
    if request.task != TRANSCRIPTION:
        code = request.task.partition(".")[2]
        return TARGET_LANGUAGES.get(code, code)
    known = model.config.languages
    return request.language or (known[0] if len(known) == 1 else "unknown")


def openapi_body(endpoint: Endpoint) -> dict[str, Any]:
    """The form of an endpoint, for its documentation."""
    about: dict[str, dict[str, Any]] = {
        FILE_FIELD: {"type": "string", "format": "binary"},
        "model": {"type": "string"},
        "prompt": {"type": "string", "maxLength": 0},
        "response_format": {"type": "string", "enum": list(FORMATS), "default": "json"},
        "temperature": {"type": "number", "enum": [0]},
        "language": {"type": "string"},
        _GRANULARITIES: {"type": "array", "items": {"type": "string", "enum": list(GRANULARITIES)}},
        "stream": {"type": "boolean", "default": False},
        "chunking_strategy": {"type": "string", "enum": ["auto"]},
        "include[]": {"type": "array", "maxItems": 0, "items": {"type": "string"}},
    }
    properties = {name: about[name] for name in (FILE_FIELD, *_FIELDS[endpoint])}
    schema = {"type": "object", "required": [FILE_FIELD, "model"], "properties": properties}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
