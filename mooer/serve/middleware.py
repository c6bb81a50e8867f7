"""What stands before the endpoints: the key that a request must bear, the gate, and the rest of bodies that nobody reads."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mooer.serve.api_error import ApiError
from mooer.serve.gate import Gate

_PREFIX = "/v1/"
_BEARER = "bearer"
SPEECH_PATHS = ("/v1/audio/transcriptions", "/v1/audio/translations")


# A client that only writes would not see an answer that comes while its body is on the way, so that some of it is thrown away
# first; one that never ends is cut off.
_DRAINED_BYTES = 32 << 20
_DRAINED_SECONDS = 5.0
_IDLE_SECONDS = 0.5


class EndBodies:
    """Lets an answer begin when the body is read, or so much of it thrown away that the connection is better closed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, Headers(scope=scope))

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and not await body.end():
                message = message | {"headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await self._app(scope, body.receive, answer)


class _Body:
    """Knows whether the body of a request has been read."""

    def __init__(self, receive: Receive, headers: Headers) -> None:
        self._receive = receive
        self._is_read = "transfer-encoding" not in headers and headers.get("content-length", "0") == "0"

    async def receive(self) -> Message:
        """The next message of the client."""
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._is_read = True
        return message

    async def end(self) -> bool:
        """Throw the rest away; returns whether that was all."""
        size, ends = 0, time.monotonic() + _DRAINED_SECONDS
        while not self._is_read and size <= _DRAINED_BYTES and time.monotonic() < ends:
            try:
                message = await asyncio.wait_for(self.receive(), _IDLE_SECONDS)
            except asyncio.TimeoutError:
                return False
            size += len(message.get("body", b""))
        return self._is_read


class RequireKey:
    """Refuses what lies below /v1/ without one of the keys, with 401, before any of its body is read."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._digests = tuple(_digest(key) for key in keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_guarded = scope["type"] in ("http", "websocket") and scope["path"].startswith(_PREFIX)
        if is_guarded and self._digests and not self._is_known(Headers(scope=scope).get("authorization", "")):
            error = ApiError(401, "a valid key is needed: Authorization: Bearer KEY", code="invalid_api_key")
            await error_response(error)(scope, receive, send)
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
            await error_response(error)(scope, receive, send)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def error_response(error: ApiError) -> JSONResponse:
    """A refusal as an answer."""
    return JSONResponse(error.body, error.status, headers=error.headers)
