#!/usr/bin/env python3
"""Write text with marks to learn punctuation from: train.txt, dev.txt and test.txt, a paragraph a line.

The clauses of dev.txt and test.txt occur in no line of train.txt. Half of the training paragraphs break off in the midst of a
sentence, as the blocks do that a text is punctuated in.
"""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import click
from marked_sentences import LANGUAGES, Sentence, Sentences

from mooer.cli._command import command
from mooer.common.files import atomic_write
from mooer.common.seed import derived_seed

MAX_SENTENCES = 6
BROKEN_SHARE = 0.5
_SPACE = {"en": " ", "zh": ""}
# A word of English with what follows it, or a Chinese character with its mark.
_PIECES = re.compile(r"[a-z]+[,.?]?\s?|[^\sa-z,.?，。？、][，。？、]?")


def paragraphs(language: str, seed: int, held_out: bool) -> Iterator[list[Sentence]]:
    """Rows of sentences without end."""
    source, draw = Sentences(language, seed, held_out), random.Random(derived_seed(seed, "paragraphs"))
    while True:
        yield [source.written() for _ in range(draw.randint(1, MAX_SENTENCES))]


def join(sentences: list[Sentence]) -> str:
    """The paragraph as one line."""
    return _SPACE[sentences[0].language].join(sentence.text for sentence in sentences)


def broken_off(text: str, draw: random.Random) -> str:
    """The text up to some word, without the mark after that."""
    pieces = _PIECES.findall(text)
    return "".join(pieces[: draw.randint(2, len(pieces))]).rstrip(" ,.?，。？、")


@command
@click.option("--output_dir", type=click.Path(path_type=Path), required=True, help="Gets train.txt, dev.txt and test.txt.")
@click.option("--num_train", type=click.IntRange(1), default=6000, show_default=True, help="Training paragraphs a language.")
@click.option("--num_test", type=click.IntRange(1), default=200, show_default=True, help="Test paragraphs a language.")
@click.option("--seed", type=int, default=1, show_default=True)
def main(output_dir: Path, num_train: int, num_test: int, seed: int) -> None:
    """Write the three files."""
    for name, count in (("train", num_train), ("dev", max(1, num_test // 2)), ("test", num_test)):
        with atomic_write(output_dir / f"{name}.txt") as stream:
            for language in LANGUAGES:
                draw = random.Random(derived_seed(seed, name, language, "breaks"))
                source = paragraphs(language, derived_seed(seed, name, language), held_out=name != "train")
                for number, paragraph in zip(range(count), source, strict=False):
                    text = join(paragraph)
                    if name == "train" and draw.random() < BROKEN_SHARE:
                        text = broken_off(text, draw)
                    stream.write(f"{language}_{name}_{number:05d} {text}\n")


if __name__ == "__main__":
    main()
