#!/usr/bin/env python3
"""Data directories from THCHS-30 as it is published (OpenSLR 18).

    data_thchs30/data/SPEAKER_NUMBER.wav
    data_thchs30/data/SPEAKER_NUMBER.wav.trn             three lines: words, syllables, initials and finals
    data_thchs30/{train,dev,test}/SPEAKER_NUMBER.wav     links into data: they say what belongs to which set

Layout as in the corpus's README and as read by kaldi egs/thchs30/s5 and egs/multi_cn/s5. The .wav.trn beside the links hold
no transcript but a path, so that those in data are read.
"""

from collections.abc import Iterator
from pathlib import Path

from corpus_command import corpus_command
from corpus_directory import CorpusUtterance, write_sets
from corpus_files import corpus_lines, find_corpus
from corpus_text import as_spoken

from mooer.common.errors import DataError
from mooer.common.files import require_dir
from mooer.data.utterance import Problem

SETS = ("train", "dev", "test")
# Left over in the words of a recording; kaldi's recipes take it away too.
LEFT_OVER = " l ="


@corpus_command("The folder data_thchs30, or the one that holds it.", SETS, SETS)
def main(corpus_dir: str, output_dir: str, sets: tuple[str, ...]) -> None:
    """Write wav.scp, text and utt2spk for each set."""
    corpus = find_corpus(corpus_dir, "THCHS-30", "data_thchs30", "data")
    write_sets(output_dir, {name: read_set(corpus, name) for name in sets})


def read_set(corpus: Path, name: str) -> Iterator[CorpusUtterance | Problem]:
    """What a set holds. Raises PathError or DataError if there is no such set."""
    links = sorted(require_dir(corpus / name, "folder of the set").glob("*.wav"))
    if not links:
        raise DataError(f"{corpus / name} holds no .wav, not even links")
    return (entry for link in links for entry in _entries(link, corpus / "data" / f"{link.name}.trn"))


def _entries(link: Path, transcript: Path) -> Iterator[CorpusUtterance | Problem]:
    if not transcript.is_file():
        yield Problem(link.stem, "no_transcript", f"{link.stem}: {transcript} does not exist")
        return
    problems: list[Problem] = []
    words = next(corpus_lines(transcript, problems), (1, ""))[1].replace(LEFT_OVER, "")
    yield from problems
    if not problems:
        speaker = link.stem.split("_")[0]
        yield CorpusUtterance(id=link.stem, audio=str(link.resolve()), text=as_spoken(words), speaker=speaker)


if __name__ == "__main__":
    main()
