#!/usr/bin/env python3
"""A data directory from the development set of BSTC, the Chinese talks of CCMT 2019's speech translation task into English.

    TALK.wav            a talk of some minutes
    TALK.asr.json       a line a segment, a JSON object with offset and duration (seconds), transcript and translation

The corpus is given out on registration only, and no description of its layout by its makers was at hand. This is what public
readers of it agree on, for the development set of 16 talks (development_data.zip) unpacked into one folder; seconds are
numbers, or texts that are numbers. So the reading is strict: anything else is a problem with file and line. For a copy in
another layout write a table and give it to prepare_tsv.py. Transcripts and translations stay as published.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from corpus_command import corpus_command
from corpus_directory import CorpusUtterance, Segment, write_sets
from corpus_files import corpus_lines, find_corpus, malformed
from corpus_text import tidy

from mooer.data.utterance import Problem

ANNOTATIONS = ".asr.json"
TIMES, TEXTS = ("offset", "duration"), ("transcript", "translation")


@corpus_command("The unpacked development set.", ("dev",), ("dev",))
def main(corpus_dir: str, output_dir: str, sets: tuple[str, ...]) -> None:
    """Write wav.scp, segments, text (Chinese) and text.en."""
    corpus = find_corpus(corpus_dir, "the development set of BSTC", "development_data", f"*{ANNOTATIONS}")
    write_sets(output_dir, {name: read_set(corpus) for name in sets})


def read_set(corpus: Path) -> Iterator[CorpusUtterance | Problem]:
    """All segments of all talks; a recording without annotations is a problem, and the other way round."""
    talks = {path.name.removesuffix(ANNOTATIONS) for path in corpus.glob(f"*{ANNOTATIONS}")}
    for talk in sorted(talks | {path.stem for path in corpus.glob("*.wav")}):
        audio, annotations = corpus / f"{talk}.wav", corpus / f"{talk}{ANNOTATIONS}"
        if not annotations.is_file():
            yield Problem(talk, "no_transcript", f"{talk}: {annotations} does not exist")
        elif not audio.is_file():
            yield Problem(talk, "missing_audio", f"{talk}: {audio} does not exist")
        else:
            yield from _segments(talk, audio, annotations)


def _segments(talk: str, audio: Path, annotations: Path) -> Iterator[CorpusUtterance | Problem]:
    problems: list[Problem] = []
    for number, line in corpus_lines(annotations, problems):
        try:
            values = _values(line)
        except (ValueError, TypeError, KeyError) as error:
            problems.append(malformed(annotations, number, f"is no segment: {error!r}"))
            continue
        (offset, duration), (transcript, translation) = values
        stretch = Segment(f"bstc_{talk}", offset, round(offset + duration, 6))
        name = f"{stretch.recording}_{number:05d}"
        yield CorpusUtterance(id=name, audio=str(audio), text=tidy(transcript), english=tidy(translation), segment=stretch)
    yield from problems


def _values(line: str) -> tuple[list[float], list[str]]:
    """Times and texts of a segment. Raises ValueError, TypeError or KeyError."""
    record = json.loads(line)
    texts = [record[key] for key in TEXTS]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{' and '.join(TEXTS)} must be texts")
    return [float(record[key]) for key in TIMES], texts


if __name__ == "__main__":
    main()
