"""mooer-normalize-text: transcripts as the data packaging wants them."""

from pathlib import Path

import click

from mooer.cli._command import command


@command
@click.option(
    "--rule",
    type=click.Choice(["released", "fixed"]),
    required=True,
    help="released: as the released models' data was packed, faults included; fixed: words beside digits and marks stay apart.",
)
@click.option("--input", "input_path", type=click.Path(), required=True, help="`ID TRANSCRIPT` a line.")
@click.option("--output", "output_path", type=click.Path(dir_okay=False), required=True, help="Written when all is done.")
def main(rule, input_path, output_path) -> None:
    """Rewrite the transcripts of a text file: upper case, U+2581 for spaces between words, none beside Chinese."""
    from mooer.common.errors import DataError
    from mooer.common.files import atomic_write, require_file
    from mooer.text.packaging import package_line

    content = require_file(Path(input_path), "text file").read_bytes()
    with atomic_write(output_path, "wb") as stream:
        for number, line in enumerate(content.removesuffix(b"\n").split(b"\n") if content else [], start=1):
            try:
                stream.write(package_line(line.decode("utf-8"), rule).encode("utf-8") + b"\n")
            except UnicodeDecodeError as error:
                raise DataError(f"{input_path}:{number}: not valid UTF-8; convert the file first") from error
            except DataError as error:
                raise DataError(f"{input_path}:{number}: {error}") from error
