#!/usr/bin/env python3
"""Data directories from CoVoST, Chinese into English: translations of Common Voice's zh-CN recordings.

    validated.tsv                   of Common Voice: client_id, path, sentence and other columns, with a header
    clips/*.mp3                     of Common Voice, named by path
    covost.zh-CN_en.tsv             CoVoST 1, which goes with Common Voice 3 (2019-06-12): path, translation, split
    covost_v2.zh-CN_en.tsv          CoVoST 2, which goes with Common Voice 4 (2019-12-10): the same columns

Layout and sets as in the corpus's own get_covost_splits.py: a row's split is train, dev or test as in Common Voice, or
train_covost, dev_covost or test_covost. CoVoST 1 counts the latter to the set of that name; CoVoST 2 counts train_covost to
train, and the other two to nothing. A backslash takes from the character after it its special meaning. Transcripts and
translations stay as published.
"""

from collections.abc import Iterator
from pathlib import Path

import click
from corpus_command import corpus_command
from corpus_directory import CorpusUtterance, write_sets
from corpus_files import corpus_tsv
from corpus_text import tidy

from mooer.common.files import require_dir, require_file
from mooer.data.utterance import Problem

SETS = ("train", "dev", "test")
TABLES = {"1": "covost.zh-CN_en.tsv", "2": "covost_v2.zh-CN_en.tsv"}
SPLITS = {
    "1": {name: {name, f"{name}_covost"} for name in SETS},
    "2": {"train": {"train", "train_covost"}, "dev": {"dev"}, "test": {"test"}},
}
ALL_SPLITS = frozenset().union(*SPLITS["1"].values())


@corpus_command("Common Voice's folder zh-CN, with validated.tsv and clips in it.", SETS, SETS)
@click.option("--version", type=click.Choice(list(TABLES)), required=True, help="Of CoVoST.")
@click.option("--translations", type=click.Path(), help="CoVoST's table; if not given, it lies in the corpus folder.")
def main(corpus_dir: str, output_dir: str, sets: tuple[str, ...], version: str, translations: str | None) -> None:
    """Write wav.scp, text (Chinese), text.en and utt2spk for each set."""
    corpus = require_dir(corpus_dir, "folder of Common Voice").resolve()
    require_dir(corpus / "clips", "folder of recordings")
    table = require_file(translations or corpus / TABLES[version], "CoVoST's table")
    problems: list[Problem] = []
    sentences = read_sentences(corpus / "validated.tsv", problems)
    rows = list(corpus_tsv(table, ("path", "translation", "split"), problems, escapechar="\\"))
    problems += [
        Problem(path, "bad_split", f"{path}: {table}:{number}: split {split!r} is none of {', '.join(sorted(ALL_SPLITS))}")
        for number, (path, _, split) in rows
        if split not in ALL_SPLITS
    ]
    wanted = {name: [fields[:2] for _, fields in rows if fields[2] in SPLITS[version][name]] for name in sets}
    entries = {name: read_set(corpus / "clips", found, sentences) for name, found in wanted.items()}
    write_sets(output_dir, entries, common=problems)


def read_sentences(validated: Path, problems: list[Problem]) -> dict[str, tuple[str, str]]:
    """Transcript and speaker of each recording by its path; `problems` gets the rows that cannot be read."""
    rows = corpus_tsv(validated, ("path", "sentence", "client_id"), problems, escapechar="\\")
    return {path: (sentence, speaker) for _, (path, sentence, speaker) in rows}


def read_set(clips: Path, rows: list[list[str]], sentences: dict[str, tuple[str, str]]) -> Iterator[CorpusUtterance | Problem]:
    """What a set of (path, translation) holds; a translation of a recording that has no transcript is a problem."""
    for path, translation in rows:
        name = Path(path).stem
        if path not in sentences:
            yield Problem(name, "no_transcript", f"{name}: validated.tsv does not have {path}; is it the right release?")
            continue
        sentence, speaker = sentences[path]
        audio = str(clips / path)
        yield CorpusUtterance(id=name, audio=audio, text=tidy(sentence), english=tidy(translation), speaker=speaker)


if __name__ == "__main__":
    main()
