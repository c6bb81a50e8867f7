"""Results as lines for programs that read them on, and as a folder of files."""

import dataclasses
import json
import re
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from mooer.common.errors import PathError
from mooer.common.files import atomic_write
from mooer.data.lists import write_table
from mooer.decode.hypothesis import Failure, Hypothesis

TEXT_DIR = "1best_recog"
# Whatever ends a line or a column somewhere.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe]")


def one_line(text: str) -> str:
    """The text without line ends, tabs and other control characters; each becomes a space."""
    return _CONTROL.sub(" ", text)


def tsv_line(result: Hypothesis, is_multitask: bool) -> str:
    """`ID<TAB>TEXT`, or `ID<TAB>TRANSCRIPT<TAB>TRANSLATION`, which is empty if there is none."""
    columns = [result.id, one_line(result.answer.text)]
    if is_multitask:
        columns.append(one_line(result.answer.translation or ""))
    return "\t".join(columns)


class ResultFolder:
    """Collects results and writes a folder when it is closed, also after an error: what is finished is kept.

    1best_recog/{text, text.ast, score, rtf, time_stamp}, results.jsonl (all that is known), failed.jsonl (if there are any),
    run.json.
    Each file appears under its name when it is complete; those of an earlier run are replaced or removed.

    Args:
        record: for run.json: command, versions, settings, checksums.

    Raises:
        PathError: the folder cannot be made.
    """

    def __init__(self, folder: str | Path, record: dict[str, Any]) -> None:
        self._folder, self._record = Path(folder), record
        self._hypotheses: list[Hypothesis] = []
        self._failures: list[Failure] = []
        self._started = time.perf_counter()
        try:
            (self._folder / TEXT_DIR).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PathError(f"the output folder {folder} cannot be made: {error.strerror}") from error

    def add(self, result: Hypothesis | Failure) -> None:
        """Take one result."""
        (self._hypotheses if isinstance(result, Hypothesis) else self._failures).append(result)

    def __enter__(self) -> "ResultFolder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._write_tables()
        _write_lines(self._folder / "results.jsonl", [_hypothesis_values(item) for item in self._hypotheses])
        _write_lines(self._folder / "failed.jsonl", [dataclasses.asdict(item) for item in self._failures], or_remove=True)
        with atomic_write(self._folder / "run.json") as stream:
            _dump({**self._record, **self._totals(), "complete": kind is None}, stream, indent=2)

    def _write_tables(self) -> None:
        folder = self._folder / TEXT_DIR
        write_table(folder / "text", {item.id: one_line(item.answer.text) for item in self._hypotheses})
        write_table(folder / "score", {item.id: f"{item.answer.score:.6f}" for item in self._hypotheses})
        write_table(folder / "rtf", {item.id: f"{item.real_time_factor:.4f}" for item in self._hypotheses})
        translations = {
            item.id: one_line(item.answer.translation) for item in self._hypotheses if item.answer.translation is not None
        }
        _write_or_remove(folder / "text.ast", translations)
        times = {item.id: json.dumps(_timestamp(item)) for item in self._hypotheses if item.answer.words is not None}
        _write_or_remove(folder / "time_stamp", times)

    def _totals(self) -> dict[str, Any]:
        audio = sum(item.seconds for item in self._hypotheses)
        elapsed = time.perf_counter() - self._started
        return {
            "utterances": len(self._hypotheses),
            "failed": len(self._failures),
            "audio_seconds": round(audio, 3),
            "elapsed_seconds": round(elapsed, 3),
            "real_time_factor": round(elapsed / audio, 4) if audio else None,
        }


def _write_or_remove(path: Path, table: dict[str, str]) -> None:
    if table:
        write_table(path, table)
    else:
        path.unlink(missing_ok=True)


def _timestamp(result: Hypothesis) -> list[tuple[int, int]]:
    """Begin and end of each word in milliseconds."""
    return [(word.start, word.end) for word in result.answer.words]


def _hypothesis_values(result: Hypothesis) -> dict[str, Any]:
    answer = dataclasses.asdict(result.answer)
    nbest, partials = answer.pop("alternatives"), answer.pop("partials")
    values = {"id": result.id, **answer, "seconds": round(result.seconds, 3)}
    values["real_time_factor"] = round(result.real_time_factor, 4)
    if result.answer.words is not None:
        values["timestamp"] = _timestamp(result)
    lists = {key: items for key, items in (("nbest", nbest), ("partials", partials)) if items}
    return {key: value for key, value in values.items() if value is not None} | lists


def _write_lines(path: Path, values: list[dict[str, Any]], or_remove: bool = False) -> None:
    if or_remove and not values:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as stream:
        for item in values:
            _dump(item, stream)


def _dump(values: dict[str, Any], stream: IO[str], indent: int | None = None) -> None:
    json.dump(values, stream, ensure_ascii=False, indent=indent)
    stream.write("\n")
