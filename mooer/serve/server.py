"""The process: listening, and an end that leaves nobody without an answer."""

import asyncio
import sys
from types import FrameType

import uvicorn

from mooer.common.log import get_logger
from mooer.serve.app import create_app
from mooer.serve.config import ServiceConfig
from mooer.serve.served_model import ServedModel
from mooer.serve.speech_service import SpeechService

log = get_logger(__name__)

# The decoding thread gives the interpreter away at each of its many short computations; it must not wait 5 ms, the usual
# interval, to have it back from a thread that parses requests.
_SWITCH_SECONDS = 0.0005
_MAX_MESSAGE_BYTES = 1 << 20


def serve(model: ServedModel, config: ServiceConfig, host: str, port: int) -> None:
    """Answer requests until the process is told to end by SIGTERM or SIGINT; a second signal ends it at once."""
    service = SpeechService(model, config)
    sys.setswitchinterval(_SWITCH_SECONDS)
    settings = uvicorn.Config(
        create_app(service),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=_MAX_MESSAGE_BYTES,
        backlog=1024,
    )
    _Server(settings, service).run()


class _Server(uvicorn.Server):
    """At the first signal refuses what is new with 503 and answers what is inside; only then stops listening."""

    def __init__(self, config: uvicorn.Config, service: SpeechService) -> None:
        super().__init__(config)
        self._service = service
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            ports = {socket.getsockname()[1] for server in self.servers for socket in server.sockets}
            where = f"http://{self.config.host}:{', '.join(map(str, sorted(ports)))}"
            log.info("model %s answers at %s", self._service.model.names[0], where)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called in the main thread, between any two instructions."""
        if self._service.gate.is_closed or self._loop is None:
            self.should_exit = self.force_exit = True
        else:
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        if not self._service.gate.is_closed:
            log.info("ending: %d requests are answered first", self._service.gate.inside)
            self._service.gate.close(self._stop_listening)

    def _stop_listening(self) -> None:
        self.should_exit = True
