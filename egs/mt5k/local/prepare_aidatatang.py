#!/usr/bin/env python3
"""Data directories from aidatatang_200zh as it was published (OpenSLR 62; its owner has withdrawn it since).

    aidatatang_200zh/corpus/{train,dev,test}/SPEAKER/ID.wav              SPEAKER.tar.gz in the archive, to be unpacked
    aidatatang_200zh/transcript/aidatatang_200_zh_transcript.txt         ID WORD WORD ...

Layout as read by kaldi egs/multi_cn/s5/local/aidatatang_data_prep.sh and lhotse's recipe.
"""

from pathlib import Path

from corpus_command import corpus_command
from corpus_directory import write_sets
from corpus_files import corpus_table, find_corpus
from corpus_text import as_spoken
from speaker_folders import read_speaker_folders

from mooer.data.utterance import Problem

SETS = ("train", "dev", "test")
TRANSCRIPTS = Path("transcript", "aidatatang_200_zh_transcript.txt")


@corpus_command("The folder aidatatang_200zh, or the one that holds it.", SETS, SETS)
def main(corpus_dir: str, output_dir: str, sets: tuple[str, ...]) -> None:
    """Write wav.scp, text and utt2spk for each set."""
    corpus = find_corpus(corpus_dir, "aidatatang_200zh", "aidatatang_200zh", TRANSCRIPTS)
    problems: list[Problem] = []
    transcripts = corpus_table(corpus / TRANSCRIPTS, problems)
    entries = {name: read_speaker_folders(corpus / "corpus" / name, transcripts, as_spoken) for name in sets}
    write_sets(output_dir, entries, common=problems)


if __name__ == "__main__":
    main()
