"""What stands before the endpoints: the key that a request must bear, and the gate."""

import hashlib
import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mooer.serve.api_error import ApiError
from mooer.serve.gate import Gate

_PREFIX = "/v1/"
_BEARER = "bearer"
SPEECH_PATHS = ("/v1/audio/transcriptions", "/v1/audio/translations")


class RequireKey:
    """Refuses what lies below /v1/ without one of the keys, with 401, before any of its body is read."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._digests = tuple(_digest(key) for key in keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_guarded = scope["type"] in ("http", "websocket") and scope["path"].startswith(_PREFIX)
        if is_guarded and self._digests and not self._is_known(Headers(scope=scope).get("authorization", "")):
            await _refuse(ApiError(401, "a valid key is needed: Authorization: Bearer KEY", code="invalid_api_key"))(
                scope, receive, send
            )
            return
        await self._app(scope, receive, send)

    def _is_known(self, header: str) -> bool:
        """Compares digests, all of them and each in constant time, so that the time tells nothing about a key."""
        scheme, _, key = header.partition(" ")
        given = _digest(key.strip())
        known = [hmac.compare_digest(given, digest) for digest in self._digests]
        return scheme.lower() == _BEARER and any(known)


class PassGate:
    """Lets requests for speech through the gate, from their first byte to the last of their answer."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app, self._gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in SPEECH_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            with self._gate.pass_through():
                await self._app(scope, receive, send)
        except ApiError as error:
            await _refuse(error)(scope, receive, send)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _refuse(error: ApiError) -> JSONResponse:
    return error_response(error)


def error_response(error: ApiError) -> JSONResponse:
    """A refusal as an answer; the connection ends, as the body may not have been read."""
    return JSONResponse(error.body, error.status, headers=error.headers)
