"""Live audio over a WebSocket: samples in, partial and final texts out while somebody speaks.

The client sends binary messages of int16 samples (little endian, mono, 16 kHz) and, at its end, {"type": "finish"}. The server
sends objects with a `type`: ready, partial, final, error, done.
"""

import asyncio
import contextlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from mooer.common.errors import MooerError
from mooer.common.lengths import SAMPLE_RATE
from mooer.pipeline.live_recognition import LiveEvent, LiveRecognizer
from mooer.serve.api_error import ApiError, error_body
from mooer.serve.speech_service import SpeechService

ENCODING = "s16le"
_FINISH = {"type": "finish"}
_SAMPLE_BYTES = 2
_ENDED, _UNSUPPORTED, _RESTART = 1000, 1003, 1012


class LiveConnections:
    """Hears the WebSockets of a server, each with a recogniser of its own stream, all with the model in memory."""

    def __init__(self, service: SpeechService) -> None:
        self._service = service
        self._open = 0
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Tell all that are heard what is known of them, and hang up."""
        self._ending.set()

    async def hear(self, socket: WebSocket) -> None:
        """Hear one to its end."""
        try:
            with self._service.gate.pass_through(), self._counted():
                await self._hear(socket)
        except ApiError as error:
            await socket.send_denial_response(JSONResponse(error.body, error.status, headers=error.headers))
        except WebSocketDisconnect:
            pass

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Take one of the places for as long as the block runs. Raises ApiError 429 when there is none."""
        if self._open >= self._service.config.max_live:
            message = f"{self._open} streams are heard, and no more are taken; try again later"
            raise ApiError(429, message, code="too_many_streams")
        self._open += 1
        self._service.metrics.live.set(self._open)
        try:
            yield
        finally:
            self._open -= 1
            self._service.metrics.live.set(self._open)

    async def _hear(self, socket: WebSocket) -> None:
        live = self._service.model.open_live()
        await socket.accept()
        await _send(socket, {"type": "ready", "sample_rate": SAMPLE_RATE, "encoding": ENCODING})
        try:
            while (samples := await self._next_samples(socket)) is not None:
                await self._tell(socket, live, samples)
            await _send_events(socket, await self._service.batcher.call(live.finish))
            await _send(socket, {"type": "done"})
            await socket.close(_RESTART if self._ending.is_set() else _ENDED)
        except (ApiError, MooerError) as error:
            await _refuse(socket, error)

    async def _tell(self, socket: WebSocket, live: LiveRecognizer, samples: np.ndarray) -> None:
        self._service.metrics.audio.labels("live").inc(len(samples) / SAMPLE_RATE)
        await _send_events(socket, await self._service.batcher.call(lambda: live.accept(samples)))

    async def _next_samples(self, socket: WebSocket) -> np.ndarray | None:
        """The next message's samples; None at the end of the stream or of the server.

        Raises:
            ApiError: 400 for a message that is none, 504 for a client that says nothing.
        """
        receiving, ending = asyncio.ensure_future(socket.receive()), asyncio.ensure_future(self._ending.wait())
        try:
            waited = {receiving, ending}
            done, _ = await asyncio.wait(waited, timeout=self._service.config.timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
            if not receiving.done():
                receiving.cancel()
        if receiving in done:
            return _samples_of(receiving.result())
        if ending in done:
            return None
        raise ApiError(504, f"nothing came for {self._service.config.timeout:g} s", code="timeout")


def _samples_of(message: dict[str, Any]) -> np.ndarray | None:
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", _ENDED))
    data = message.get("bytes")
    if data is None:
        _check_finish(message.get("text") or "")
        return None
    if len(data) % _SAMPLE_BYTES:
        raise ApiError(400, f"{len(data)} bytes end within a sample of {_SAMPLE_BYTES} bytes", code="invalid_samples")
    return np.frombuffer(data, "<i2").astype(np.int16)


def _check_finish(text: str) -> None:
    try:
        is_finish = json.loads(text) == _FINISH
    except ValueError:
        is_finish = False
    if not is_finish:
        message = f"a message of text must be {json.dumps(_FINISH)}; samples are sent as binary messages"
        raise ApiError(400, message, code="invalid_message")


async def _send_events(socket: WebSocket, events: Iterable[LiveEvent]) -> None:
    for event in events:
        values: dict[str, Any] = {"type": event.kind, "text": event.text, "start": event.start, "end": event.end}
        if event.failure is not None:
            reason, message = event.failure
            values |= error_body(500, message, code=f"recognition_{reason}")
        await _send(socket, values)


async def _refuse(socket: WebSocket, error: ApiError | MooerError) -> None:
    body = error.body if isinstance(error, ApiError) else error_body(400, str(error), code="invalid_samples")
    await _send(socket, {"type": "error", **body})
    await socket.close(_UNSUPPORTED)


async def _send(socket: WebSocket, values: dict[str, Any]) -> None:
    await socket.send_text(json.dumps(values, ensure_ascii=False))
