"""mooer-dump-feats: fbank features of a data set as Kaldi archives."""

import click

from mooer.cli._command import command
from mooer.cli._report import finish, progress_bar


@command
@click.option("--data_dir", type=click.Path(), help="Data directory; either this or --data_list.")
@click.option("--data_list", type=click.Path(), help="Data list, raw or of shards.")
@click.option("--output_dir", required=True, type=click.Path(), help="Where archives, feats.scp and data.list are written.")
@click.option("--num_mel_bins", type=click.IntRange(3, 128), default=80, show_default=True, help="Mel filters of the fbank.")
@click.option(
    "--window",
    type=click.Choice(["hamming", "povey"]),
    default="hamming",
    show_default=True,
    help="Window of the fbank: as the model's front end has it.",
)
@click.option("--num_workers", type=click.IntRange(0), default=1, show_default=True, help="Processes.")
def main(
    data_dir: str | None, data_list: str | None, output_dir: str, num_mel_bins: int, window: str, num_workers: int
) -> None:
    """Write fbank features, before LFR and CMVN, to ark files with feats.scp, utt2num_frames and a data.list with the labels.

    Training and decoding read OUTPUT_DIR/data.list in the place of recordings. Utterances that cannot be read are listed in
    OUTPUT_DIR/failed.jsonl; the exit status is then 1.
    """
    from mooer.data.statistics import dump_feats, find_utterances

    utterances, problems = find_utterances(data_dir, data_list)
    report = dump_feats(utterances, output_dir, num_mel_bins, num_workers, progress_bar, window)
    finish(output_dir, report.num_utterances, [*problems, *report.problems])
