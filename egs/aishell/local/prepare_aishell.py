#!/usr/bin/env python3
"""Data directories from AISHELL-1 as it is published.

    data_aishell/wav/{train,dev,test}/SPEAKER/ID.wav
    data_aishell/transcript/aishell_transcript_v0.8.txt     ID WORD WORD ...

Words are joined, as Chinese is written; English words stay apart. A few hundred recordings of the corpus have no transcript:
they are counted and left out.
"""

from pathlib import Path

import click

from mooer.cli._command import command
from mooer.common.errors import DataError
from mooer.common.files import require_dir
from mooer.common.log import get_logger
from mooer.data.lists import read_table, write_table
from mooer.text.packaging import package_fixed
from mooer.text.tokenizer import SPACE_SIGN

SETS = ("train", "dev", "test")
TRANSCRIPTS = Path("transcript", "aishell_transcript_v0.8.txt")


@command
@click.option("--corpus_dir", type=click.Path(), required=True, help="The folder data_aishell, or the one that holds it.")
@click.option("--output_dir", type=click.Path(file_okay=False), required=True, help="Gets train, dev and test.")
def main(corpus_dir: str, output_dir: str) -> None:
    """Write wav.scp, text and utt2spk for train, dev and test."""
    corpus = find_corpus(corpus_dir)
    transcripts = read_table(corpus / TRANSCRIPTS)
    for name in SETS:
        prepare_set(corpus / "wav" / name, transcripts, Path(output_dir) / name)


def find_corpus(folder: str | Path) -> Path:
    """The folder data_aishell in `folder`, or `folder` itself. Raises PathError or DataError."""
    folder = require_dir(folder, "corpus folder")
    for candidate in (folder, folder / "data_aishell"):
        if (candidate / TRANSCRIPTS).is_file():
            return candidate.resolve()
    raise DataError(f"{folder} does not hold AISHELL-1: there is no {TRANSCRIPTS} in it or in data_aishell")


def prepare_set(wav_dir: Path, transcripts: dict[str, str], output_dir: Path) -> None:
    """One data directory, sorted by utterance id.

    Raises:
        PathError: the set's folder is missing.
        DataError: it holds no recording with a transcript.
    """
    log = get_logger(__name__)
    require_dir(wav_dir, "folder of recordings")
    recordings = {path.stem: path for path in sorted(wav_dir.glob("*/*.wav"), key=lambda path: path.stem)}
    known = [name for name in recordings if name in transcripts]
    if not known:
        packed = " (the archives of the speakers are not unpacked)" if any(wav_dir.parent.glob("*.tar.gz")) else ""
        raise DataError(f"{wav_dir} holds no recording that has a transcript{packed}")
    if len(known) < len(recordings):
        log.warning("%s: %d recordings have no transcript and are left out", wav_dir.name, len(recordings) - len(known))
    write_table(output_dir / "wav.scp", {name: str(recordings[name]) for name in known})
    write_table(output_dir / "text", {name: as_written(transcripts[name]) for name in known})
    write_table(output_dir / "utt2spk", {name: recordings[name].parent.name for name in known})
    log.info("%s: %d utterances", wav_dir.name, len(known))


def as_written(transcript: str) -> str:
    """The transcript in upper case, without the spaces between Chinese words."""
    return package_fixed(transcript).replace(SPACE_SIGN, " ")


if __name__ == "__main__":
    main()
