#!/usr/bin/env python3
"""Take the marks out of texts and let a model put them back: how good it is where every word is right."""

from pathlib import Path

import click

from mooer.cli._command import command
from mooer.data.lists import read_table, write_table
from mooer.pipeline.punctuation import Punctuator, PunctuatorConfig
from mooer.text.marks import read_marks


@command
@click.option("--punc_dir", type=click.Path(path_type=Path), required=True, help="Published punctuation model.")
@click.option("--text", type=click.Path(path_type=Path), required=True, help="`ID TEXT` a line, with marks.")
@click.option("--output_file", type=click.Path(path_type=Path), required=True, help="Gets the texts with the model's marks.")
def main(punc_dir: Path, text: Path, output_file: Path) -> None:
    """Punctuate every text anew."""
    punctuate = Punctuator.from_folder(punc_dir, PunctuatorConfig(device="cpu"))
    words = {name: " ".join(read_marks(value).words) for name, value in read_table(text).items()}
    write_table(output_file, {name: punctuate(value).text for name, value in words.items()})


if __name__ == "__main__":
    main()
