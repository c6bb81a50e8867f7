"""Everything that is wrong with a data directory, each fault with its file and line."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mooer.audio.decoding import decoded_length
from mooer.common.errors import AudioError, DataError, PathError
from mooer.common.files import require_dir
from mooer.common.lengths import SAMPLE_RATE, WINDOW_SAMPLES
from mooer.common.speech_times import SPEECH_LABEL, parse_speech_times
from mooer.data.directory import (
    AUDIO_TABLE,
    FEATURE_TABLE,
    SEGMENT_TABLE,
    SPEAKER_TABLE,
    label_tables,
    parse_segment,
)
from mooer.data.lists import Fault, Row, scan_table
from mooer.data.parallel import map_in_order
from mooer.data.utterance import parse_audio, resolve_path

SPEECH_TABLE = f"text.{SPEECH_LABEL}"
# Ends of segments are rounded to hundredths of a second by the tools that make them.
END_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class _Table:
    """A table as far as it is sound."""

    path: Path
    rows: list[Row]

    @property
    def ids(self) -> set[str]:
        return {row.id for row in self.rows}

    def fault(self, row: Row, message: str) -> Fault:
        return Fault(str(self.path), row.line, message)


@dataclass(frozen=True)
class CheckReport:
    """The result of a check."""

    faults: list[Fault]
    num_utterances: int
    seconds: float
    """Duration of all recordings that could be read."""


def check_data_dir(directory: str | Path, num_workers: int = 1) -> CheckReport:
    """Check a data directory: formats, order, ids that match between files, and every recording by decoding it.

    Raises:
        PathError: no such directory, or neither wav.scp nor feats.scp in it.
    """
    directory = require_dir(directory, "data directory")
    faults: list[Fault] = []
    tables = {name: _scan(path, name, faults) for name, path in _table_paths(directory).items()}
    sources = tables.get(AUDIO_TABLE) or tables.get(FEATURE_TABLE)
    if sources is None:
        raise PathError(f"{directory} has neither {AUDIO_TABLE} nor {FEATURE_TABLE}")
    durations = _check_sources(tables, faults, num_workers)
    if SEGMENT_TABLE in tables and AUDIO_TABLE in tables:
        faults += _segment_faults(tables[SEGMENT_TABLE], tables[AUDIO_TABLE], durations)
    if SPEECH_TABLE in tables:
        faults += _speech_faults(tables[SPEECH_TABLE], durations)
    utterances = tables.get(SEGMENT_TABLE, sources)
    faults += _matching_faults(tables, utterances)
    order = {str(table.path): number for number, table in enumerate(tables.values())}
    faults.sort(key=lambda fault: (order[fault.path], fault.line))
    return CheckReport(faults, len(utterances.rows), sum(durations.values()))


def _table_paths(directory: Path) -> dict[str, Path]:
    fixed = {name: directory / name for name in (AUDIO_TABLE, FEATURE_TABLE, SEGMENT_TABLE, SPEAKER_TABLE)}
    labels = {path.name: path for path in label_tables(directory).values()}
    return {name: path for name, path in (fixed | labels).items() if path.is_file()}


def _scan(path: Path, name: str, faults: list[Fault]) -> _Table:
    is_label = name == "text" or name.startswith("text.")
    rows, found = scan_table(path, allow_empty=is_label)
    table = _Table(path, rows)
    faults += found
    if not rows and not found:
        faults.append(Fault(str(path), 1, "the file is empty"))
    faults += [table.fault(row, f"id {row.id!r} has an empty text") for row in rows if not row.value]
    for before, row in pairwise(rows):
        # Kaldi sorts by bytes (LC_ALL=C).
        if row.id.encode("utf-8") < before.id.encode("utf-8"):
            faults.append(table.fault(row, f"id {row.id!r} is not in order after {before.id!r}; sort with LC_ALL=C"))
    return table


def _check_sources(tables: Mapping[str, _Table], faults: list[Fault], num_workers: int) -> dict[str, float]:
    """Seconds of each recording or feature matrix that can be read; the others are faults."""
    durations: dict[str, float] = {}
    readers: dict[str, Callable[[tuple[str, str]], float | str]] = {AUDIO_TABLE: audio_seconds, FEATURE_TABLE: feature_seconds}
    for name, reader in readers.items():
        if name not in tables:
            continue
        table = tables[name]
        tasks = [(row.value, str(table.path.parent)) for row in table.rows]
        for row, found in zip(table.rows, map_in_order(reader, tasks, num_workers), strict=True):
            if isinstance(found, str):
                faults.append(table.fault(row, f"id {row.id!r}: {found}{_space_hint(row.value, table.path.parent)}"))
            elif name == AUDIO_TABLE or AUDIO_TABLE not in tables:
                durations[row.id] = found
    return durations


def audio_seconds(task: tuple[str, str]) -> float | str:
    """Duration of a recording (value of wav.scp, its folder) after decoding all of it, or what is wrong with it."""
    value, folder = task
    try:
        reference = parse_audio(value, folder)
        num_samples = decoded_length(reference.path, start=reference.start, end=reference.end)
    except (AudioError, DataError) as error:
        return str(error)
    if num_samples < WINDOW_SAMPLES:
        return f"{num_samples} samples are too short; a frame needs {WINDOW_SAMPLES}"
    return num_samples / SAMPLE_RATE


def feature_seconds(task: tuple[str, str]) -> float | str:
    """Duration of a feature matrix (value of feats.scp, its folder), or what is wrong with it."""
    from mooer.data.archives import read_matrix

    value, folder = task
    path, separator, offset = value.rpartition(":")
    try:
        matrix = read_matrix(f"{resolve_path(path, folder)}:{offset}" if separator else resolve_path(value, folder))
    except (AudioError, DataError) as error:
        return str(error)
    return len(matrix) / 100 if len(matrix) else "the matrix is empty"


def _space_hint(value: str, folder: Path) -> str:
    """A word on ids with spaces, where what follows the first words of a value is a file."""
    words = value.split(" ")
    for start in range(1, len(words)):
        rest = " ".join(words[start:])
        try:
            path = resolve_path(rest, folder)
        except DataError:
            return ""
        if Path(path).is_file():
            return f"; {rest!r} is a file, so the id seems to hold a space"
    return ""


def _segment_faults(segments: _Table, recordings: _Table, durations: Mapping[str, float]) -> Iterator[Fault]:
    known, used = recordings.ids, set()
    for row in segments.rows:
        try:
            recording, start, end = parse_segment(row.value)
        except DataError as error:
            yield segments.fault(row, f"id {row.id!r}: {error}")
            continue
        used.add(recording)
        seconds = durations.get(recording)
        if recording not in known:
            yield segments.fault(row, f"id {row.id!r}: recording {recording!r} is not in {recordings.path.name}")
        elif seconds is not None and (end > seconds + END_TOLERANCE or start >= seconds):
            yield segments.fault(row, f"id {row.id!r}: {start:g} to {end:g} s, but {recording!r} ends at {seconds:.3f} s")
    for row in recordings.rows:
        if row.id not in used:
            yield recordings.fault(row, f"recording {row.id!r} has no segment in {segments.path.name}")


def _speech_faults(speech: _Table, durations: Mapping[str, float]) -> Iterator[Fault]:
    """Labels of speech that break their format or reach beyond the end of a recording."""
    for row in speech.rows:
        try:
            stretches = parse_speech_times(row.value) if row.value else []
        except DataError as error:
            yield speech.fault(row, f"id {row.id!r}: {error}")
            continue
        end, duration = (stretches[-1][1] / 1000 if stretches else 0.0), durations.get(row.id, float("inf"))
        if end > duration + END_TOLERANCE:
            yield speech.fault(row, f"id {row.id!r} has speech until {end} s, the recording ends at {duration:.3f} s")


def _matching_faults(tables: Mapping[str, _Table], utterances: _Table) -> Iterator[Fault]:
    """Utterances without transcript or speaker, and texts, speakers or features of no utterance."""
    known = utterances.ids
    labels = {name: table for name, table in tables.items() if name == "text" or name.startswith("text.")}
    others = {name: tables[name] for name in (SPEAKER_TABLE, FEATURE_TABLE) if tables.get(name, utterances) is not utterances}
    for table in (labels | others).values():
        for row in table.rows:
            if row.id not in known:
                yield table.fault(row, f"id {row.id!r} is not in {utterances.path.name}")
    # A translation may cover a part of the utterances (two directions in one set), a transcript must cover all.
    texts = {"text": labels["text"].ids} if "text" in labels else {" or ".join(labels): _union(labels.values())}
    needed = (texts if labels else {}) | {name: table.ids for name, table in others.items()}
    for name, present in needed.items():
        for row in utterances.rows:
            if row.id not in present:
                yield utterances.fault(row, f"id {row.id!r} is not in {name}")


def _union(tables: Iterable[_Table]) -> set[str]:
    return set().union(*(table.ids for table in tables))
