"""What is known of an utterance before it is loaded, and the line of JSON that says it in a data list."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mooer.common.errors import DataError
from mooer.common.lengths import SHIFT_SAMPLES, WINDOW_SAMPLES, fbank_frames

TRANSCRIPT = "text"

_SEGMENT = re.compile(r"^(?P<path>.+)(?:#t=|,)(?P<start>\d+(?:\.\d*)?),(?P<end>\d+(?:\.\d*)?)$")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_KEYS = ("id", "audio", "start", "end", "offset", "size", "feats", "num_samples", "labels")


@dataclass(frozen=True, slots=True)
class AudioRef:
    """Where a recording lies: a file, a stretch of a file, or a member of a tar shard."""

    path: str
    """The audio file, or the tar that holds it."""
    start: float | None = None
    """First second of the stretch; None for the beginning."""
    end: float | None = None
    """Second after the stretch; None for the end."""
    offset: int | None = None
    """First byte of the member's data in the tar; None for an audio file."""
    size: int | None = None
    """Bytes of the member's data."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One utterance by reference: nothing of its sound is in memory."""

    id: str
    """The name that all tables and results use; no white space in it."""
    audio: AudioRef | None = None
    """Its recording; None where only features are given."""
    feats: str | None = None
    """`ARK:OFFSET` of its fbank features before CMVN; used in preference to the recording."""
    labels: dict[str, str] = field(default_factory=dict)
    """Texts by label name; `text` is the transcript, others are named by target language or task."""
    num_samples: int | None = None
    """Samples at 16 kHz, None where nobody has looked yet."""

    @property
    def num_frames(self) -> int | None:
        """Frames of 10 ms that the front end makes of it, None where the length is unknown."""
        return None if self.num_samples is None else fbank_frames(self.num_samples)


@dataclass(frozen=True, slots=True)
class Problem:
    """An utterance, or a whole shard, that cannot be used, and why."""

    id: str
    """The utterance, or the shard's path where no utterance can be named."""
    reason: str
    """One or a few words, for counting."""
    message: str
    """The full story for a person."""


def samples_for_frames(num_frames: int) -> int:
    """The fewest samples that make `num_frames` frames of fbank."""
    return 0 if num_frames <= 0 else WINDOW_SAMPLES + (num_frames - 1) * SHIFT_SAMPLES


def resolve_path(value: str, folder: str | Path) -> str:
    """A path from a list as a path that opens: taken from the list's own folder, else from the working directory.

    Raises:
        DataError: a command (`cmd |`) or a URL; both stay what they are, text, and nothing is run or fetched.
    """
    value = value.strip()
    if value.endswith("|") or value.startswith("|"):
        raise DataError(f"{value!r} is a command; commands in lists are never run, give the path of a file")
    if _SCHEME.match(value):
        raise DataError(f"{value!r} is a URL; nothing is fetched, give the path of a local file")
    if not value or "\0" in value:
        raise DataError(f"{value!r} is not a path")
    beside = Path(folder) / value
    return str(beside) if beside.exists() else value


def parse_audio(value: str, folder: str | Path) -> AudioRef:
    """The recording named by a value of wav.scp: `PATH`, or a stretch of it in seconds, `PATH#t=START,END` or `PATH,START,END`.

    Raises:
        DataError: as resolve_path, and for a stretch that ends before it starts.
    """
    match = _SEGMENT.match(value)
    if match is None:
        return AudioRef(path=resolve_path(value, folder))
    start, end = float(match["start"]), float(match["end"])
    if start >= end:
        raise DataError(f"{value!r}: the stretch ends at {end} s, not after its start at {start} s")
    return AudioRef(path=resolve_path(match["path"], folder), start=start, end=end)


def to_json(utterance: Utterance, folder: str | Path | None = None) -> str:
    """One line of a data list. Paths below `folder` are written relative to it, so that the folder can be moved."""
    record: dict[str, Any] = {"id": utterance.id}
    if utterance.audio is not None:
        values = {"audio": _portable(utterance.audio.path, folder)}
        values |= {name: getattr(utterance.audio, name) for name in ("start", "end", "offset", "size")}
        record |= {name: value for name, value in values.items() if value is not None}
    if utterance.feats is not None:
        record["feats"] = _portable(utterance.feats, folder)
    if utterance.num_samples is not None:
        record["num_samples"] = utterance.num_samples
    record["labels"] = utterance.labels
    return json.dumps(record, ensure_ascii=False)


def from_json(line: str, folder: str | Path | None, where: str) -> Utterance:
    """The utterance of one line of a data list.

    Args:
        folder: the list's folder, for relative paths; None keeps paths as they are written.
        where: `FILE:LINE` for messages.

    Raises:
        DataError: not a JSON object, an unknown key, a missing or wrongly typed value, a command or URL as path.
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not a JSON object: {error}") from error
    if not isinstance(record, dict):
        raise DataError(f"{where}: not a JSON object")
    unknown = [key for key in record if key not in _KEYS]
    if unknown:
        raise DataError(f"{where}: unknown key {unknown[0]!r}; valid keys: {', '.join(_KEYS)}")
    try:
        return _from_record(record, folder)
    except (DataError, TypeError, ValueError) as error:
        raise DataError(f"{where}: {error}") from error


def _from_record(record: dict[str, Any], folder: str | Path | None) -> Utterance:
    identity, labels = record.get("id"), record.get("labels", {})
    if not isinstance(identity, str) or not identity or identity.split() != [identity]:
        raise DataError(f"id {identity!r} must be a text without white space")
    if not isinstance(labels, dict) or not all(isinstance(text, str) for text in labels.values()):
        raise DataError("labels must be an object of texts")
    audio, feats = (_text(record, name) for name in ("audio", "feats"))
    if audio is None and feats is None:
        raise DataError("neither audio nor feats is given")
    reference = None
    if (record.get("offset") is None) != (record.get("size") is None):
        raise DataError("offset and size belong together")
    if audio is not None:
        reference = AudioRef(
            path=audio if folder is None else resolve_path(audio, folder),
            start=_number(record, "start", float),
            end=_number(record, "end", float),
            offset=_number(record, "offset", int),
            size=_number(record, "size", int),
        )
    if feats is not None and folder is not None:
        path, separator, offset = feats.rpartition(":")
        feats = f"{resolve_path(path, folder)}:{offset}" if separator else resolve_path(feats, folder)
    return Utterance(identity, reference, feats, labels, _number(record, "num_samples", int))


def _text(record: dict[str, Any], name: str) -> str | None:
    value = record.get(name)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{name} must be a text, found {value!r}")
    return value


def _number(record: dict[str, Any], name: str, kind: type) -> Any:
    value = record.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, kind)) or not 0 <= value < 1 << 62:
        raise DataError(f"{name} must be a number from 0 up, found {value!r}")
    return kind(value)


def _portable(path: str, folder: str | Path | None) -> str:
    absolute = Path(path).absolute()
    if folder is not None and absolute.is_relative_to(Path(folder).absolute()):
        return str(absolute.relative_to(Path(folder).absolute()))
    return str(absolute)
