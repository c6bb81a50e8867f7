"""NIST's rich transcription time marks (RTTM): who speaks when, one turn a line.

    SPEAKER RECORDING CHANNEL START DURATION <NA> <NA> SPEAKER <NA> [<NA>]

Times are whole microseconds here, so that sums of them are exact.
"""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from mooer.common.errors import DataError
from mooer.common.files import require_file

SECOND = 1_000_000

_TURN = "SPEAKER"
# The format's other records, which say nothing about who speaks when, or nothing more than the turns do.
_OTHER_TYPES = {"SEGMENT", "NOSCORE", "NO_RT_METADATA", "LEXEME", "NON-LEX", "NON-SPEECH", "FILLER", "EDIT", "SPKR-INFO"}
_OTHER_TYPES |= {"IP", "SU", "CB", "A/P"}
_NUMBERS_OF_FIELDS = (9, 10)
_LATEST = 10**9


@dataclass(frozen=True, slots=True)
class TimedTurn:
    """What one speaker says without a break."""

    start: int
    """Microseconds from the beginning of the recording."""
    end: int
    """Microseconds; not before `start`."""
    speaker: str
    """Any name without white space."""


def rttm_line(recording: str, turn: TimedTurn) -> str:
    """The line of a turn, times to the millisecond, without a line feed.

    Raises:
        DataError: a name that would not be one field.
    """
    for what, name in (("recording", recording), ("speaker", turn.speaker)):
        if not name or name.split() != [name]:
            raise DataError(f"{what} {name!r} cannot stand in RTTM; its name must have no spaces")
    start, duration = turn.start / SECOND, (turn.end - turn.start) / SECOND
    return f"{_TURN} {recording} 1 {start:.3f} {duration:.3f} <NA> <NA> {turn.speaker} <NA> <NA>"


def read_rttm(path: str | Path, what: str = "RTTM file") -> dict[str, list[TimedTurn]]:
    """The turns of recordings by name, in the file's order.

    Blank lines, comments (`;;`) and the format's other records are passed over.

    Raises:
        PathError: no such file.
        DataError: not UTF-8, or a line that breaks the format (file and line are named).
    """
    path = require_file(path, what)
    recordings: dict[str, list[TimedTurn]] = {}
    channels: dict[str, str] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        where = f"{path}:{number}"
        fields = _fields(line, where)
        if not fields:
            continue
        recording, channel = fields[1:3]
        if channels.setdefault(recording, channel) != channel:
            raise DataError(
                f"{where}: recording {recording!r} has turns in the channels {channels[recording]} and {channel}; give each "
                "channel a recording of its own"
            )
        start = _microseconds(fields[3], "start", where)
        duration = _microseconds(fields[4], "duration", where)
        recordings.setdefault(recording, []).append(TimedTurn(start, start + duration, fields[7]))
    return recordings


def _fields(line: bytes, where: str) -> list[str]:
    """The fields of a turn's line; none for a line that holds no turn."""
    try:
        fields = line.decode("utf-8").split()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not valid UTF-8 (byte {error.start} of the line); convert the file first") from error
    if not fields or fields[0].startswith(";;") or fields[0] in _OTHER_TYPES:
        return []
    if fields[0] != _TURN:
        raise DataError(f"{where}: {fields[0]!r} is no type of RTTM; a turn's line begins with {_TURN}")
    if len(fields) not in _NUMBERS_OF_FIELDS:
        raise DataError(f"{where}: a turn has 9 or 10 fields, found {len(fields)}")
    return fields


def _microseconds(value: str, what: str, where: str) -> int:
    try:
        seconds = Decimal(value)
    except InvalidOperation:
        raise DataError(f"{where}: {what} {value!r} is no number of seconds") from None
    if not (seconds.is_finite() and 0 <= seconds <= _LATEST):
        raise DataError(f"{where}: {what} {value!r} must be a number of seconds, not negative")
    return int((seconds * SECOND).to_integral_value())
