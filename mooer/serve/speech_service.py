"""The way of a request: read, decoded to samples, joined into a batch, answered; within its time, and while somebody waits."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import anyio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from torch import Tensor

from mooer.audio.limits import AudioLimits
from mooer.common.errors import AudioError, ConfigError
from mooer.common.lengths import SAMPLE_RATE
from mooer.decode.hypothesis import Failure
from mooer.serve import formats
from mooer.serve.api_error import ApiError, audio_refusal, of_audio
from mooer.serve.batcher import Batcher
from mooer.serve.config import ServiceConfig
from mooer.serve.gate import Gate
from mooer.serve.metrics import Metrics
from mooer.serve.schema import Endpoint, SpeechRequest, language_name, parse_request
from mooer.serve.served_model import PreparedJob, Recognised, ServedModel, SpeechJob
from mooer.serve.uploads import Upload, read_samples, read_upload

Value = TypeVar("Value")
# Reasons for which the recording is to blame; others are the model's.
_BLAMED = ("empty", "too_short", "too_long", "unsupported")
_GONE = 499


class SpeechService:
    """Answers requests with one model.

    Raises:
        ConfigError: longer recordings are allowed than the model reads.
    """

    def __init__(self, model: ServedModel, config: ServiceConfig) -> None:
        self.model, self.config = model, config
        self.limits = AudioLimits(max_seconds=_max_seconds(model, config), decoder_seconds=config.timeout)
        self.gate = Gate(config.max_queue)
        self.batcher: Batcher[SpeechJob, PreparedJob, Recognised | Failure] = Batcher(
            model.prepare,
            model.decode,
            batch_size=config.batch_size,
            window=config.batch_window_ms / 1000,
            observe=lambda size, seconds: self.metrics.observe_batch(size, seconds),
        )
        self.metrics = Metrics(lambda: self.batcher.num_waiting, lambda: self.gate.inside)
        self._readers = ThreadPoolExecutor(config.readers, thread_name_prefix="read")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer as long as the block runs."""
        async with self.batcher.running():
            try:
                yield
            finally:
                self._readers.shutdown(wait=False, cancel_futures=True)

    async def answer(self, request: Request, endpoint: Endpoint) -> Response:
        """The answer to a request of an endpoint.

        Raises:
            ApiError: it is refused, failed, or took too long.
        """
        ends = anyio.current_time() + self.config.timeout
        try:
            with anyio.fail_after(self.config.timeout):
                upload = await read_upload(request, self.config.max_upload_bytes)
                with contextlib.closing(upload.file.file):
                    asked = parse_request(endpoint, upload.fields, self.model)
                    return await _while_connected(request, self._answer_upload(upload, asked, endpoint, ends))
        except TimeoutError as error:
            raise self._timed_out() from error

    async def _answer_upload(self, upload: Upload, asked: SpeechRequest, endpoint: Endpoint, ends: float) -> Response:
        samples = await self._read(upload)
        self.metrics.audio.labels(endpoint).inc(len(samples) / SAMPLE_RATE)
        job = SpeechJob(asked.task, samples)
        if asked.stream and self.model.writes_tokens(asked.task):
            return await self._streamed(job, ends)
        found = await self.batcher.submit(job)
        if isinstance(found, Failure):
            raise _failed(found)
        if asked.stream:
            return _event_stream(_whole(found))
        return formats.render(found, asked, language_name(asked, self.model))

    async def _read(self, upload: Upload) -> Tensor:
        stop = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, read_samples, upload, self.limits, stop)
        finally:
            stop.set()

    async def _streamed(self, job: SpeechJob, ends: float) -> Response:
        """The text as it grows; what goes wrong before its first letter is still an answer of its own."""
        growing = self.model.stream(job)
        try:
            first = await self._grown(growing)
        except AudioError as error:
            raise of_audio(error) from error
        return _event_stream(self._events(first, growing, ends))

    async def _grown(self, growing: Iterator[Recognised]) -> Recognised | None:
        """The next state of a growing text, None at its end: one token a turn, so that others have theirs in between."""
        return await self.batcher.call(lambda: next(growing, None))

    async def _events(self, first: Recognised | None, growing: Iterator[Recognised], ends: float) -> AsyncIterator[str]:
        shown, found, last = "", first, first
        try:
            while found is not None:
                text = found.transcription.text
                if len(text) > len(shown) and text.startswith(shown):
                    yield formats.delta_event(text[len(shown) :])
                    shown = text
                last = found
                found = await asyncio.wait_for(self._grown(growing), max(0.0, ends - anyio.current_time()))
            yield formats.done_event(last.transcription)
        except asyncio.TimeoutError:
            yield formats.error_event(self._timed_out().body)
        except AudioError as error:
            yield formats.error_event(of_audio(error).body)

    def _timed_out(self) -> ApiError:
        return ApiError(504, f"no answer within {self.config.timeout:g} s", code="timeout")


def _max_seconds(model: ServedModel, config: ServiceConfig) -> float:
    if config.max_seconds is None:
        return model.max_seconds
    if config.max_seconds > model.max_seconds and not model.cuts_speech:
        message = f"max_seconds is {config.max_seconds:g}; this model reads at most {model.max_seconds:g} s"
        raise ConfigError(f"{message}, and longer recordings with a detector of speech (vad_dir)")
    return config.max_seconds


def _failed(failure: Failure) -> ApiError:
    if failure.reason in _BLAMED:
        return audio_refusal(failure.reason, failure.message)
    return ApiError(500, failure.message, code=f"recognition_{failure.reason}")


async def _whole(found: Recognised) -> AsyncIterator[str]:
    """A text that is known at once, as events."""
    if found.transcription.text:
        yield formats.delta_event(found.transcription.text)
    yield formats.done_event(found.transcription)


def _event_stream(events: AsyncIterator[str]) -> Response:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _while_connected(request: Request, work: Coroutine[Any, Any, Value]) -> Value | Response:
    """What the work gives; it is given up when the client hangs up."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_hung_up(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else Response(status_code=_GONE)
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
