#!/usr/bin/env python3
"""Recordings named cmn-WORD.mp3, as published, in the layout that the recipe reads: mp3/ID.mp3 and words.txt."""

import re
import shutil
import unicodedata
from pathlib import Path

import click

from mooer.cli._command import command
from mooer.common.errors import DataError
from mooer.common.files import require_dir
from mooer.data.lists import write_table
from mooer.text.cjk import CJK

_NAME = re.compile(rf"cmn-(?P<word>[{CJK}]+)")


def arrange(source: Path, output_dir: Path) -> list[str]:
    """Copy the recordings of `source` in the order of their words; returns the names of those that are no single word, as
    cmn-一_就_.mp3 (a pattern of two words), which are left out.

    Raises:
        PathError: no such folder.
        DataError: not one recording of a word.
    """
    matches = {path: _NAME.fullmatch(unicodedata.normalize("NFC", path.stem)) for path in _recordings(source)}
    words = sorted((match["word"], path) for path, match in matches.items() if match)
    if not words:
        raise DataError(f"{source} holds no cmn-WORD.mp3")
    (output_dir / "mp3").mkdir(parents=True, exist_ok=True)
    table = {f"hsk{number:05d}": word for number, (word, _) in enumerate(words)}
    for identity, (_, path) in zip(table, words, strict=True):
        shutil.copyfile(path, output_dir / "mp3" / f"{identity}.mp3")
    write_table(output_dir / "words.txt", table)
    return sorted(path.name for path, match in matches.items() if not match)


def _recordings(source: Path) -> list[Path]:
    return list(require_dir(source, "folder of recordings").glob("*.mp3"))


@command
@click.option("--source", type=click.Path(path_type=Path), required=True, help="Has cmn-WORD.mp3.")
@click.option("--output_dir", type=click.Path(path_type=Path), required=True, help="Gets mp3 and words.txt.")
def main(source: Path, output_dir: Path) -> None:
    """Arrange the recordings."""
    left_out = arrange(source, output_dir)
    click.echo(f"{len(left_out)} recordings are of no single word and left out: {' '.join(left_out)}", err=True)


if __name__ == "__main__":
    main()
