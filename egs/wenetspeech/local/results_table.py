#!/usr/bin/env python3
"""Character error rates of the test sets that were decoded, beside the published ones."""

import sys
from pathlib import Path

import click

from mooer.cli._command import command
from mooer.common.errors import DataError
from mooer.common.provenance import record
from mooer.data.lists import read_table
from mooer.score.wer import score_error_rate

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))

from result_table import markdown, write_results

SETS = ("dev", "test_net", "test_meeting", "aishell1")
# You et al. 2022, "3M", 32 experts; AISHELL-1 by the same model.
PUBLISHED = dict(zip(SETS, (7.49, 7.99, 13.69, 4.03), strict=True))


@command
@click.option("--data_dir", type=click.Path(path_type=Path), required=True, help="Has a data directory a set.")
@click.option("--decode_dir", type=click.Path(path_type=Path), required=True, help="Has the results of a set each.")
@click.option("--system", required=True, help="What the row of this model is called.")
def main(data_dir: Path, decode_dir: Path, system: str) -> None:
    """Print the table; write it, and the figures, below DECODE_DIR."""
    found = [name for name in SETS if (decode_dir / name).is_dir()]
    if not found:
        raise DataError(f"{decode_dir} has results of none of {', '.join(SETS)}")
    rates = {name: error_rate(data_dir / name, decode_dir / name) for name in found}
    columns = {name: f"{name} CER %" for name in found}
    table = markdown(
        {"here": rates, "published": {name: PUBLISHED[name] for name in found}},
        {"here": system, "published": "3M-ASR, published"},
        columns,
    )
    write_results(decode_dir, {"results": rates, "published": PUBLISHED, "run": record()}, table)
    click.echo(table, nl=False)


def error_rate(data: Path, decoded: Path) -> float:
    """In percent."""
    hypotheses = read_table(decoded / "1best_recog" / "text", allow_empty=True)
    return score_error_rate(read_table(data / "text"), hypotheses, "cer").counts.percent


if __name__ == "__main__":
    main()
