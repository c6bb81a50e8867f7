#!/usr/bin/env python3
"""Data directories from MAGICDATA Mandarin Chinese Read Speech as it is published (OpenSLR 68).

    {train,dev,test}/TRANS.txt                      UtteranceID<TAB>SpeakerID<TAB>Transcription, a header and a line each
    {train,dev,test}/SPEAKER/UTTERANCE.wav          UtteranceID is the file's name, with .wav

Layout as read by kaldi egs/multi_cn/s5/local/magicdata_data_prep.sh and lhotse's recipe. Transcripts have punctuation, [FIL]
for fillers and [SPK] for noises of a speaker, which are removed here as in these two. Two recordings are known to be bad.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from corpus_command import corpus_command
from corpus_directory import CorpusUtterance, write_sets
from corpus_files import corpus_tsv, find_corpus
from corpus_text import as_spoken

from mooer.common.files import require_file
from mooer.data.utterance import Problem

SETS = ("train", "dev", "test")
COLUMNS = ("UtteranceID", "SpeakerID", "Transcription")
# Named in lhotse's recipe.
BAD_RECORDINGS = frozenset({"16_4013_20170819121429", "18_1565_20170712000170"})
BAD_RECORDING = "bad_recording"

_NOISE = re.compile(r"\[?(?<![A-Za-z])(?:FIL|SPK)(?![A-Za-z])\]?")


@corpus_command("The folder that holds train, dev and test, or the folder magicdata in it.", SETS, SETS)
def main(corpus_dir: str, output_dir: str, sets: tuple[str, ...]) -> None:
    """Write wav.scp, text and utt2spk for each set."""
    corpus = find_corpus(corpus_dir, "MAGICDATA", "magicdata", Path(sets[0], "TRANS.txt"))
    write_sets(output_dir, {name: read_set(corpus / name) for name in sets}, known={BAD_RECORDING})


def read_set(folder: Path) -> Iterator[CorpusUtterance | Problem]:
    """What a set holds. Raises PathError if its transcripts are missing."""
    return _entries(folder, require_file(folder / "TRANS.txt", "file of transcripts"))


def _entries(folder: Path, table: Path) -> Iterator[CorpusUtterance | Problem]:
    problems: list[Problem] = []
    recordings = {path.name: path for path in sorted(folder.glob("*/*.wav"))}
    transcribed = set()
    for number, (file, speaker, transcript) in corpus_tsv(table, COLUMNS, problems):
        name = file.removesuffix(".wav")
        transcribed.add(file)
        if name in BAD_RECORDINGS:
            yield Problem(name, BAD_RECORDING, f"{name}: the recording is known to be bad")
        elif file not in recordings:
            yield Problem(name, "missing_audio", f"{name}: {table}:{number} names it, but there is no {folder}/SPEAKER/{file}")
        else:
            text = as_spoken(_NOISE.sub(" ", transcript))
            yield CorpusUtterance(id=name, audio=str(recordings[file]), text=text, speaker=speaker)
    yield from problems
    for file, path in recordings.items():
        if file not in transcribed:
            yield Problem(path.stem, "no_transcript", f"{path.stem}: {table} does not have it")


if __name__ == "__main__":
    main()
