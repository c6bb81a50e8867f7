"""mooer-score-times: how far the times of recognised words are from the right ones."""

import click

from mooer.cli._command import command


@command
@click.option("--ref", type=click.Path(), required=True, help="ctm: `ID CHANNEL START DURATION WORD` a line, in seconds.")
@click.option("--hyp", type=click.Path(), required=True, help="results.jsonl of mooer-decode, or a ctm.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def main(ref: str, hyp: str, as_json: bool) -> None:
    """Compare starts and ends of the words that both sides have: median, 90th percentile and bias of the differences."""
    import json

    from mooer.score.timing import read_times, score_times

    report = score_times(read_times(ref), read_times(hyp))
    click.echo(json.dumps(report.values(), ensure_ascii=False) if as_json else report.table(), nl=as_json)
