"""Work spread over processes, with results in the order of the work: nothing that is written depends on their number."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from mooer.common.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(function: Callable[[Item], Result], items: Sequence[Item], num_workers: int) -> Iterator[Result]:
    """`function` of every item, in order.

    Args:
        function: a function of a module, or a functools.partial of one.
        num_workers: processes; up to 1 works in this process.

    Raises:
        DataError: a process died, for want of memory as a rule; and whatever the function raises.
    """
    if num_workers <= 1:
        yield from map(function, items)
        return
    with ProcessPoolExecutor(min(num_workers, max(1, len(items))), initializer=_one_thread) as pool:
        try:
            yield from pool.map(function, items)
        except BrokenProcessPool as error:
            raise DataError("a worker process died, perhaps for want of memory; try a smaller --num_workers") from error


def _one_thread() -> None:
    """For torch that is there already, and for one that the work will import."""
    os.environ["OMP_NUM_THREADS"] = "1"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def chunks(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """The items in stretches of `size`, the last one shorter."""
    return [items[start : start + size] for start in range(0, len(items), size)]
