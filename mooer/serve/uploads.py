"""The body of a request to fields and samples, with its bounds held while it is read."""

import re
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass

import torch
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from torch import Tensor

from mooer.audio.limits import AudioLimits
from mooer.audio.stream import stream_audio
from mooer.common.errors import AudioError
from mooer.serve.api_error import ApiError, invalid, of_audio

FILE_FIELD = "file"
_FORM = "multipart/form-data"
_MAX_FIELDS = 32
_MAX_FIELD_BYTES = 1 << 16
# A decoder's message may name the file that it was handed.
_PATH = re.compile(r"(?:file:)?(?:/[\w.+-]+)*/mooer-[\w.-]+")


@dataclass(frozen=True)
class Upload:
    """What a request brings."""

    fields: tuple[tuple[str, str], ...]
    """Names and values in their order, but for the recording."""
    file: UploadFile
    """The recording; small ones are in memory, others in a temporary file that has no name."""


async def read_upload(request: Request, max_bytes: int) -> Upload:
    """Read a form with one recording in the field `file`.

    Raises:
        ApiError: 413 for more than `max_bytes`, as soon as that is known; 400 for what is no such form.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise ApiError(400, f"the body must be {_FORM}", code="invalid_content_type")
    promised = request.headers.get("content-length", "0")
    if promised.isdigit() and int(promised) > max_bytes:
        raise _too_large(max_bytes)
    parser = MultiPartParser(
        request.headers,
        _bounded(request, max_bytes),
        max_files=1,
        max_fields=_MAX_FIELDS,
        max_part_size=_MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise ApiError(400, f"the form cannot be read: {error.message}", code="invalid_form") from error
    return _split(form.multi_items())


async def _bounded(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    """The body, until it is too large."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        yield chunk


def _too_large(max_bytes: int) -> ApiError:
    return ApiError(413, f"the body is larger than {max_bytes} bytes", param=FILE_FIELD, code="upload_too_large")


def _split(items: list[tuple[str, str | UploadFile]]) -> Upload:
    files = {name: value for name, value in items if isinstance(value, UploadFile)}
    fields = tuple((name, value) for name, value in items if isinstance(value, str))
    if set(files) != {FILE_FIELD}:
        for upload in files.values():
            upload.file.close()
        found = f"the file stands in field {next(iter(files))!r}" if files else "there is none"
        raise invalid(f"a recording is needed as a file in the field {FILE_FIELD!r}; {found}", FILE_FIELD, "missing_file")
    return Upload(fields, files[FILE_FIELD])


def read_samples(upload: Upload, limits: AudioLimits, stop: threading.Event) -> Tensor:
    """The recording as samples [S], float32, 16 kHz; in a thread for that.

    Args:
        limits: held while decoding, whatever a header says.
        stop: set when nobody waits for them any more.

    Raises:
        ApiError: 400 for what is no recording, or too long a one.
    """
    pieces = []
    try:
        for piece in stream_audio(upload.file.file.read(), limits=limits):
            if stop.is_set():
                raise ApiError(503, "the client has gone", code="client_gone")
            pieces.append(piece)
    except AudioError as error:
        raise of_audio(AudioError(without_paths(str(error)), error.reason)) from error
    return torch.cat(pieces)


def without_paths(message: str) -> str:
    """A message without the names of temporary files."""
    return _PATH.sub("the recording", message)
