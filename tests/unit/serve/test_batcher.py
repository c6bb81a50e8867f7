"""Jobs of many tasks in one thread, with a small recogniser behind it."""

import asyncio
import threading
import time

import pytest
import torch

from mooer.decode.recognizer import DecodeConfig, Recognizer
from mooer.serve.batcher import Batcher


@pytest.fixture(scope="module")
def recognize():
    """Texts of waveforms by the packaged model."""
    recognizer = Recognizer.from_model_dir("mini", DecodeConfig(beam_size=1, device="cpu"))
    return lambda waveforms: [
        result.answer.text for result in recognizer.recognize((str(n), item) for n, item in enumerate(waveforms))
    ]


class Slow:
    """Doubles numbers, each batch when it is let go; notes what it was given."""

    def __init__(self):
        self.batches, self.threads, self.go = [], set(), threading.Semaphore(0)

    def __call__(self, jobs):
        self.batches.append(list(jobs))
        self.threads.add(threading.current_thread().name)
        assert self.go.acquire(timeout=30)
        if "bad" in jobs:
            raise RuntimeError("bad job")
        return [2 * job for job in jobs]


def run(decode, body, **options):
    """Run `body(batcher)` in a loop of its own."""

    async def inside():
        batcher = Batcher(options.pop("prepare", list), decode, **{"batch_size": 4, "window": 0.0} | options)
        async with batcher.running():
            return await asyncio.wait_for(body(batcher), 60)

    return asyncio.run(inside())


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


def test_results_are_those_of_the_recogniser_alone(recognize):
    torch.manual_seed(0)
    waveforms = [0.1 * torch.randn(6000 + 5000 * number) for number in range(10)]
    sizes = []

    async def body(batcher):
        return await asyncio.gather(*(batcher.submit(item) for item in waveforms))

    texts = run(recognize, body, observe=lambda size, seconds: sizes.append((size, seconds > 0)), window=0.05)
    assert texts == [recognize([item])[0] for item in waveforms]
    assert sizes == [(4, True), (4, True), (2, True)]


def test_what_comes_while_a_batch_is_decoded_is_prepared_and_decoded_together():
    slow, prepared = Slow(), []

    def prepare(jobs):
        prepared.extend((job, threading.current_thread().name) for job in jobs)
        return [10 * job for job in jobs]

    async def body(batcher):
        tasks = [asyncio.ensure_future(batcher.submit(0))]
        await until(lambda: slow.batches)
        tasks += [asyncio.ensure_future(batcher.submit(number)) for number in range(1, 7)]
        await until(lambda: batcher.num_waiting == 6 and len(prepared) == 5)
        await asyncio.sleep(0.02)
        assert len(prepared) == 5  # no more than a batch beyond what is decoded
        slow.go.release()
        await until(lambda: batcher.num_waiting == 2 and len(prepared) == 7)
        slow.go.release()
        slow.go.release()
        return await asyncio.gather(*tasks)

    assert run(slow, body, prepare=prepare) == [0, 20, 40, 60, 80, 100, 120]
    assert slow.batches == [[0], [10, 20, 30, 40], [50, 60]]
    threads = {name for _, name in prepared}
    assert (len(threads), len(slow.threads), threads & slow.threads) == (1, 1, set())


def test_who_cannot_be_prepared_harms_nobody():
    slow = Slow()
    for _ in range(2):
        slow.go.release()

    async def body(batcher):
        return await asyncio.gather(*(batcher.submit(job) for job in ("1", "one", "3")), return_exceptions=True)

    first, wrong, third = run(slow, body, window=0.2, prepare=lambda jobs: [int(job) for job in jobs], batch_size=12)
    assert (first, third) == (2, 6)
    assert isinstance(wrong, ValueError)
    assert slow.batches == [[1, 3]]


def test_the_first_waits_for_others_within_the_window():
    slow = Slow()
    slow.go.release()

    async def body(batcher):
        first = asyncio.ensure_future(batcher.submit(1))
        await asyncio.sleep(0.05)
        second = asyncio.ensure_future(batcher.submit(2))
        return await asyncio.gather(first, second)

    assert run(slow, body, window=0.5) == [2, 4]
    assert slow.batches == [[1, 2]]


def test_who_gives_up_leaves_the_queue():
    slow = Slow()

    async def body(batcher):
        first = asyncio.ensure_future(batcher.submit(1))
        await until(lambda: slow.batches)
        second, third = (asyncio.ensure_future(batcher.submit(number)) for number in (2, 3))
        await until(lambda: batcher.num_waiting == 2)
        second.cancel()
        first.cancel()
        await until(lambda: batcher.num_waiting == 1)
        slow.go.release()
        slow.go.release()
        return await third

    assert run(slow, body) == 6
    assert slow.batches == [[1], [3]]


def test_one_bad_job_does_not_harm_the_others():
    slow = Slow()
    for _ in range(10):
        slow.go.release()

    async def body(batcher):
        return await asyncio.gather(*(batcher.submit(job) for job in (1, "bad", 3)), return_exceptions=True)

    first, bad, third = run(slow, body, window=0.05)
    assert (first, third) == (2, 6)
    assert isinstance(bad, RuntimeError)
    assert slow.batches == [[1, "bad", 3], [1], ["bad"], [3]]


def test_calls_and_batches_take_turns_and_errors_are_raised_where_calls_were_made():
    slow, order = Slow(), []

    async def body(batcher):
        first = asyncio.ensure_future(batcher.submit(1))
        await until(lambda: slow.batches)
        second = asyncio.ensure_future(batcher.submit(2))
        call = asyncio.ensure_future(batcher.call(lambda: order.append(len(slow.batches)) or "called"))
        broken = asyncio.ensure_future(batcher.call(lambda: 1 / 0))
        given_up = asyncio.ensure_future(batcher.call(lambda: order.append("given up")))
        await asyncio.sleep(0)
        given_up.cancel()
        slow.go.release()
        slow.go.release()
        with pytest.raises(ZeroDivisionError):
            await broken
        return await call, await first, await second

    assert run(slow, body) == ("called", 2, 4)
    assert order == [1]


def test_the_end_waits_for_the_thread():
    done = []

    def decode(jobs):
        time.sleep(0.1)
        done.append(jobs)
        return jobs

    async def inside():
        batcher = Batcher(list, decode, batch_size=1, window=0.0)
        async with batcher.running():
            task = asyncio.ensure_future(batcher.submit(1))
            await asyncio.sleep(0.02)
        assert done == [[1]]
        task.cancel()

    asyncio.run(inside())
