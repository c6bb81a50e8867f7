"""The folder that spoken answers go to: a recording each, their texts, and what a killed run goes on from.

ID.wav                       an answer, 16 bit
1best_recog/text             their texts
results.jsonl, failed.jsonl  all that is known, a line a recording; run.json
journal/ID.json              an answer that is complete, and what it was made of; settings.json: the models and settings
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from mooer.common.errors import AudioError, ConfigError, DataError, PathError
from mooer.common.files import atomic_write
from mooer.data.lists import write_table
from mooer.data.packing import encode_audio
from mooer.data.utterance import Problem
from mooer.decode.hypothesis import Failure
from mooer.decode.writer import TEXT_DIR, one_line
from mooer.pipeline.part_store import compare_settings, differences, keep_settings
from mooer.pipeline.recording_sources import Recording
from mooer.pipeline.spoken import Spoken, key_of
from mooer.pipeline.transcript_folder import FAILED, JOURNAL_DIR, RECORD, RESULTS, check_unused, file_name
from mooer.text.conversation import Conversations


@dataclass(frozen=True, kw_only=True)
class SpeechJob:
    """What a folder is to hold the answers to."""

    recordings: Sequence[Recording | Problem]
    """All that is asked, in the order of the tables."""
    conversations: Conversations = field(default_factory=Conversations)
    """What was said before."""
    settings: dict[str, Any]
    """What answers depend on besides; an earlier run must have had the same."""
    record: dict[str, Any]
    """For run.json."""

    def origin(self, item: Recording) -> dict[str, Any]:
        """What an answer is the answer to. Raises AudioError (missing)."""
        with item.opened() as source:
            return item.origin(source) | {"history": [list(turn) for turn in self.conversations.before(item.key)]}


class SpeechFolder:
    """Keeps answers as they come; tables are written when it is closed, also after an error.

    Args:
        resume: whether the folder may hold what an earlier run left, which is then taken over.

    Raises:
        PathError: the folder cannot be made.
        ConfigError: it holds results, and `resume` is not asked for; or they are of other settings, recordings or histories.
        DataError: an id that no file can have, or an answer that is damaged.
    """

    def __init__(self, folder: str | Path, job: SpeechJob, resume: bool) -> None:
        self._folder, self._job = Path(folder), job
        self._names = {key_of(item): file_name(key_of(item)) for item in job.recordings}
        check_unused(self._folder, resume)
        compare_settings(self._folder / JOURNAL_DIR, job.settings)
        self._entries: dict[str, dict[str, Any]] = {}
        if resume:
            self._take_over()
        self._failures: list[Failure] = []
        self._started = time.perf_counter()
        try:
            (self._folder / TEXT_DIR).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PathError(f"the output folder {folder} cannot be made: {error.strerror}") from error
        keep_settings(self._folder / JOURNAL_DIR, job.settings)
        for left in self._folder.glob(".*.wav.*.tmp"):  # what a run that was killed had begun to write
            left.unlink(missing_ok=True)

    def _take_over(self) -> None:
        for item in self._job.recordings:
            path = self._journal(key_of(item))
            if isinstance(item, Recording) and path.is_file() and self._wav(item.key).is_file():
                entry = self._kept(item, path)
                self._entries |= {} if entry is None else {item.key: entry}

    def _kept(self, item: Recording, path: Path) -> dict[str, Any] | None:
        """The entry of an answer; None where the recording cannot be read any more, which the run will say."""
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            origin, entry = kept["origin"], kept["result"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is damaged ({error!r}); remove it, and run again") from error
        try:
            found = differences(origin, self._job.origin(item))
        except AudioError:
            return None
        if found:
            raise ConfigError(f"{path} is of another question: {'; '.join(found)}. Remove it, or name another --output_dir")
        return entry

    def has(self, key: str) -> bool:
        """Whether the answer to a recording is there."""
        return key in self._entries

    def add(self, item: Recording | Problem, result: Spoken | Failure) -> None:
        """Keep a result: the recording first, then what says that it is complete."""
        if isinstance(result, Failure):
            self._failures.append(result)
            return
        wav = self._wav(result.key)
        with atomic_write(wav, "wb") as stream:
            stream.write(encode_audio(result.waveform, "wav", result.sample_rate))
        entry = result.to_dict() | {"wav": wav.name}
        with atomic_write(self._journal(result.key)) as stream:
            _dump({"origin": self._job.origin(item), "result": entry}, stream)
        self._entries[result.key] = entry

    def _journal(self, key: str) -> Path:
        return self._folder / JOURNAL_DIR / f"{self._names[key]}.answer.json"

    def _wav(self, key: str) -> Path:
        return self._folder / f"{self._names[key]}.wav"

    def __enter__(self) -> "SpeechFolder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        entries = [self._entries[key] for key in self._names if key in self._entries]
        write_table(self._folder / TEXT_DIR / "text", {entry["id"]: one_line(entry["text"]).strip() for entry in entries})
        self._write_lines(RESULTS, entries)
        (self._folder / FAILED).unlink(missing_ok=True)
        if self._failures:
            self._write_lines(FAILED, [dataclasses.asdict(failure) for failure in self._failures])
        totals = {
            "recordings": len(entries),
            "failed": len(self._failures),
            "speech_seconds": round(sum(entry["speech_seconds"] for entry in entries), 3),
            "elapsed_seconds": round(time.perf_counter() - self._started, 3),
            "complete": kind is None,
        }
        with atomic_write(self._folder / RECORD) as stream:
            _dump(self._job.record | totals, stream, indent=2)

    def _write_lines(self, name: str, values: Sequence[dict[str, Any]]) -> None:
        with atomic_write(self._folder / name) as stream:
            for item in values:
                _dump(item, stream)


def _dump(values: dict[str, Any], stream: Any, indent: int | None = None) -> None:
    json.dump(values, stream, ensure_ascii=False, indent=indent)
    stream.write("\n")
