"""mooer-compute-cmvn: global mean and variance of a data set."""

import click

from mooer.cli._command import command
from mooer.cli._report import progress_bar


@command
@click.option("--data_dir", type=click.Path(), help="Data directory; either this or --data_list.")
@click.option("--data_list", type=click.Path(), help="Data list, raw or of shards.")
@click.option("--output_file", required=True, type=click.Path(), help="The file to write.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["am_mvn", "json"]),
    default="am_mvn",
    show_default=True,
    help="am_mvn: Kaldi nnet text, as Paraformer has it; json: sums over all frames, as WeNet and 3M-ASR have it.",
)
@click.option("--num_mel_bins", type=click.IntRange(3, 128), default=80, show_default=True, help="Mel filters of the fbank.")
@click.option(
    "--window",
    type=click.Choice(["hamming", "povey"]),
    default="hamming",
    show_default=True,
    help="Window of the fbank: as the model's front end has it.",
)
@click.option("--lfr_m", type=click.IntRange(1, 100), help="Frames that LFR stacks, 7 by default; json has them before LFR.")
@click.option("--num_workers", type=click.IntRange(0), default=1, show_default=True, help="Processes.")
def main(
    data_dir: str | None,
    data_list: str | None,
    output_file: str,
    file_format: str,
    num_mel_bins: int,
    window: str,
    lfr_m: int | None,
    num_workers: int,
) -> None:
    """Compute what normalises a model's frames, over all utterances without augmentation.

    The result does not depend on the number of workers. Utterances that cannot be read are named; the exit status is then 1,
    and the file is written from the others.
    """
    from mooer.common.errors import PartialFailure
    from mooer.data.statistics import compute_cmvn, find_utterances
    from mooer.features.cmvn import write_cmvn, write_cmvn_sums

    if file_format == "json" and lfr_m is not None:
        raise click.UsageError("--lfr_m belongs to --format am_mvn: the sums of json are those before LFR")
    utterances, problems = find_utterances(data_dir, data_list)
    report = compute_cmvn(utterances, num_mel_bins, lfr_m or 7, num_workers, progress_bar, window)
    if file_format == "json":
        write_cmvn_sums(output_file, report.sums)
    else:
        write_cmvn(output_file, report.cmvn)
    click.echo(f"{output_file}: {report.num_utterances} utterances, {report.sums.num_frames} frames", err=True)
    problems += report.problems
    for problem in problems:
        click.echo(f"{problem.id}: {problem.reason}: {problem.message}", err=True)
    if problems:
        raise PartialFailure(f"{len(problems)} could not be used")
