"""What has been recognised of a long recording, kept while the rest is: a killed run goes on where it was.

    first line     the settings and the recording that everything below depends on
    each other     the segments that were decoded together, or at last the length of the recording

Lines are only ever added. A last line that is torn was being written when the run was killed, and is dropped.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mooer.common.errors import ConfigError, DataError
from mooer.common.files import atomic_write
from mooer.pipeline.part_store import differences
from mooer.pipeline.transcription import DecodedSegment

FORMAT = 1


class Journal:
    """The windows of segments of one recording, in the order in which they were decoded; in memory alone without a file."""

    def __init__(self, path: Path | None = None) -> None:
        self.windows: list[list[DecodedSegment]] = []
        self.num_samples: int | None = None
        """Samples of the recording at 16 kHz, once all of it is decoded."""
        self.elapsed_seconds = 0.0
        """Time spent by this run and those before."""
        self._path = path

    @classmethod
    def create(cls, path: Path, origin: dict[str, Any]) -> "Journal":
        """Begin a file; `origin` says what the results depend on."""
        with atomic_write(path) as stream:
            _write_line(stream, {"format": FORMAT, "origin": origin})
        return cls(path)

    @classmethod
    def resume(cls, path: Path, origin: dict[str, Any]) -> "Journal":
        """Go on with a file, or begin it where there is none.

        Raises:
            ConfigError: it was begun with other settings, models or another recording.
            DataError: it is damaged otherwise than by a kill.
        """
        if not path.exists():
            return cls.create(path, origin)
        head, *lines = _whole_lines(path)
        if head.get("format") != FORMAT:
            raise DataError(f"{path} is no journal of format {FORMAT}; name another --output_dir")
        found = differences(head.get("origin"), json.loads(json.dumps(origin)))
        if found:
            raise ConfigError(
                f"{path} was begun otherwise: {'; '.join(found)}. Resume with what it was begun with, or name another "
                "--output_dir"
            )
        journal = cls(path)
        for number, line in enumerate(lines, start=2):
            journal._take(line, f"{path}:{number}")
        return journal

    def _take(self, line: dict[str, Any], where: str) -> None:
        try:
            self.elapsed_seconds += line["elapsed_seconds"]
            if "num_samples" in line:
                self.num_samples = int(line["num_samples"])
            else:
                self.windows.append([DecodedSegment.from_json(item) for item in line["segments"]])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{where} is damaged ({error!r}); remove the file to begin this recording anew") from error

    @property
    def segments(self) -> list[DecodedSegment]:
        """All of them, in time order."""
        return [segment for window in self.windows for segment in window]

    def add(self, window: Sequence[DecodedSegment], elapsed_seconds: float) -> None:
        """Keep segments that were decoded together, which took so long."""
        self.windows.append(list(window))
        self.elapsed_seconds += elapsed_seconds
        self._append({"segments": [segment.to_json() for segment in window], "elapsed_seconds": round(elapsed_seconds, 6)})

    def finish(self, num_samples: int, elapsed_seconds: float) -> None:
        """Keep that the recording ends here, after `num_samples`."""
        self.num_samples = num_samples
        self.elapsed_seconds += elapsed_seconds
        self._append({"num_samples": num_samples, "elapsed_seconds": round(elapsed_seconds, 6)})

    def _append(self, line: dict[str, Any]) -> None:
        if self._path is None:
            return
        with self._path.open("a", encoding="utf-8") as stream:
            _write_line(stream, line)
            stream.flush()
            os.fsync(stream.fileno())


def _write_line(stream: Any, values: dict[str, Any]) -> None:
    json.dump(values, stream, ensure_ascii=False, separators=(",", ":"))
    stream.write("\n")


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal; a torn last one is cut off the file. Raises DataError."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as stream:
            stream.truncate(whole)
    try:
        lines = [json.loads(line) for line in data[:whole].splitlines()]
        if not lines or not all(isinstance(line, dict) for line in lines):
            raise ValueError("a line is no object")
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}); remove it to begin this recording anew") from error
    return lines
