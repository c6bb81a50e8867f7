"""Kaldi tables and data lists, read strictly: every fault has a file and a line. And the list of what could not be used."""

import codecs
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mooer.common.errors import DataError
from mooer.common.files import atomic_write, require_file
from mooer.data.shards import index_shard
from mooer.data.utterance import Problem, Utterance, from_json, resolve_path

FAILURES_NAME = "failed.jsonl"

_SEPARATOR = re.compile(r"[ \t]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ufffe\ufeff]")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong at a place of a file."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True, slots=True)
class Row:
    """One sound line of a table."""

    line: int
    id: str
    value: str


def numbered_lines(path: str | Path) -> Iterator[tuple[int, str | Fault]]:
    """The lines of a UTF-8 text file with their numbers; a line that is not sound text comes as a Fault."""
    path = Path(path)
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            raw = raw.removesuffix(b"\n")
            if number == 1 and raw.startswith(codecs.BOM_UTF8):
                yield number, Fault(str(path), number, "begins with a byte order mark; save the file as UTF-8 without one")
            elif raw.endswith(b"\r"):
                yield (
                    number,
                    Fault(str(path), number, "ends as lines do on Windows (CR LF); convert the file to plain line ends"),
                )
            else:
                yield number, _decode(raw, path, number)


def _decode(raw: bytes, path: Path, number: int) -> str | Fault:
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return Fault(str(path), number, f"is not UTF-8 at byte {error.start + 1} of the line")
    control = _CONTROL.search(line)
    if control:
        return Fault(str(path), number, f"holds the control character U+{ord(control[0]):04X}")
    return line


def scan_table(path: str | Path, allow_empty: bool = False) -> tuple[list[Row], list[Fault]]:
    """All sound rows of a Kaldi table (`ID VALUE` a line) in file order, and all faults.

    Args:
        allow_empty: whether an id may stand without a value (an empty transcript).

    Raises:
        PathError: no such file.
    """
    rows: list[Row] = []
    faults: list[Fault] = []
    first_line: dict[str, int] = {}
    for number, line in numbered_lines(require_file(path, "table")):
        row = line if isinstance(line, Fault) else _parse_row(str(path), number, line, allow_empty)
        if isinstance(row, Fault):
            faults.append(row)
        elif row.id in first_line:
            faults.append(Fault(str(path), number, f"id {row.id!r} is a duplicate of line {first_line[row.id]}"))
        else:
            first_line[row.id] = number
            rows.append(row)
    return rows, faults


def _parse_row(path: str, number: int, line: str, allow_empty: bool) -> Row | Fault:
    if not line.strip():
        return Fault(path, number, "is empty")
    if line[0] in " \t":
        return Fault(path, number, "begins with white space; an id must stand first")
    identity, *rest = _SEPARATOR.split(line, maxsplit=1)
    if identity.split() != [identity]:
        return Fault(path, number, f"id {identity!r} holds white space other than the space that ends it")
    value = rest[0].rstrip(" \t") if rest else ""
    if not value and not allow_empty:
        return Fault(path, number, f"id {identity!r} has no value")
    return Row(number, identity, value)


def read_table(path: str | Path, allow_empty: bool = False) -> dict[str, str]:
    """The values of a Kaldi table by id, in file order.

    Args:
        allow_empty: whether an id may stand without a value, which is then "".

    Raises:
        PathError: no such file.
        DataError: any fault (encoding, missing value, duplicate id, ...), with the file and line of the first.
    """
    rows, faults = scan_table(path, allow_empty)
    if faults:
        more = f" ({len(faults) - 1} more faults; mooer-check-data names all)" if len(faults) > 1 else ""
        raise DataError(f"{faults[0]}{more}")
    return {row.id: row.value for row in rows}


def write_table(path: str | Path, table: Mapping[str, str]) -> None:
    """Write a Kaldi table atomically, in the mapping's order. Raises DataError for what could not be read back."""
    for identity, value in table.items():
        if not identity or identity.split() != [identity]:
            raise DataError(f"{path}: id {identity!r} is empty or holds white space")
        if "\n" in value or "\r" in value:
            raise DataError(f"{path}: the value of {identity!r} holds a line end")
    with atomic_write(path) as stream:
        stream.writelines(f"{identity} {value}".rstrip(" ") + "\n" for identity, value in table.items())


def iterate_data_list(path: str | Path) -> Iterator[Utterance | Problem]:
    """All utterances of a data list in order, and a Problem for each utterance or shard that cannot be used.

    A data list holds either one JSON object a line, or the path of one shard a line. Relative paths start at the list's
    folder, or else at the working directory.

    Raises:
        PathError: no such list.
        DataError: a line that breaks the format, a duplicate id in a raw list, a shard with links or unsafe names.
    """
    path = require_file(path, "data list")
    seen: set[str] = set()
    raw = None
    for number, line in numbered_lines(path):
        if isinstance(line, Fault):
            raise DataError(str(line))
        if not line.strip():
            continue
        is_object = line.lstrip().startswith("{")
        if raw is not None and raw != is_object:
            raise DataError(f"{path}:{number}: a list holds either JSON objects or shard paths, not both")
        raw = is_object
        where = f"{path}:{number}"
        entries = [from_json(line, path.parent, where)] if raw else _shard(line, path.parent, where)
        for entry in entries:
            yield _check_duplicate(entry, seen, where, raw) if isinstance(entry, Utterance) else entry


def _shard(line: str, folder: Path, where: str) -> Iterator[Utterance | Problem]:
    try:
        shard = resolve_path(line, folder)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    if not Path(shard).is_file():
        raise DataError(f"{where}: shard {shard} does not exist")
    index = index_shard(shard)
    yield from index.utterances
    yield from index.problems


def _check_duplicate(utterance: Utterance, seen: set[str], where: str, raw: bool) -> Utterance | Problem:
    if utterance.id not in seen:
        seen.add(utterance.id)
        return utterance
    if raw:
        raise DataError(f"{where}: id {utterance.id!r} is a duplicate")
    return Problem(utterance.id, "duplicate_id", f"{where}: id {utterance.id!r} was in the list before")


def read_data_list(path: str | Path) -> list[Utterance]:
    """The utterances of a data list, all of which must be usable.

    Raises:
        PathError: no such list.
        DataError: as iterate_data_list, and for the first utterance or shard that cannot be used.
    """
    utterances = []
    for entry in iterate_data_list(path):
        if isinstance(entry, Problem):
            raise DataError(entry.message)
        utterances.append(entry)
    return utterances


def write_data_list(path: str | Path, lines: list[str]) -> None:
    """Write the lines of a data list atomically."""
    with atomic_write(path) as stream:
        stream.writelines(line + "\n" for line in lines)


def write_failures(output_dir: str | Path, problems: Sequence[Problem]) -> None:
    """List what failed in `failed.jsonl`, one object a line; without failures there is no such file."""
    path = Path(output_dir) / FAILURES_NAME
    if not problems:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as stream:
        for problem in problems:
            stream.write(json.dumps(dataclasses.asdict(problem), ensure_ascii=False) + "\n")
