"""Recordings as a command names them: files, what comes on standard input, and the net where that is allowed."""

import contextlib
import http.client
import shutil
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mooer.audio.io import RawPcm
from mooer.common.errors import AudioError, DataError, PathError
from mooer.common.files import sha256
from mooer.data.lists import read_table
from mooer.data.utterance import Problem
from mooer.decode.inputs import from_wav_scp, unique_names

MAX_DOWNLOAD_BYTES = 8 << 30
# Without a byte, and in all.
TIMEOUT_SECONDS, MAX_SECONDS = 30.0, 4 * 3600.0
_BLOCK_BYTES = 1 << 20
_SCHEMES = ("http", "https")


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A recording by reference."""

    key: str
    """Its id; no white space in it."""
    path: str
    """A local file, or a URL."""
    start: float | None = None
    """First second of the part that is meant; None for the beginning."""
    end: float | None = None
    """Second after it; None for the end."""
    raw_rate: int | None = None
    """Sample rate of a file of s16le samples in one channel; None for audio files."""

    @contextlib.contextmanager
    def opened(self) -> Iterator[Path | RawPcm]:
        """The recording as something to read; what is fetched is removed afterwards. Raises AudioError as `fetch`."""
        if not is_url(self.path):
            path = Path(self.path)
            yield path if self.raw_rate is None else RawPcm(data=path, sample_rate=self.raw_rate)
            return
        with tempfile.TemporaryDirectory(prefix="mooer-") as folder:
            yield fetch(self.path, Path(folder) / "recording")

    def origin(self, source: Path | RawPcm) -> dict[str, Any]:
        """What is read of which bytes: results for another origin are other results. Raises AudioError (missing)."""
        path = source.data if isinstance(source, RawPcm) else source
        try:
            digest = sha256(path)
        except OSError as error:
            raise AudioError(f"{path}: {error.strerror}", "missing") from error
        return {"sha256": digest, "start": self.start, "end": self.end, "raw_rate": self.raw_rate}


def recordings_of_files(paths: Sequence[str], allow_url: bool) -> list[Recording]:
    """Recordings by path or URL; the id is the name without its ending, and its number if several have the same.

    Raises:
        PathError: a file does not exist.
        DataError: a URL, and they are not allowed.
    """
    for path in paths:
        if is_url(path):
            _check_allowed(path, allow_url)
        elif not Path(path).is_file():
            raise PathError(f"recording {path} {'is a folder, not a file' if Path(path).is_dir() else 'does not exist'}")
    names = unique_names([url_stem(path) if is_url(path) else Path(path).stem for path in paths])
    return [Recording(key=name, path=path) for name, path in zip(names, paths, strict=True)]


def recordings_of_table(path: str, allow_url: bool) -> list[Recording | Problem]:
    """Recordings of a table `ID PATH`; an entry that names no file is a Problem.

    Raises:
        PathError, DataError: no such table, lines that are no entries, or a URL where they are not allowed.
    """
    urls = {key: value.strip() for key, value in read_table(path).items() if is_url(value.strip())}
    for url in urls.values():
        _check_allowed(url, allow_url)
    entries: list[Recording | Problem] = []
    for entry in from_wav_scp(path):
        if entry.id in urls:
            entries.append(Recording(key=entry.id, path=urls[entry.id]))
        elif isinstance(entry, Problem):
            entries.append(entry)
        else:
            audio = entry.audio
            entries.append(Recording(key=entry.id, path=audio.path, start=audio.start, end=audio.end))
    return entries


def _check_allowed(url: str, allow_url: bool) -> None:
    if not allow_url:
        raise DataError(f"{url} is a URL, and nothing is fetched unless --allow_url is given")


def is_url(name: str) -> bool:
    """Whether a recording is named by a URL that can be fetched."""
    return name.partition("://")[0].lower() in _SCHEMES and "://" in name


def url_stem(url: str) -> str:
    """The name of the file that a URL ends in, without its ending."""
    return Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).stem or "recording"


def spool(stream: BinaryIO, path: Path) -> Path:
    """Write what a stream holds to a file."""
    with path.open("wb") as copy:
        shutil.copyfileobj(stream, copy, _BLOCK_BYTES)
    return path


def fetch(
    url: str,
    path: Path,
    max_bytes: int = MAX_DOWNLOAD_BYTES,
    timeout: float = TIMEOUT_SECONDS,
    max_seconds: float = MAX_SECONDS,
) -> Path:
    """Fetch a URL to a file, of which nothing is kept if it does not arrive whole.

    Args:
        max_bytes: the most that is taken, whatever the server says.
        timeout: seconds without a byte.
        max_seconds: seconds in all.

    Raises:
        AudioError: missing (it cannot be had), too_long (over `max_bytes`), truncated.
    """
    opener, started = urllib.request.build_opener(_OnlyWeb), time.monotonic()
    try:
        with opener.open(url, timeout=timeout) as answer, path.open("wb") as copy:
            promised = answer.headers.get("Content-Length")
            received = 0
            while block := answer.read(_BLOCK_BYTES):
                received += len(block)
                if received > max_bytes:
                    raise AudioError(f"{url}: over {max_bytes} bytes, the most that is fetched", "too_long")
                if time.monotonic() - started > max_seconds:
                    raise AudioError(f"{url}: it takes longer than {max_seconds:g} s", "missing")
                copy.write(block)
    except (OSError, ValueError, http.client.HTTPException) as error:
        path.unlink(missing_ok=True)
        raise AudioError(f"{url} cannot be fetched: {getattr(error, 'reason', error)}", "missing") from error
    except AudioError:
        path.unlink(missing_ok=True)
        raise
    if promised is not None and promised.isdigit() and int(promised) != received:
        path.unlink()
        raise AudioError(f"{url}: {received} of {promised} bytes arrived", "truncated")
    return path


class _OnlyWeb(urllib.request.HTTPRedirectHandler):
    """Follows redirections to the web alone, as the library's own rule would allow ftp too."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if not is_url(newurl):
            raise urllib.error.URLError(f"it leads to {newurl}, which is not fetched")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
