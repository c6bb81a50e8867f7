#!/usr/bin/env python3
"""A data directory from ST-CMDS as it is published (OpenSLR 38), which has no sets.

    ST-CMDS-20170001_1-OS/20170001P00001A0001.wav       release, speaker P00001, device (A or I), number
    ST-CMDS-20170001_1-OS/20170001P00001A0001.txt       its transcript, one line

Layout as read by kaldi egs/multi_cn/s5/local/stcmds_data_prep.sh and lhotse's recipe.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from corpus_command import corpus_command
from corpus_directory import CorpusUtterance, write_sets
from corpus_files import corpus_lines, find_corpus
from corpus_text import as_spoken

from mooer.data.utterance import Problem

FOLDER = "ST-CMDS-20170001_1-OS"

_NAME = re.compile(r"^\d{8}(?P<speaker>P\d{5})[A-Z]\d{4}$")


@corpus_command(f"The folder {FOLDER}, or the one that holds it.", ("train",), ("train",))
def main(corpus_dir: str, output_dir: str, sets: tuple[str, ...]) -> None:
    """Write wav.scp, text and utt2spk."""
    corpus = find_corpus(corpus_dir, "ST-CMDS", FOLDER, "*.wav")
    write_sets(output_dir, {name: read_corpus(corpus) for name in sets})


def read_corpus(corpus: Path) -> Iterator[CorpusUtterance | Problem]:
    """What the corpus holds; a recording and its transcript have the same name."""
    names = {path.stem for pattern in ("*.wav", "*.txt") for path in corpus.glob(pattern)}
    for name in sorted(names):
        yield from _entries(corpus / f"{name}.wav", corpus / f"{name}.txt")


def _entries(recording: Path, transcript: Path) -> Iterator[CorpusUtterance | Problem]:
    name = recording.stem
    match = _NAME.match(name)
    if match is None:
        yield Problem(name, "bad_id", f"{name}: a name in this corpus is 8 digits, speaker P and 5 digits, device, 4 digits")
    elif not transcript.is_file():
        yield Problem(name, "no_transcript", f"{name}: {transcript} does not exist")
    else:
        problems: list[Problem] = []
        text = " ".join(line for _, line in corpus_lines(transcript, problems))
        yield from problems
        if not problems:
            yield CorpusUtterance(id=name, audio=str(recording), text=as_spoken(text), speaker=match["speaker"])


if __name__ == "__main__":
    main()
