"""The earlier turns of conversations, from a file: a JSON object a line, in the order in which things were said.

    {"role": "user", "text": "What is the tallest mountain?"}
    {"role": "assistant", "text": "Mount Everest."}

A line with a key `id` belongs to the recording of that id, one without to all recordings.
"""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from mooer.common.errors import DataError
from mooer.common.files import require_file
from mooer.text.prompts import ROLES, Turn

_KEYS = ("role", "text", "id")


class Conversations:
    """What was said before each recording."""

    def __init__(self, turns: Sequence[tuple[str | None, Turn]] = ()) -> None:
        self._turns = tuple(turns)

    def before(self, identity: str) -> tuple[Turn, ...]:
        """The earlier turns of a recording."""
        return tuple(turn for owner, turn in self._turns if owner in (None, identity))

    def all(self) -> tuple[Turn, ...]:
        """The turns of all recordings."""
        return tuple(turn for _, turn in self._turns)

    def check_ids(self, identities: Collection[str]) -> None:
        """Raise DataError for turns of a recording that there is not."""
        unknown = sorted({owner for owner, _ in self._turns if owner is not None} - set(identities))
        if unknown:
            raise DataError(f"the history has turns of {unknown[0]!r}, but there is no recording of that id")


def read_conversations(path: str | Path) -> Conversations:
    """Read a history.

    Raises:
        PathError: no such file.
        DataError: a line that is no turn, by file and line, or none at all.
    """
    path = require_file(path, "history")
    turns = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            turns.append(_turn(line, f"{path}:{number}"))
    if not turns:
        raise DataError(f"{path} holds no turns; leave --history out where nothing was said before")
    return Conversations(turns)


def _turn(line: str, where: str) -> tuple[str | None, Turn]:
    try:
        values: Any = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not JSON: {error}") from error
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise DataError(f"{where}: a turn is an object of texts, found {line[:60]!r}")
    unknown = [key for key in values if key not in _KEYS]
    if unknown:
        raise DataError(f"{where}: unknown key {unknown[0]!r}; valid keys: {', '.join(_KEYS)}")
    if values.get("role") not in ROLES:
        raise DataError(f"{where}: role is {values.get('role')!r}; allowed: {', '.join(ROLES)}")
    text = values.get("text", "").strip()
    if not text:
        raise DataError(f"{where}: a turn needs a text")
    return values.get("id"), Turn(values["role"], text)
