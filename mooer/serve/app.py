"""The HTTP interface of a speech service: OpenAI's audio endpoints, models, health and metrics."""

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

import mooer
from mooer.serve.api_error import ApiError, error_body
from mooer.serve.live import LiveConnections
from mooer.serve.metrics import CONTENT_TYPE, CountRequests
from mooer.serve.middleware import SPEECH_PATHS, EndBodies, PassGate, RequireKey, error_response
from mooer.serve.schema import check_model_name, openapi_body
from mooer.serve.speech_service import SpeechService

_PATHS = frozenset((*SPEECH_PATHS, "/v1/models", "/healthz", "/metrics"))


def create_app(service: SpeechService) -> FastAPI:
    """The application; the service runs as long as it does."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="mooer",
        version=mooer.__version__,
        lifespan=lifespan,
        middleware=[
            Middleware(CountRequests, metrics=service.metrics, paths=_PATHS),
            Middleware(EndBodies),
            Middleware(RequireKey, keys=service.config.api_keys),
            Middleware(PassGate, gate=service.gate),
        ],
    )
    _add_errors(app)
    _add_speech(app, service)
    _add_live(app, service)
    _add_models(app, service)
    _add_health(app, service)
    return app


def _add_errors(app: FastAPI) -> None:
    """Whatever goes wrong has one layout."""

    @app.exception_handler(ApiError)
    async def refused(_request: Request, error: ApiError) -> Response:
        return error_response(error)

    @app.exception_handler(HTTPException)
    async def not_found(_request: Request, error: HTTPException) -> Response:
        return JSONResponse(error_body(error.status_code, str(error.detail)), error.status_code, headers=error.headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _error: ClientDisconnect) -> Response:
        return Response(status_code=499)

    @app.exception_handler(Exception)
    async def broken(_request: Request, _error: Exception) -> Response:
        return JSONResponse(error_body(500, "the server failed; its log says why", code="internal_error"), 500)


def _add_speech(app: FastAPI, service: SpeechService) -> None:
    @app.post("/v1/audio/transcriptions", openapi_extra=openapi_body("transcriptions"))
    async def transcribe(request: Request) -> Response:
        """What is said in a recording."""
        return await service.answer(request, "transcriptions")

    @app.post("/v1/audio/translations", openapi_extra=openapi_body("translations"))
    async def translate(request: Request) -> Response:
        """What is said in a recording, in another language."""
        return await service.answer(request, "translations")


def _add_live(app: FastAPI, service: SpeechService) -> None:
    connections = LiveConnections(service)
    service.gate.when_closed(connections.end)

    @app.websocket("/v1/audio/live")
    async def live(socket: WebSocket) -> None:
        """Texts while somebody speaks."""
        await connections.hear(socket)


def _add_models(app: FastAPI, service: SpeechService) -> None:
    started = int(time.time())

    def described(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": started, "owned_by": "mooer"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The names of the model."""
        return {"object": "list", "data": [described(name) for name in service.model.names]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        """One of them."""
        check_model_name(name, service.model)
        return described(name)


def _add_health(app: FastAPI, service: SpeechService) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether the process lives."""
        return {"status": "ok"}

    @app.get("/healthz/ready")
    async def ready() -> dict[str, Any]:
        """Whether new requests are taken."""
        if service.gate.is_closed:
            raise ApiError(503, "the server is shutting down", code="shutting_down")
        return {"status": "ready", "inside": service.gate.inside, "waiting": service.batcher.num_waiting}

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)
