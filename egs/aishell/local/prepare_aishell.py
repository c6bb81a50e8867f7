#!/usr/bin/env python3
"""Data directories from AISHELL-1 as it is published.

    data_aishell/wav/{train,dev,test}/SPEAKER/ID.wav
    data_aishell/transcript/aishell_transcript_v0.8.txt     ID WORD WORD ...

Words are joined, as Chinese is written; English words stay apart. A few hundred recordings of the corpus have no transcript:
they are counted, listed in failed.jsonl and left out.
"""

import sys
from pathlib import Path

import click

from mooer.cli._command import command
from mooer.data.lists import read_table

# What the preparation of all corpora shares lies with the recipe that uses them all.
sys.path.append(str(Path(__file__).resolve().parents[2] / "mt5k" / "local"))
from corpus_directory import write_sets
from corpus_files import find_corpus
from corpus_text import as_written
from speaker_folders import NO_TRANSCRIPT, read_speaker_folders

SETS = ("train", "dev", "test")
TRANSCRIPTS = Path("transcript", "aishell_transcript_v0.8.txt")


@command
@click.option("--corpus_dir", type=click.Path(), required=True, help="The folder data_aishell, or the one that holds it.")
@click.option("--output_dir", type=click.Path(file_okay=False), required=True, help="Gets train, dev and test.")
def main(corpus_dir: str, output_dir: str) -> None:
    """Write wav.scp, text and utt2spk for train, dev and test."""
    corpus = find_corpus(corpus_dir, "AISHELL-1", "data_aishell", TRANSCRIPTS)
    transcripts = read_table(corpus / TRANSCRIPTS)
    sets = {name: read_speaker_folders(corpus / "wav" / name, transcripts, as_written) for name in SETS}
    write_sets(output_dir, sets, known={NO_TRANSCRIPT})


if __name__ == "__main__":
    main()
