"""How many requests are inside, and whether more may come in."""

import contextlib
from collections.abc import Callable, Iterator

from mooer.serve.api_error import ApiError


class Gate:
    """Counts the requests from their first byte to their answer.

    Args:
        limit: the most at a time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inside = 0
        self._is_closed = False
        self._when_closed: list[Callable[[], object]] = []
        self._when_empty: Callable[[], object] | None = None

    @property
    def inside(self) -> int:
        """Requests that came in and are not answered."""
        return self._inside

    @property
    def is_closed(self) -> bool:
        """Whether nobody comes in any more."""
        return self._is_closed

    @contextlib.contextmanager
    def pass_through(self) -> Iterator[None]:
        """Take a place for as long as the block runs.

        Raises:
            ApiError: 503 when the gate is closed, 429 when all places are taken.
        """
        if self._is_closed:
            raise ApiError(503, "the server is shutting down", code="shutting_down")
        if self._inside >= self._limit:
            message = f"{self._inside} requests are being answered, and no more are taken; try again later"
            raise ApiError(429, message, code="queue_full")
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._tell_if_empty()

    def when_closed(self, tell: Callable[[], object]) -> None:
        """Have something told when nobody comes in any more."""
        self._when_closed.append(tell)

    def close(self, when_empty: Callable[[], object]) -> None:
        """Let nobody in any more, and call `when_empty` once all are answered."""
        self._is_closed, self._when_empty = True, when_empty
        for tell in self._when_closed:
            tell()
        self._tell_if_empty()

    def _tell_if_empty(self) -> None:
        if self._when_empty is not None and not self._inside:
            tell, self._when_empty = self._when_empty, None
            tell()
