"""From many asyncio tasks to the one thread that decodes: what waits at the same time is decoded together."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from mooer.common.log import get_logger

log = get_logger(__name__)

Job = TypeVar("Job")
Result = TypeVar("Result")
Other = TypeVar("Other")


@dataclass(eq=False)
class _Waiting(Generic[Job, Result]):
    """A job whose turn has not come."""

    job: Job
    answer: "asyncio.Future[Result]"
    arrived: float
    has_turn: bool = False


@dataclass(eq=False)
class _Call:
    """Something else to be done in the decoding thread."""

    function: Callable[[], object]
    answer: "asyncio.Future[object]"
    has_turn: bool = False


class Batcher(Generic[Job, Result]):
    """Decodes jobs in batches, in a thread of its own.

    Args:
        decode: the results of some jobs, in their order; called in that thread only. Where it fails for several, it is asked
            for each of them alone, so that one cannot harm the others.
        batch_size: the most jobs decoded together.
        window: seconds that the first of a batch waits for others while the thread is idle.
        observe: told the size of each batch and the seconds that it took.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[Job]], Sequence[Result]],
        *,
        batch_size: int,
        window: float,
        observe: Callable[[int, float], object] = lambda size, seconds: None,
    ) -> None:
        self._decode, self._batch_size, self._window, self._observe = decode, batch_size, window, observe
        self._waiting: deque[_Waiting[Job, Result]] = deque()
        self._calls: deque[_Call] = deque()
        self._arrival = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self._worker: asyncio.Task[None] | None = None

    @property
    def num_waiting(self) -> int:
        """Jobs whose turn has not come."""
        return len(self._waiting)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Decode as long as the block runs."""
        self._worker = asyncio.create_task(self._work())
        try:
            yield
        finally:
            self._worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._worker
            self._thread.shutdown(wait=True, cancel_futures=True)

    async def submit(self, job: Job) -> Result:
        """The result of a job; cancelling the wait takes it out of the queue."""
        item = _Waiting(job, asyncio.get_running_loop().create_future(), time.monotonic())
        self._waiting.append(item)
        self._arrival.set()
        try:
            return await item.answer
        finally:
            if not item.has_turn:
                self._waiting.remove(item)

    async def call(self, function: Callable[[], Other]) -> Other:
        """Call a function in the decoding thread, between batches; cancelling the wait leaves it out if it can."""
        item = _Call(function, asyncio.get_running_loop().create_future())
        self._calls.append(item)
        self._arrival.set()
        try:
            return await item.answer
        finally:
            if not item.has_turn:
                self._calls.remove(item)

    async def _work(self) -> None:
        while True:
            await self._arrival.wait()
            if not self._calls and not self._waiting:
                self._arrival.clear()
            # In turn, so that neither starves the other.
            if self._calls:
                await self._answer_call()
            if self._waiting:
                await self._fill()
                await self._answer_batch()

    async def _fill(self) -> None:
        """Wait until a batch is full, its first job has waited long enough, or there is something else to do."""
        while self._waiting and len(self._waiting) < self._batch_size and not self._calls:
            rest = self._waiting[0].arrived + self._window - time.monotonic()
            if rest <= 0:
                return
            self._arrival.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._arrival.wait(), rest)
        self._arrival.set()

    async def _answer_batch(self) -> None:
        count = min(self._batch_size, len(self._waiting))
        batch = [self._waiting.popleft() for _ in range(count)]
        for item in batch:
            item.has_turn = True
        if not batch:
            return
        started = time.perf_counter()
        results = await self._in_thread(lambda: self._decode_all([item.job for item in batch]))
        self._observe(len(batch), time.perf_counter() - started)
        for item, result in zip(batch, results, strict=True):
            _set(item.answer, result)

    def _decode_all(self, jobs: Sequence[Job]) -> list[Result | Exception]:
        """The results, or what went wrong; in the decoding thread."""
        try:
            return list(self._decode(jobs))
        except Exception as error:  # the thread must live on
            if len(jobs) == 1:
                log.error("decoding failed", exc_info=error)
                return [error]
            log.error("a batch of %d failed (%s: %s); each is decoded alone", len(jobs), type(error).__name__, error)
        return [result for job in jobs for result in self._decode_all([job])]

    async def _answer_call(self) -> None:
        item = self._calls.popleft()
        item.has_turn = True
        if not item.answer.done():
            _set(item.answer, await self._in_thread(lambda: _outcome(item.function)))

    async def _in_thread(self, function: Callable[[], Other]) -> Other:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


def _outcome(function: Callable[[], Other]) -> Other | Exception:
    try:
        return function()
    except Exception as error:  # noqa: BLE001 raised again where the call was made
        return error


def _set(answer: "asyncio.Future[Result]", result: Result | Exception) -> None:
    """Hand over a result, unless nobody waits for it any more."""
    if answer.done():
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
