"""Files: atomic writing, locks, checksums, and reading tar members without ever extracting them."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import socket
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from mooer.common.errors import DamagedArchiveError, DataError, PathError


@contextlib.contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Open a temporary file beside `path`; on success it takes the name `path`, on error it is removed.

    Args:
        mode: `w` (UTF-8 text) or `wb`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        give_usual_mode(temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def staged_folder(directory: str | Path, may_replace: Callable[[Path], bool]) -> Iterator[Path]:
    """A temporary folder that takes the name `directory` on success and vanishes on error.

    Args:
        may_replace: whether a folder that has the name already is an earlier one of the kind, which gives way.

    Raises:
        PathError: `directory` exists and is neither empty nor such a folder.
    """
    directory = Path(directory)
    if directory.is_file() or (directory.is_dir() and any(directory.iterdir()) and not may_replace(directory)):
        raise PathError(f"{directory} exists and is no model directory; name a new folder")
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}.", suffix=".tmp"))
    try:
        folder = temporary / "new"
        folder.mkdir()
        yield folder
        if directory.exists():
            directory.replace(temporary / "old")
        folder.replace(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def locked(path: str | Path, what: str) -> Iterator[None]:
    """Hold a lock on the file `path`, which is made and stays; it is free as soon as this process has ended, however it ends.

    Args:
        what: what is done under the lock, for messages.

    Raises:
        PathError: another process holds it.
    """
    # A record lock: children that were forked meanwhile, and may outlive this process, do not hold it.
    with open(path, "a+", encoding="utf-8") as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            stream.seek(0)
            holder = stream.read().strip() or "another process"
            raise PathError(f"{what}: {holder} is at work there; wait for its end or stop it") from None
        stream.truncate(0)
        stream.write(f"process {os.getpid()} of {socket.gethostname()}\n")
        stream.flush()
        yield


def give_usual_mode(path: str | Path) -> None:
    """The permissions that the umask leaves: temporary files and those of safetensors are their owner's alone."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(path, 0o666 & ~mask)


def require_file(path: str | Path, what: str) -> Path:
    """`path` as a Path if it is an existing file, else a PathError that says `what` was looked for."""
    path = Path(path)
    if not path.is_file():
        raise PathError(f"{what} {path} {'is a folder, not a file' if path.is_dir() else 'does not exist'}")
    return path


def require_dir(path: str | Path, what: str) -> Path:
    """`path` as a Path if it is an existing folder, else a PathError that says `what` was looked for."""
    path = Path(path)
    if not path.is_dir():
        raise PathError(f"{what} {path} {'is a file, not a folder' if path.is_file() else 'does not exist'}")
    return path


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    return _hex_digest(hashlib.sha256(), path)


def md5(path: str | Path, progress: Callable[[int], object] | None = None) -> str:
    """The MD5 sum of a file's bytes, in hex: tells damage, not forgery.

    Args:
        progress: told the number of bytes after each block.
    """
    return _hex_digest(hashlib.md5(usedforsecurity=False), path, progress)


def _hex_digest(digest: "hashlib._Hash", path: str | Path, progress: Callable[[int], object] | None = None) -> str:
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            if progress is not None:
                progress(len(block))
    return digest.hexdigest()


def iterate_tar(stream: IO[bytes], name: str, member_limit: int = 1 << 30) -> Iterator[tarfile.TarInfo]:
    """The regular files of a tar opened for random access, in order; nothing is ever extracted to disk.

    Args:
        name: the tar's name, for messages.
        member_limit: the largest member allowed, in bytes.

    Raises:
        DataError: links, devices, sparse files, absolute names, names with `..`, a member over the limit.
        DamagedArchiveError: a damaged header, or an archive without its end mark.
    """
    end = 0
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                _check_member(member, name, member_limit)
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if member.isreg():
                    yield member
    except (tarfile.TarError, EOFError) as error:
        raise DamagedArchiveError(f"{name} is damaged or not an uncompressed tar: {error}") from error
    # tarfile takes a header that it cannot read for the end of the archive; the real end is a block of zeros.
    stream.seek(end)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise DamagedArchiveError(f"{name} is damaged at byte {end}, or was cut off there")


def _check_member(member: tarfile.TarInfo, name: str, member_limit: int) -> None:
    parts = Path(member.name).parts
    if member.name.startswith("/") or ".." in parts:
        raise DataError(f"{name}: member {member.name!r} points outside of the archive")
    if member.issparse() or not (member.isreg() or member.isdir()):
        raise DataError(f"{name}: member {member.name!r} is a link or a special file; only regular files are allowed")
    if member.size > member_limit:
        raise DataError(f"{name}: member {member.name!r} has {member.size} bytes, over the limit of {member_limit}")
