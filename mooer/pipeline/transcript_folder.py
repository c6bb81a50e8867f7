"""The folder that long-audio recognition fills: tables, results.jsonl, a file a recording in each format, and the journals."""

import dataclasses
import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from mooer.common.errors import ConfigError, DataError, PathError
from mooer.common.files import atomic_write
from mooer.data.lists import write_table
from mooer.decode.hypothesis import Failure
from mooer.decode.writer import TEXT_DIR, one_line
from mooer.pipeline.journal import Journal
from mooer.pipeline.part_store import compare_settings, keep_settings
from mooer.pipeline.subtitles import FORMATS, SUFFIXES, check_ctm_key
from mooer.pipeline.transcription import Transcription

JOURNAL_DIR = "journal"
RESULTS, FAILED, RECORD = "results.jsonl", "failed.jsonl", "run.json"
_LONGEST_NAME = 200


class TranscriptFolder:
    """Collects transcriptions; tables and results.jsonl are written when it is closed, also after an error.

    Args:
        formats: of FORMATS; the files of a recording are written as it comes.
        settings: what results depend on besides the recordings; an earlier run must have had the same.
        record: for run.json.
        resume: whether the folder may hold what an earlier run left.

    Raises:
        PathError: the folder cannot be made.
        ConfigError: it holds results, and `resume` is not asked for; or they are of other settings.
    """

    def __init__(
        self, folder: str | Path, formats: Sequence[str], settings: dict[str, Any], record: dict[str, Any], resume: bool
    ) -> None:
        self._folder, self._formats, self._record, self._resume = Path(folder), formats, record, resume
        check_unused(self._folder, resume)
        compare_settings(self._folder / JOURNAL_DIR, settings)
        self._tables: dict[str, dict[str, str]] = {"text": {}, "score": {}, "rtf": {}, "time_stamp": {}}
        self._failures: list[Failure] = []
        self._seconds, self._started = 0.0, time.perf_counter()
        try:
            (self._folder / TEXT_DIR).mkdir(parents=True, exist_ok=True)
            self._results = tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n", dir=self._folder)  # noqa: SIM115 (closed by __exit__)
        except OSError as error:
            raise PathError(f"the output folder {folder} cannot be written: {error.strerror}") from error
        keep_settings(self._folder / JOURNAL_DIR, settings)

    def check_names(self, keys: Iterable[str]) -> None:
        """Raise DataError if one of the recordings has a name that files or formats cannot have."""
        for key in keys:
            file_name(key)
            if "ctm" in self._formats:
                check_ctm_key(key)

    def journal(self, key: str, origin: dict[str, Any]) -> Journal:
        """The journal of a recording, begun or gone on with. Raises as `Journal.resume`."""
        path = self._folder / JOURNAL_DIR / f"{file_name(key)}.jsonl"
        return Journal.resume(path, origin) if self._resume else Journal.create(path, origin)

    def add(self, result: Transcription | Failure) -> None:
        """Take one result. Raises DataError for a recording whose name does not fit a format."""
        if isinstance(result, Failure):
            self._failures.append(result)
            return
        contents = {name: FORMATS[name](result) for name in self._formats}
        for name, content in contents.items():
            with atomic_write(self._folder / name / f"{file_name(result.key)}{SUFFIXES[name]}") as stream:
                stream.write(content)
        _dump(result.to_dict(), self._results)
        values = (
            one_line(result.text).strip(),
            f"{result.score:.6f}",
            f"{result.real_time_factor:.4f}",
            json.dumps(result.timestamp),
        )
        for table, value in zip(self._tables.values(), values, strict=True):
            table[result.key] = value
        self._seconds += result.seconds
        self._failures += [
            Failure(f"{result.key}#t={item.start / 1000:.3f},{item.end / 1000:.3f}", item.reason, item.message)
            for item in result.failures
        ]

    def __enter__(self) -> "TranscriptFolder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for name, table in self._tables.items():
            write_table(self._folder / TEXT_DIR / name, table)
        self._results.seek(0)
        with atomic_write(self._folder / RESULTS) as stream:
            shutil.copyfileobj(self._results, stream)
        self._results.close()
        (self._folder / FAILED).unlink(missing_ok=True)
        if self._failures:
            with atomic_write(self._folder / FAILED) as stream:
                for failure in self._failures:
                    _dump(dataclasses.asdict(failure), stream)
        elapsed = time.perf_counter() - self._started
        totals = {
            "recordings": len(self._tables["text"]),
            "failed": len(self._failures),
            "audio_seconds": round(self._seconds, 3),
            "elapsed_seconds": round(elapsed, 3),
            "complete": kind is None,
        }
        with atomic_write(self._folder / RECORD) as stream:
            json.dump({**self._record, **totals}, stream, ensure_ascii=False, indent=2)
            stream.write("\n")


def check_unused(folder: Path, resume: bool) -> None:
    """Raise ConfigError if the folder holds results that are not to be gone on with, PathError if it is no folder."""
    if folder.exists() and not folder.is_dir():
        raise PathError(f"--output_dir {folder} is not a folder")
    left = [name for name in (JOURNAL_DIR, RESULTS, RECORD, TEXT_DIR) if (folder / name).exists()]
    if left and not resume:
        raise ConfigError(f"{folder} holds {left[0]} of an earlier run; go on with it (--resume), or name another --output_dir")


def file_name(key: str) -> str:
    """A recording's name as that of a file, with hex after % for what would lead elsewhere. Raises DataError if too long."""
    name = "".join(f"%{ord(sign):02X}" if sign in "/%\0" else sign for sign in key)
    name = f"%2E{name[1:]}" if name.startswith(".") else name
    if len(name.encode("utf-8")) > _LONGEST_NAME:
        raise DataError(f"recording {key[:40]!r}...: a name of over {_LONGEST_NAME} bytes cannot be that of a file")
    return name


def _dump(values: dict[str, Any], stream: Any) -> None:
    json.dump(values, stream, ensure_ascii=False)
    stream.write("\n")
