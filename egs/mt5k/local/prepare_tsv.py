#!/usr/bin/env python3
"""Data directories from tables of one's own, for Chinese corpora that have no script of their own.

    SET.tsv     tab-separated, the first line names the columns: id, audio, start, end, zh, en

Audio is a path from the table's folder; start and end are seconds, both empty where the recording is one utterance; zh is
the transcript and en its translation into English; both stay as they are. In one table all utterances are segments, or none
is.
"""

from collections.abc import Iterator
from pathlib import Path

import click
from corpus_directory import CorpusUtterance, Segment, write_sets
from corpus_files import corpus_tsv, malformed
from corpus_text import tidy

from mooer.cli._command import command
from mooer.common.errors import ConfigError
from mooer.common.files import require_dir, require_file
from mooer.data.utterance import Problem

COLUMNS = ("id", "audio", "start", "end", "zh", "en")


@command
@click.option("--corpus_dir", type=click.Path(), required=True, help="Holds SET.tsv.")
@click.option("--set", "sets", multiple=True, required=True, help="Name of a table without .tsv; repeatable.")
@click.option("--output_dir", type=click.Path(file_okay=False), required=True, help="Gets a data directory for each set.")
def main(corpus_dir: str, sets: tuple[str, ...], output_dir: str) -> None:
    """Write wav.scp, text (Chinese), text.en and, where there are times, segments for each set."""
    folder = require_dir(corpus_dir, "corpus folder").resolve()
    for name in sets:
        if Path(name).name != name:
            raise ConfigError(f"--set {name!r} must be the name of a table in {folder}, without .tsv and without folders")
    tables = {name: require_file(folder / f"{name}.tsv", "table") for name in sets}
    write_sets(output_dir, {name: read_set(table) for name, table in tables.items()})


def read_set(table: Path) -> Iterator[CorpusUtterance | Problem]:
    """The utterances of a table. A table's first utterance says whether all are segments."""
    problems: list[Problem] = []
    segmented = None
    for number, fields in corpus_tsv(table, COLUMNS, problems):
        name, audio, start, end, chinese, english = fields
        has_times = bool(start and end)
        segmented = has_times if segmented is None else segmented
        try:
            times = (float(start), float(end)) if has_times else ()
        except ValueError as error:
            problems.append(malformed(table, number, str(error)))
            continue
        if has_times != segmented or bool(start) != bool(end):
            problems.append(malformed(table, number, "start and end must be there in all lines or in none"))
            continue
        path = table.parent / audio
        yield CorpusUtterance(
            id=name,
            audio=str(path),
            text=tidy(chinese),
            english=tidy(english),
            segment=Segment(_recording_id(audio), *times) if times else None,
        )
    yield from problems


def _recording_id(audio: str) -> str:
    """A recording's id: its path without the ending, so that two folders may have files of the same name."""
    return str(Path(audio).with_suffix("")).replace("/", "_")


if __name__ == "__main__":
    main()
