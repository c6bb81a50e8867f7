"""From many asyncio tasks to two threads: one decodes together what waits, the other prepares what comes next meanwhile."""

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mooer.common.log import get_logger

log = get_logger(__name__)

# Of a batch, what is prepared in one go: the decoding thread, when it is free, shall not find all that waits in preparation.
_SHARE_IN_PREPARATION = 4

Job = TypeVar("Job")
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")
Other = TypeVar("Other")


@dataclass(eq=False)
class _Waiting(Generic[Job, Prepared, Result]):
    """A job whose turn has not come."""

    job: Job | Prepared
    answer: "asyncio.Future[Result]"
    arrived: float


@dataclass(eq=False)
class _Call:
    """Something else to be done in the decoding thread."""

    function: Callable[[], object]
    answer: "asyncio.Future[object]"


class Batcher(Generic[Job, Prepared, Result]):
    """Decodes jobs in batches, in a thread of its own, while another one prepares at most a batch of those that come next.

    Args:
        prepare: what `decode` needs of some jobs, in their order.
        decode: the results of some jobs that were prepared, together or apart, in their order. Where it or `prepare` fails for
            several, it is asked for each of them alone, so that one cannot harm the others.
        batch_size: the most jobs decoded together.
        window: seconds that the first of a batch waits for others while the decoding thread is idle.
        observe: told the size of each batch and the seconds that it took to decode.
    """

    def __init__(
        self,
        prepare: Callable[[Sequence[Job]], Sequence[Prepared]],
        decode: Callable[[Sequence[Prepared]], Sequence[Result]],
        *,
        batch_size: int,
        window: float,
        observe: Callable[[int, float], object] = lambda size, seconds: None,
    ) -> None:
        self._prepare, self._decode = prepare, decode
        self._batch_size, self._window, self._observe = batch_size, window, observe
        self._waiting: deque[_Waiting[Job, Prepared, Result]] = deque()
        self._ready: deque[_Waiting[Job, Prepared, Result]] = deque()
        self._calls: deque[_Call] = deque()
        self._can_prepare, self._can_decode = asyncio.Event(), asyncio.Event()
        self._preparing_thread = ThreadPoolExecutor(1, thread_name_prefix="prepare")
        self._decoding_thread = ThreadPoolExecutor(1, thread_name_prefix="decode")

    @property
    def num_waiting(self) -> int:
        """Jobs that are neither prepared nor decoded at the moment."""
        return len(self._waiting) + len(self._ready)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Decode as long as the block runs."""
        workers = [asyncio.create_task(work) for work in (self._prepare_ahead(), self._work())]
        try:
            yield
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            for thread in (self._preparing_thread, self._decoding_thread):
                thread.shutdown(wait=True, cancel_futures=True)

    async def submit(self, job: Job) -> Result:
        """The result of a job; cancelling the wait takes it out of the queue."""
        item = _Waiting(job, asyncio.get_running_loop().create_future(), time.monotonic())
        self._waiting.append(item)
        self._can_prepare.set()
        try:
            return await item.answer
        finally:
            _leave(self._waiting, item)
            _leave(self._ready, item)

    async def call(self, function: Callable[[], Other]) -> Other:
        """Call a function in the decoding thread, between batches; cancelling the wait leaves it out if it can."""
        item = _Call(function, asyncio.get_running_loop().create_future())
        self._calls.append(item)
        self._can_decode.set()
        try:
            return await item.answer
        finally:
            _leave(self._calls, item)

    async def _prepare_ahead(self) -> None:
        while True:
            await self._can_prepare.wait()
            most = math.ceil(self._batch_size / _SHARE_IN_PREPARATION)
            count = min(most, self._batch_size - len(self._ready), len(self._waiting))
            if not count:
                self._can_prepare.clear()
                continue
            some = [self._waiting.popleft() for _ in range(count)]
            prepared = await self._outcomes(self._preparing_thread, self._prepare, some)
            for item, result in zip(some, prepared, strict=True):
                if isinstance(result, Exception):
                    _set(item.answer, result)
                elif not item.answer.done():
                    item.job = result
                    self._ready.append(item)
            self._can_decode.set()

    async def _work(self) -> None:
        while True:
            await self._can_decode.wait()
            if not self._calls and not self._ready:
                self._can_decode.clear()
            # In turn, so that neither starves the other.
            if self._calls:
                await self._answer_call()
            if self._ready:
                await self._fill()
                await self._answer_batch()

    async def _fill(self) -> None:
        """Wait until a batch is full, its first job has waited long enough, or there is something else to do."""
        while self._ready and len(self._ready) < self._batch_size and not self._calls:
            rest = self._ready[0].arrived + self._window - time.monotonic()
            if rest <= 0:
                return
            self._can_decode.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._can_decode.wait(), rest)
        self._can_decode.set()

    async def _answer_batch(self) -> None:
        batch = list(self._ready)
        self._ready.clear()
        self._can_prepare.set()
        if not batch:
            return
        started = time.perf_counter()
        results = await self._outcomes(self._decoding_thread, self._decode, batch)
        self._observe(len(batch), time.perf_counter() - started)
        for item, result in zip(batch, results, strict=True):
            _set(item.answer, result)

    async def _outcomes(
        self, thread: ThreadPoolExecutor, function: Callable[[Sequence[Any]], Sequence[Any]], items: Sequence[_Waiting]
    ) -> list[Any]:
        """What a function gives for some jobs, or what went wrong; it is called in a thread."""
        jobs = [item.job for item in items]
        return await asyncio.get_running_loop().run_in_executor(thread, _each, function, jobs)

    async def _answer_call(self) -> None:
        item = self._calls.popleft()
        if not item.answer.done():
            loop = asyncio.get_running_loop()
            _set(item.answer, await loop.run_in_executor(self._decoding_thread, _outcome, item.function))


def _each(function: Callable[[Sequence[Any]], Sequence[Any]], jobs: Sequence[Any]) -> list[Any]:
    """The results of a function for jobs, or what went wrong."""
    try:
        return list(function(jobs))
    except Exception as error:  # the thread must live on
        if len(jobs) == 1:
            log.error("decoding failed", exc_info=error)
            return [error]
        log.error("a batch of %d failed (%s: %s); each is decoded alone", len(jobs), type(error).__name__, error)
    return [result for job in jobs for result in _each(function, [job])]


def _outcome(function: Callable[[], Other]) -> Other | Exception:
    try:
        return function()
    except Exception as error:  # noqa: BLE001 raised again where the call was made
        return error


def _leave(queue: deque[Other], item: Other) -> None:
    """Take an item out of a queue if it still waits there."""
    with contextlib.suppress(ValueError):
        queue.remove(item)


def _set(answer: "asyncio.Future[Result]", result: Result | Exception) -> None:
    """Hand over a result, unless nobody waits for it any more."""
    if answer.done():
        return
    if isinstance(result, Exception):
        answer.set_exception(result)
    else:
        answer.set_result(result)
