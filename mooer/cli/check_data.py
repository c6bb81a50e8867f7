"""mooer-check-data: is a data directory sound?"""

import click

from mooer.cli._command import command


@command
@click.option("--data_dir", required=True, type=click.Path(), help="Data directory (wav.scp, text, ...).")
@click.option("--num_workers", default=1, show_default=True, type=click.IntRange(0), help="Processes that decode recordings.")
def main(data_dir: str, num_workers: int) -> None:
    """Check a Kaldi data directory and name every fault with its file and line.

    Tables must be UTF-8, sorted by bytes, without duplicate ids or missing values; every recording is decoded; ids must match
    between wav.scp (or segments), text and utt2spk; segments must lie inside their recordings; texts must not be empty.

    Exit status: 0 sound, 1 faults found, 2 no data directory there.
    """
    from mooer.common.errors import PartialFailure
    from mooer.data.check import check_data_dir

    report = check_data_dir(data_dir, num_workers)
    for fault in report.faults:
        click.echo(str(fault))
    summary = f"{data_dir}: {report.num_utterances} utterances, {report.seconds / 3600:.2f} h"
    if report.faults:
        raise PartialFailure(f"{summary}, {len(report.faults)} faults")
    click.echo(f"{summary}, no faults")
