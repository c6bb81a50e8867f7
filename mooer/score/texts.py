"""Reading the two sides of a score: `ID TEXT` lines."""

from pathlib import Path

from mooer.common.errors import DataError
from mooer.common.files import require_file


def read_texts(path: str | Path, what: str = "text file") -> dict[str, str]:
    """Texts by utterance id, in the file's order.

    The id ends at the first white space; the text may be empty. Blank lines are skipped; only a line feed ends a line.

    Raises:
        PathError: no such file.
        DataError: not UTF-8, an id that occurs twice, or a line that begins with white space (file and line are named).
    """
    path = require_file(path, what)
    texts: dict[str, str] = {}
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for number, line in enumerate(lines, start=1):
        utterance_id, text = _parse(line, f"{path}:{number}")
        if utterance_id in texts:
            raise DataError(f"{path}:{number}: utterance id {utterance_id!r} occurs a second time")
        if utterance_id:
            texts[utterance_id] = text
    return texts


def _parse(line: bytes, where: str) -> tuple[str, str]:
    """Id and text of a line, both empty for a blank one."""
    try:
        decoded = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not valid UTF-8 (byte {error.start} of the line); convert the file first") from error
    if not decoded.strip():
        return "", ""
    if decoded[0].isspace():
        raise DataError(f"{where}: the line begins with white space, so it has no utterance id")
    utterance_id, *rest = decoded.split(maxsplit=1)
    return utterance_id, rest[0].rstrip("\r") if rest else ""
