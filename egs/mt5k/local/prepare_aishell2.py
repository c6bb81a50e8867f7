#!/usr/bin/env python3
"""Data directories from AISHELL-2 as it is published, a corpus and evaluation sets that are downloaded apart.

    AISHELL-2/iOS/data/{wav.scp,trans.txt,wav/SPEAKER/ID.wav}                                    training, 1000 hours
    AISHELL-DEV-TEST-SET/{iOS,Android,Mic}/{dev,test}/{wav.scp,trans.txt,wav/SPEAKER/ID.wav}     evaluation, AISHELL2-2018A

wav.scp has `ID<TAB>wav/SPEAKER/ID.wav` a line, paths from its own folder, trans.txt `ID<TAB>TRANSCRIPT`; some lines end as
on Windows. Layout as read by kaldi egs/aishell2/s5/local/prepare_data.sh, wenet examples/aishell2/s0/run.sh and espnet's
aishell2. Latin letters in the transcripts are full-width here and there, and quotation marks are left over: see `as_spoken`.
"""

from collections.abc import Iterator
from pathlib import Path

from corpus_command import corpus_command
from corpus_directory import CorpusUtterance, write_sets
from corpus_files import corpus_table
from corpus_text import as_spoken

from mooer.common.errors import DataError
from mooer.common.files import require_dir
from mooer.data.utterance import Problem

CHANNELS = ("iOS", "Android", "Mic")
FOLDERS = {"train": Path("iOS", "data")} | {
    f"{part}_{channel.lower()}": Path(channel, part) for part in ("dev", "test") for channel in CHANNELS
}
DOWNLOADS = ("", "AISHELL-2", "AISHELL-DEV-TEST-SET")


@corpus_command(
    "Holds the folders AISHELL-2 and AISHELL-DEV-TEST-SET, or is one of them.", list(FOLDERS), ("train", "dev_ios", "test_ios")
)
def main(corpus_dir: str, output_dir: str, sets: tuple[str, ...]) -> None:
    """Write wav.scp, text and utt2spk for each set; a set is train, or dev or test by one of three microphones."""
    write_sets(output_dir, {name: read_set(find_set(corpus_dir, name)) for name in sets})


def find_set(corpus_dir: str | Path, name: str) -> Path:
    """The folder of a set, in whichever download it is. Raises PathError or DataError."""
    corpus = require_dir(corpus_dir, "corpus folder").resolve()
    candidates = [corpus / download / FOLDERS[name] for download in DOWNLOADS]
    for folder in candidates:
        if (folder / "wav.scp").is_file() and (folder / "trans.txt").is_file():
            return folder
    looked = ", ".join(map(str, candidates))
    raise DataError(f"AISHELL-2 has no set {name} in {corpus}: there is no wav.scp with trans.txt in any of {looked}")


def read_set(folder: Path) -> Iterator[CorpusUtterance | Problem]:
    """What a set holds; a recording without a transcript, or the other way round, is a problem."""
    problems: list[Problem] = []
    recordings = corpus_table(folder / "wav.scp", problems)
    transcripts = corpus_table(folder / "trans.txt", problems)
    for name, value in recordings.items():
        if name not in transcripts:
            yield Problem(name, "no_transcript", f"{name}: {folder}/trans.txt does not have it")
            continue
        path = folder / value
        yield CorpusUtterance(id=name, audio=str(path), text=as_spoken(transcripts[name]), speaker=path.parent.name)
    for name in transcripts.keys() - recordings.keys():
        problems.append(Problem(name, "missing_audio", f"{name}: {folder}/wav.scp does not have it"))
    yield from sorted(problems, key=lambda problem: problem.message)


if __name__ == "__main__":
    main()
