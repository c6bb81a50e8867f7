"""The process: listening, and an end that leaves nobody without an answer."""

import asyncio
import ctypes
import os
import socket
import sys
from types import FrameType

import uvicorn

from mooer.common.errors import ConfigError
from mooer.common.log import get_logger
from mooer.serve.app import create_app
from mooer.serve.config import ServiceConfig
from mooer.serve.served_model import ServedModel
from mooer.serve.speech_service import SpeechService

log = get_logger(__name__)

# The decoding thread gives the interpreter away at each of its many short computations; it must not wait 5 ms, the usual
# interval, to have it back from a thread that parses requests.
_SWITCH_SECONDS = 0.0005
# oneDNN, which computes convolutions for torch on a CPU, keeps what it compiled for each shape, 1024 of them unless it is told
# otherwise, of some 0.2 MB each. Batches hardly ever have the same shape twice.
_KEPT_KERNELS = "128"
# glibc's malloc: numbers of its options, and how many heaps threads share and from how many bytes on memory goes back at once.
# Batches of ever other shapes would otherwise leave holes in a heap for each thread.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_LARGE_BYTES, _HEAPS = 4 << 20, 2
_MAX_MESSAGE_BYTES = 1 << 20
_BACKLOG = 1024


def bound_memory() -> None:
    """Have the libraries below keep little memory for later, but for what the environment says; before a model is opened."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _KEPT_KERNELS)
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return
    if "MALLOC_ARENA_MAX" not in os.environ:
        library.mallopt(_M_ARENA_MAX, _HEAPS)
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def serve(model: ServedModel, config: ServiceConfig, host: str, port: int) -> None:
    """Answer requests until the process is told to end by SIGTERM or SIGINT; a second signal ends it at once.

    Raises:
        ConfigError: the address cannot be listened at, or settings do not fit the model.
    """
    service = SpeechService(model, config)
    sys.setswitchinterval(_SWITCH_SECONDS)
    settings = uvicorn.Config(
        create_app(service),
        host=host,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=_MAX_MESSAGE_BYTES,
    )
    _Server(settings, service).run([_listen(host, port)])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(f"cannot listen at {host}, port {port}: {error.strerror}; choose another --host or --port") from error


class _Server(uvicorn.Server):
    """At the first signal refuses what is new with 503 and answers what is inside; only then stops listening."""

    def __init__(self, config: uvicorn.Config, service: SpeechService) -> None:
        super().__init__(config)
        self._service = service
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket]) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            port = sockets[0].getsockname()[1]
            log.info("model %s answers at http://%s:%d", self._service.model.names[0], self.config.host, port)

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
