"""What a server tells Prometheus."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one server.

    Args:
        queue_length: tells how many recordings wait to be decoded.
        inside: tells how many requests are being answered.
    """

    def __init__(self, queue_length: Callable[[], int], inside: Callable[[], int]) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("mooer_requests", "Answered requests", ["path", "status"], registry=registry)
        self.seconds = Histogram("mooer_request_seconds", "Time to the answer", ["path"], buckets=_SECONDS, registry=registry)
        self.batch_size = Histogram("mooer_batch_size", "Recordings decoded together", buckets=_SIZES, registry=registry)
        self.decoding = Counter("mooer_decoding_seconds", "Time that the decoding thread worked", registry=registry)
        self.audio = Counter("mooer_audio_seconds", "Length of the recordings that were read", ["path"], registry=registry)
        self.live = Gauge("mooer_live_connections", "WebSockets that are heard", registry=registry)
        Gauge("mooer_queue_length", "Recordings that wait", registry=registry).set_function(queue_length)
        Gauge("mooer_requests_inside", "Requests that are being answered", registry=registry).set_function(inside)

    def observe_batch(self, size: int, seconds: float) -> None:
        """Count a batch."""
        self.batch_size.observe(size)
        self.decoding.inc(seconds)

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self.registry)


class CountRequests:
    """Counts requests by path and status, and the time to their end.

    Args:
        paths: those that are told apart; others are one.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: frozenset[str]) -> None:
        self._app, self._metrics, self._paths = app, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else "other"
        started, status = time.perf_counter(), "gone"

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            self._metrics.requests.labels(path, status).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - started)
