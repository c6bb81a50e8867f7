"""Kaldi data directories: wav.scp (or feats.scp), segments, text and text.LABEL."""

from dataclasses import dataclass
from pathlib import Path

from mooer.common.errors import DataError, PathError
from mooer.common.files import require_dir
from mooer.data.lists import read_table
from mooer.data.utterance import TRANSCRIPT, AudioRef, Problem, Utterance, parse_audio, resolve_path

AUDIO_TABLE, FEATURE_TABLE, SEGMENT_TABLE, SPEAKER_TABLE = "wav.scp", "feats.scp", "segments", "utt2spk"


@dataclass(frozen=True)
class DataDir:
    """What a data directory holds."""

    utterances: list[Utterance]
    """In the order of segments, wav.scp or feats.scp."""
    problems: list[Problem]
    """Those that are named in some file but cannot be used."""


def label_tables(directory: Path, names: tuple[str, ...] | None = None) -> dict[str, Path]:
    """The label files of a data directory by label name.

    Args:
        names: the labels wanted (`text`, `en` for text.en, ...); None means all that there are.

    Raises:
        PathError: a label that was asked for has no file.
    """
    if names is None:
        found = sorted(path for path in directory.glob("text.*") if path.is_file())
        tables = {path.name.removeprefix("text."): path for path in found}
        return ({TRANSCRIPT: directory / "text"} if (directory / "text").is_file() else {}) | tables
    tables = {name: directory / ("text" if name == TRANSCRIPT else f"text.{name}") for name in names}
    for name, path in tables.items():
        if not path.is_file():
            raise PathError(f"label {name!r} was asked for but {path} does not exist")
    return tables


def read_data_dir(directory: str | Path, labels: tuple[str, ...] | None = None) -> DataDir:
    """All utterances of a data directory by reference; no recording is opened.

    Args:
        labels: label names to read; None reads all there are; () reads none, as for decoding.

    Raises:
        PathError: no such directory, no wav.scp or feats.scp in it, a label without its file.
        DataError: a table that breaks its format, with file and line.
    """
    directory = require_dir(directory, "data directory")
    sources, problems = read_sources(directory)
    tables = {name: read_table(path, allow_empty=True) for name, path in label_tables(directory, labels).items()}
    utterances = []
    for identity, source in sources.items():
        texts = {name: table[identity] for name, table in tables.items() if identity in table}
        said = {name: text for name, text in texts.items() if text.strip()}
        if said or not tables:
            audio, feats = (source, None) if isinstance(source, AudioRef) else (None, source)
            utterances.append(Utterance(identity, audio, feats, said))
        else:
            reason = "empty_text" if texts else "no_label"
            problems.append(Problem(identity, reason, f"{identity}: {reason.replace('_', ' ')} in {', '.join(tables)}"))
    known = set(sources) | {problem.id for problem in problems}
    for name, table in tables.items():
        for identity in table.keys() - known:
            problems.append(Problem(identity, "no_audio", f"{identity}: label {name} but no recording"))
            known.add(identity)
    return DataDir(utterances, sorted(problems, key=lambda problem: problem.id))


def read_sources(directory: Path) -> tuple[dict[str, AudioRef | str], list[Problem]]:
    """The recording (AudioRef) or features (`ARK:OFFSET`) of each utterance, and those whose entry cannot be used."""
    if not (directory / AUDIO_TABLE).is_file():
        if not (directory / FEATURE_TABLE).is_file():
            raise PathError(f"{directory} has neither {AUDIO_TABLE} nor {FEATURE_TABLE}")
        features = read_table(directory / FEATURE_TABLE)
        return {identity: _feature_path(value, directory) for identity, value in features.items()}, []
    recordings: dict[str, AudioRef] = {}
    problems: list[Problem] = []
    for identity, value in read_table(directory / AUDIO_TABLE).items():
        try:
            recordings[identity] = parse_audio(value, directory)
        except DataError as error:
            problems.append(Problem(identity, "unsupported", f"{identity}: {error}"))
    if not (directory / SEGMENT_TABLE).is_file():
        return dict(recordings), problems
    return _cut(read_table(directory / SEGMENT_TABLE), recordings, problems)


def _feature_path(value: str, directory: Path) -> str:
    path, separator, offset = value.rpartition(":")
    return f"{resolve_path(path, directory)}:{offset}" if separator else resolve_path(value, directory)


def _cut(
    segments: dict[str, str], recordings: dict[str, AudioRef], problems: list[Problem]
) -> tuple[dict[str, AudioRef | str], list[Problem]]:
    """Utterances that are stretches of recordings."""
    failed = {problem.id: problem for problem in problems}
    sources: dict[str, AudioRef | str] = {}
    found = []
    for identity, value in segments.items():
        try:
            recording, start, end = parse_segment(value)
        except DataError as error:
            found.append(Problem(identity, "bad_segment", f"{identity}: {error}"))
            continue
        if recording in recordings:
            sources[identity] = AudioRef(path=recordings[recording].path, start=start, end=end)
        else:
            reason = failed[recording].message if recording in failed else f"recording {recording!r} is not in {AUDIO_TABLE}"
            found.append(Problem(identity, "no_audio", f"{identity}: {reason}"))
    return sources, found


def parse_segment(value: str) -> tuple[str, float, float]:
    """Recording id, start and end in seconds of a value of `segments`. Raises DataError."""
    words = value.split()
    try:
        recording, start, end = words[0], float(words[1]), float(words[2])
    except (IndexError, ValueError):
        raise DataError(f"{value!r} is not RECORDING START END") from None
    if len(words) > 4 or not 0 <= start < end < float("inf"):
        raise DataError(f"{value!r} is not RECORDING START END with 0 <= START < END in seconds")
    return recording, start, end
