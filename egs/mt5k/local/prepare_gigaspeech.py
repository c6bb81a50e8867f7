#!/usr/bin/env python3
"""Data directories from GigaSpeech as it is unpacked by its own scripts.

    GigaSpeech.json                                         all recordings with their segments, see long_recordings.py
    audio/{audiobook,podcast,youtube}/PART/ID.opus          long recordings, named by "path"

A segment's "subsets" are among {XL}, {L}, {M}, {S}, {XS}, {DEV} and {TEST}; "text_tn" is its transcript in upper case, with
tags for punctuation, or a tag where there is no speech. Layout as read by the corpus's own toolkits/kaldi/extract_meta.py,
tags as in its gigaspeech_data_prep.sh, which removes those of the first kind and leaves out segments with one of the second.
Speakers are not known.
"""

from corpus_command import corpus_command
from corpus_directory import write_sets
from corpus_files import find_corpus
from corpus_text import as_written
from long_recordings import NO_SPEECH, read_segments

METADATA = "GigaSpeech.json"
SUBSETS = {
    "train_xs": "{XS}",
    "train_s": "{S}",
    "train_m": "{M}",
    "train_l": "{L}",
    "train_xl": "{XL}",
    "dev": "{DEV}",
    "test": "{TEST}",
}
PUNCTUATION_TAGS = ("<COMMA>", "<PERIOD>", "<QUESTIONMARK>", "<EXCLAMATIONPOINT>")
NO_SPEECH_TAGS = ("<SIL>", "<MUSIC>", "<NOISE>", "<OTHER>")


@corpus_command(f"The folder that holds {METADATA} and audio.", list(SUBSETS), ("dev", "test"))
def main(corpus_dir: str, output_dir: str, sets: tuple[str, ...]) -> None:
    """Write wav.scp, segments and text for each set."""
    metadata = find_corpus(corpus_dir, "GigaSpeech", "GigaSpeech", METADATA) / METADATA
    write_sets(
        output_dir, {name: read_segments(metadata, SUBSETS[name], "text_tn", spoken_words) for name in sets}, known={NO_SPEECH}
    )


def spoken_words(transcript: str) -> str | None:
    """The transcript without tags of punctuation; None if a tag says that it is not speech."""
    if any(tag in transcript for tag in NO_SPEECH_TAGS):
        return None
    for tag in PUNCTUATION_TAGS:
        transcript = transcript.replace(tag, " ")
    return as_written(transcript)


if __name__ == "__main__":
    main()
