"""Files that stay open, because many small stretches of each are read."""

import os

MAX_OPEN = 64


class OpenFiles:
    """Reads stretches of files by path; at most MAX_OPEN stay open. A copy in another process opens its own."""

    def __init__(self) -> None:
        self._descriptors: dict[str, int] = {}

    def read(self, path: str, offset: int, size: int) -> bytes | None:
        """`size` bytes from `offset` on; None if the file ends before. Raises OSError."""
        descriptor = self.descriptor(path)
        # The size is somebody's word: it must not make room for more than there is.
        if offset + size > os.fstat(descriptor).st_size:
            return None
        data = os.pread(descriptor, size, offset)
        return data if len(data) == size else None

    def descriptor(self, path: str) -> int:
        """The open file. Raises OSError."""
        if path not in self._descriptors:
            if len(self._descriptors) >= MAX_OPEN:
                self.close()
            self._descriptors[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptors[path]

    def close(self) -> None:
        """Close all; reading opens them again."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def __del__(self) -> None:
        self.close()

    def __getstate__(self) -> dict[str, object]:
        return {"_descriptors": {}}
