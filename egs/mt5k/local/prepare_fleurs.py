#!/usr/bin/env python3
"""Data directories from a language of FLEURS as it is published: cmn_hans_cn, en_us or another.

    LANGUAGE/{train,dev,test}.tsv           seven columns without a header: sentence number, file, transcript as it is printed,
                                            transcript without case and punctuation, its characters, number of samples, gender
    LANGUAGE/audio/{train,dev,test}/FILE    wav, 16 kHz

So it lies in the archives LANGUAGE.tar.gz of Google's storage. At Hugging Face (data/LANGUAGE) the recordings of a set are
one archive, audio/SET.tar.gz, to be unpacked where it lies. Columns as in lhotse's recipe. The second transcript is taken.
Several speakers read a sentence; who they are is not known. The file's name is the utterance id.
"""

from collections.abc import Iterator
from pathlib import Path

from corpus_command import corpus_command
from corpus_directory import CorpusUtterance, write_sets
from corpus_files import corpus_lines, malformed
from corpus_text import as_written

from mooer.common.files import require_dir, require_file
from mooer.data.utterance import Problem

SETS = ("train", "dev", "test")
COLUMNS = 7
FILE, TRANSCRIPT = 1, 3


@corpus_command("The folder of a language, with dev.tsv and audio in it.", SETS, ("dev", "test"))
def main(corpus_dir: str, output_dir: str, sets: tuple[str, ...]) -> None:
    """Write wav.scp and text for each set."""
    language = require_dir(corpus_dir, "folder of a language").resolve()
    write_sets(output_dir, {name: read_set(language, name) for name in sets})


def read_set(language: Path, name: str) -> Iterator[CorpusUtterance | Problem]:
    """What a set holds; recordings that the table does not name are problems. Raises PathError if there is no such set."""
    table = require_file(language / f"{name}.tsv", "table of the set")
    return _entries(table, require_dir(language / "audio" / name, "folder of recordings (unpacked)"))


def _entries(table: Path, folder: Path) -> Iterator[CorpusUtterance | Problem]:
    problems: list[Problem] = []
    named = set()
    for number, line in corpus_lines(table, problems):
        fields = line.split("\t")
        if len(fields) != COLUMNS:
            problems.append(malformed(table, number, f"has {len(fields)} fields, not {COLUMNS}"))
            continue
        path = folder / fields[FILE]
        named.add(path.name)
        yield CorpusUtterance(id=path.stem, audio=str(path), text=as_written(fields[TRANSCRIPT]))
    yield from problems
    for path in sorted(folder.glob("*.wav")):
        if path.name not in named:
            yield Problem(path.stem, "no_transcript", f"{path.stem}: {table} does not have it")


if __name__ == "__main__":
    main()
