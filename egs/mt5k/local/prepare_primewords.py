#!/usr/bin/env python3
"""A data directory from Primewords Chinese Corpus Set 1 as it is published (OpenSLR 47), which has no sets.

    primewords_md_2018_set1/audio_files/X/XX/NAME.wav
    primewords_md_2018_set1/set1_transcript.json          [{"id", "file": "NAME.wav", "user_id", "text", "length"}, ...]

Layout as read by kaldi egs/multi_cn/s5/local/primewords_parse_transcript.py and lhotse's recipe. Kaldi's expects 50,384
recordings; the file of transcripts has some hundreds more, which are counted and listed and are no failure.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from corpus_command import corpus_command
from corpus_directory import CorpusUtterance, write_sets
from corpus_files import find_corpus
from corpus_text import as_spoken

from mooer.common.errors import DataError
from mooer.common.files import require_dir
from mooer.data.utterance import Problem

TRANSCRIPTS = "set1_transcript.json"
KEYS = ("file", "user_id", "text")
NO_RECORDING = "no_recording"


@corpus_command("The folder primewords_md_2018_set1, or the one that holds it.", ("train",), ("train",))
def main(corpus_dir: str, output_dir: str, sets: tuple[str, ...]) -> None:
    """Write wav.scp, text and utt2spk."""
    corpus = find_corpus(corpus_dir, "Primewords", "primewords_md_2018_set1", TRANSCRIPTS)
    write_sets(output_dir, {name: read_corpus(corpus) for name in sets}, known={NO_RECORDING})


def read_corpus(corpus: Path) -> Iterator[CorpusUtterance | Problem]:
    """What the corpus holds.

    Raises:
        PathError: there are no recordings.
        DataError: the transcripts are not a JSON list.
    """
    folder = require_dir(corpus / "audio_files", "folder of recordings")
    try:
        records = json.loads((corpus / TRANSCRIPTS).read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{corpus / TRANSCRIPTS} is not JSON: {error}") from error
    if not isinstance(records, list):
        raise DataError(f"{corpus / TRANSCRIPTS} is not a list of transcripts")
    return _entries({path.name: path for path in sorted(folder.rglob("*.wav"))}, records)


def _entries(recordings: dict[str, Path], records: list[Any]) -> Iterator[CorpusUtterance | Problem]:
    transcribed = set()
    for number, record in enumerate(records):
        values = [record.get(key) for key in KEYS] if isinstance(record, dict) else []
        if not values or not all(isinstance(value, str) for value in values):
            name = f"{TRANSCRIPTS}:{number}"
            yield Problem(name, "malformed_record", f"{name}: {record!r} has no text under each of {', '.join(KEYS)}")
            continue
        file, speaker, transcript = values
        name = file.removesuffix(".wav")
        transcribed.add(file)
        if file in recordings:
            yield CorpusUtterance(id=name, audio=str(recordings[file]), text=as_spoken(transcript), speaker=speaker)
        else:
            yield Problem(name, NO_RECORDING, f"{name}: has a transcript, but there is no audio_files/**/{file}")
    for file, path in recordings.items():
        if file not in transcribed:
            yield Problem(path.stem, "no_transcript", f"{path.stem}: {path} has no transcript")


if __name__ == "__main__":
    main()
