#!/usr/bin/env python3
"""Data directories from WenetSpeech as it is unpacked by its own scripts.

    WenetSpeech.json                                        all recordings with their segments, see long_recordings.py
    audio/{train,dev,test_net,test_meeting}/.../ID.opus     long recordings, named by "path"

A segment's "subsets" are among S, M and L (high confidence, 100, 1000 and 10,000 hours), W (weak labels), DEV, TEST_NET and
TEST_MEETING; "text" is its transcript. Layout as read by wenet examples/wenetspeech/s0/local/extract_meta.py and lhotse's
recipe.
"""

import sys
from pathlib import Path

# What the preparation of all corpora shares lies with the recipe that uses them all.
sys.path.append(str(Path(__file__).resolve().parents[2] / "mt5k" / "local"))
from corpus_command import corpus_command
from corpus_directory import write_sets
from corpus_files import find_corpus
from corpus_text import as_spoken
from long_recordings import read_segments

METADATA = "WenetSpeech.json"
SUBSETS = {
    "train_s": "S",
    "train_m": "M",
    "train_l": "L",
    "train_w": "W",
    "dev": "DEV",
    "test_net": "TEST_NET",
    "test_meeting": "TEST_MEETING",
}


@corpus_command(f"The folder that holds {METADATA} and audio.", list(SUBSETS), ("train_l", "dev", "test_net", "test_meeting"))
def main(corpus_dir: str, output_dir: str, sets: tuple[str, ...]) -> None:
    """Write wav.scp, segments and text for each set."""
    metadata = find_corpus(corpus_dir, "WenetSpeech", "WenetSpeech", METADATA) / METADATA
    write_sets(output_dir, {name: read_segments(metadata, SUBSETS[name], "text", as_spoken) for name in sets})


if __name__ == "__main__":
    main()
