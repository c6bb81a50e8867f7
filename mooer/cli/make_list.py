"""mooer-make-list: a data directory to a data list or shards."""

import click

from mooer.cli._command import command
from mooer.cli._report import finish, progress_bar


@command
@click.option(
    "--data_dir", required=True, type=click.Path(), help="Folder with wav.scp or feats.scp, segments, text, text.LABEL."
)
@click.option("--output_dir", required=True, type=click.Path(), help="Where data.list (and the shards) are written.")
@click.option(
    "--format",
    "list_format",
    type=click.Choice(["raw", "shard"]),
    default="shard",
    show_default=True,
    help="raw: one JSON object an utterance; shard: tar files with recordings and texts inside.",
)
@click.option("--labels", help="Label names, separated by commas: text, or en for text.en. All there are by default.")
@click.option("--num_utts_per_shard", type=click.IntRange(1), default=1000, show_default=True, help="Utterances of a shard.")
@click.option("--num_workers", type=click.IntRange(0), default=1, show_default=True, help="Processes.")
@click.option(
    "--audio_format",
    type=click.Choice(["wav", "flac"]),
    default="wav",
    show_default=True,
    help="How shards store recordings, at 16 kHz mono 16 bit.",
)
@click.option("--keep_audio", is_flag=True, help="Shards keep the original files' bytes (not with segments).")
@click.option("--resample", is_flag=True, help="raw: write 16 kHz mono copies, segments cut out, and list those.")
def main(
    data_dir: str,
    output_dir: str,
    list_format: str,
    labels: str | None,
    num_utts_per_shard: int,
    num_workers: int,
    audio_format: str,
    keep_audio: bool,
    resample: bool,
) -> None:
    """Make the data.list that training and decoding read.

    Shards hold recordings at 16 kHz unless --keep_audio. Utterances that cannot be used are listed with their reasons in
    OUTPUT_DIR/failed.jsonl; the exit status is then 1 and all others are written. Running it again makes the same bytes, with
    any number of workers.
    """
    from mooer.common.errors import ConfigError
    from mooer.data.directory import read_data_dir
    from mooer.data.packing import PackOptions, make_raw_list, make_shards

    if keep_audio and (list_format == "raw" or resample):
        raise ConfigError("--keep_audio is for shards and excludes --resample; a raw list refers to the original files anyway")
    names = None if labels is None else tuple(name.strip() for name in labels.split(",") if name.strip())
    data = read_data_dir(data_dir, names)
    if list_format == "raw":
        report = make_raw_list(data.utterances, output_dir, resample, num_workers, progress_bar)
    else:
        stored = "keep" if keep_audio else audio_format
        options = PackOptions(audio_format=stored, num_utts_per_shard=num_utts_per_shard, num_workers=num_workers)
        report = make_shards(data.utterances, output_dir, options, progress_bar)
    finish(output_dir, report.num_utterances, [*data.problems, *report.problems])
