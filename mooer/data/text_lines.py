"""Lines of text: read from a file with every fault named, and kept in little memory with the length of each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from mooer.common.files import require_file
from mooer.data.lists import Fault, Row, numbered_lines, scan_table
from mooer.data.utterance import Problem

LineForm = Literal["plain", "kaldi"]


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line of text with its name."""

    id: str
    """The id that stands before it, or FILE:NUMBER; no white space in it."""
    text: str
    """Without white space at either end; never empty."""


def iterate_text(path: str | Path, form: LineForm) -> Iterator[TextLine | Problem]:
    """The lines of a text file in order, and a Problem for each that cannot be used.

    Their reasons are `empty_text` and `damaged`: not UTF-8, control characters, line ends of Windows, in a Kaldi file also an
    id that was there before.

    Args:
        form: `plain` (a sentence a line) or `kaldi` (`ID TRANSCRIPT` a line).

    Raises:
        PathError: no such file.
    """
    path = require_file(path, "text file")
    # File names may hold spaces, ids may not.
    name = "_".join(path.name.split())
    if form == "kaldi":
        rows, faults = scan_table(path, allow_empty=True)
        entries = sorted([*rows, *faults], key=lambda entry: entry.line)
    else:
        entries = (_plain_row(name, number, line) for number, line in numbered_lines(path))
    for entry in entries:
        if isinstance(entry, Fault):
            yield Problem(f"{name}:{entry.line}", "damaged", str(entry))
        elif not entry.value.strip():
            yield Problem(entry.id, "empty_text", f"{path}:{entry.line}: holds no text")
        else:
            yield TextLine(entry.id, entry.value.strip())


def _plain_row(name: str, number: int, line: str | Fault) -> Row | Fault:
    return line if isinstance(line, Fault) else Row(number, f"{name}:{number}", line)


class TextIndex:
    """A read-only sequence of lines, with the length of what is made of each.

    Args:
        lines: each with its length in tokens.
    """

    def __init__(self, lines: Iterable[tuple[TextLine, int]]) -> None:
        block = bytearray()
        ends, lengths = [0], []
        for line, length in lines:
            block += f"{line.id} {line.text}".encode()
            ends.append(len(block))
            lengths.append(length)
        self._block = bytes(block)
        self._ends = np.array(ends, dtype=np.int64)
        self.lengths = np.array(lengths, dtype=np.int64)
        """[N] tokens of each line."""

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, position: int) -> TextLine:
        line = self._block[self._ends[position] : self._ends[position + 1]]
        return TextLine(*line.decode("utf-8").split(" ", maxsplit=1))
