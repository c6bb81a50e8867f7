"""Opening what a caller names as a recording: local regular files and bytes, nothing that runs, blocks or goes out."""

import contextlib
import dataclasses
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mooer.common.errors import AudioError


@dataclasses.dataclass(frozen=True)
class AudioStream:
    """An encoded recording, opened at its first byte."""

    stream: BinaryIO
    """Readable and seekable."""
    size: int
    """Its length in bytes."""
    name: str
    """What messages call it."""
    path: Path | None = None
    """Where it lies, if it is a file."""


@contextlib.contextmanager
def open_source(source: str | Path | bytes | bytearray | memoryview) -> Iterator[AudioStream]:
    """Open a path or the bytes of an audio file.

    Raises:
        AudioError: missing, unreadable (no permission, a folder, a device or pipe), empty, unsupported (a URL or a command).
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        audio = AudioStream(io.BytesIO(data), len(data), f"audio of {len(data)} bytes")
        yield _not_empty(audio)
        return
    path = _local_path(source)
    with _open_regular(path) as stream:
        yield _not_empty(AudioStream(stream, os.fstat(stream.fileno()).st_size, str(path), path))


def _not_empty(audio: AudioStream) -> AudioStream:
    if audio.size == 0:
        raise AudioError(f"{audio.name}: the file is empty", "empty")
    return audio


def _local_path(source: str | Path) -> Path:
    text = os.fspath(source).strip()
    if "://" in text:
        raise AudioError(f"{text}: a URL; only local files are read, download it first", "unsupported")
    if text.startswith("|") or text.endswith("|"):
        raise AudioError(f"{text}: a command; commands are never run, write its output to a file first", "unsupported")
    if not text or "\0" in text:
        raise AudioError(f"{text!r} is not the name of a file", "missing")
    return Path(source)


def _open_regular(path: Path) -> BinaryIO:
    """Open without waiting (a FIFO would block) and refuse everything that is not a regular file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AudioError(f"{path}: no such file", "missing") from error
    except OSError as error:
        raise AudioError(f"{path}: {error.strerror}", "unreadable") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise AudioError(f"{path}: not a regular file", "unreadable")
    return open(descriptor, "rb")
