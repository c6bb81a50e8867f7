"""mooer-pseudo-label: recordings, or recordings with transcripts, to training data with labels that models make."""

from typing import TYPE_CHECKING, Any

import click

from mooer.cli._command import command
from mooer.cli._options import PATH
from mooer.cli._report import progress_bar

if TYPE_CHECKING:
    from mooer.decode.hypothesis import Failure
    from mooer.pipeline.label_folder import Tally
    from mooer.pipeline.label_source import LabelSource
    from mooer.pipeline.pseudo_label import PseudoLabelConfig

SHARE = click.FloatRange(0, 1)
# Options by what alone gives them a meaning.
DEPENDENT = {
    "model_dir": ("task", "beam_size", "min_confidence"),
    "second_model_dir": ("second_beam_size", "max_disagreement"),
    "translation_model": ("source_language", "translation_prompt", "translation_beam_size", "translation_max_new_tokens"),
}
FILTER_OPTIONS = (
    "min_confidence",
    "max_disagreement",
    "min_characters_per_second",
    "max_characters_per_second",
    "min_length_ratio",
    "max_length_ratio",
    "normalizer",
)


@command
@click.option("--data_dir", type=PATH, help="Data directory to label.")
@click.option("--data_list", type=PATH, help="Data list to label: JSON objects, or paths of shards.")
@click.option("--output_dir", type=PATH, required=True, help="Becomes the labelled data directory.")
@click.option(
    "--model_dir",
    type=PATH,
    help="Recogniser, as mooer-decode takes it; without it the data's own transcripts are kept and translated.",
)
@click.option("--task", type=click.Choice(["asr", "mtl"]), help="mtl: the recogniser translates itself. [default: asr]")
@click.option("--second_model_dir", type=PATH, help="A second recogniser, which has to agree with the transcripts.")
@click.option("--translation_model", type=PATH, help="Local folder of an encoder-decoder or of a causal chat LLM.")
@click.option("--source_language", help="Of the transcripts: en, zh or a code of the translation model.")
@click.option("--target_language", type=click.Choice(["en", "zh"]), help="Of the translations: text.en or text.zh.")
@click.option("--translation_prompt", help="What the translation model is given, with {text} where the text stands.")
@click.option("--beam_size", type=click.IntRange(1, 64), help="Of a speech LLM. [default: 4]")
@click.option("--second_beam_size", type=click.IntRange(1, 64), help="The same for the second recogniser. [default: 4]")
@click.option("--translation_beam_size", type=click.IntRange(1, 64), help="Of the translation. [default: 4]")
@click.option("--translation_max_new_tokens", type=click.IntRange(1), help="[default: by the text's length, at most 512]")
@click.option("--batch_size", type=click.IntRange(1), help="Utterances, and texts, computed together. [default: 32]")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), help="Of all models. [default: float32]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "musa"]), help="[default: auto]")
@click.option("--min_confidence", type=SHARE, help="Of the recogniser. [default: 0.7]")
@click.option("--max_disagreement", type=SHARE, help="Edit distance of both transcripts, as a share. [default: 0.1]")
@click.option("--min_characters_per_second", type=click.FloatRange(0), help="Of the transcript. [default: 1]")
@click.option("--max_characters_per_second", type=click.FloatRange(0), help="Of the transcript. [default: 25]")
@click.option("--min_length_ratio", type=click.FloatRange(0), help="Units of translation to those of text. [default: 0.3]")
@click.option("--max_length_ratio", type=click.FloatRange(0), help="The same. [default: 3.5]")
@click.option(
    "--accept_flag", multiple=True, type=click.Choice(["max_new_tokens", "repetition"]), help="Keep texts with this flag."
)
@click.option("--normalizer", help="How texts are cleaned before they are compared and counted. [default: mooer-v1]")
@click.option("--part_size", type=click.IntRange(1), help="Utterances whose results are kept together. [default: 256]")
@click.option("--num_shards", type=click.IntRange(1), help="Processes that share the work; --merge follows. [default: 1]")
@click.option("--shard", type=click.IntRange(0), help="Which of them this is, from 0 on. [default: 0]")
@click.option("--merge", is_flag=True, help="Only judge the results of all shards and write the directory; opens no model.")
def main(merge: bool, **options: Any) -> None:
    """Transcribe recordings, translate the transcripts, leave out what seems wrong, and write a data directory of the rest.

    Without --model_dir the transcripts (label text) are those of the data, and only translated. All other labels that the data
    may have are left aside.

    OUTPUT_DIR gets text, text.en or text.zh, wav.scp, segments and utt2spk of what is kept; kept.jsonl and rejected.jsonl with
    all values and reasons; report.json and report.png; and failed.jsonl if something failed: the exit status is then 1. A run
    that was killed goes on when it is started again. With --merge and other bounds the results are judged again.
    """
    from mooer.common.errors import PartialFailure
    from mooer.pipeline.pseudo_label import PseudoLabeller

    given = {name: value for name, value in options.items() if value not in (None, ())}
    _check(given, merge)
    config = _config(given)
    job = PseudoLabeller(config, _source(given))
    failures = [] if merge else job.label(progress_bar)
    if not merge and config.num_shards > 1:
        click.echo(f"{config.output_dir}: shard {config.shard} of {config.num_shards} is done; --merge follows", err=True)
        if failures:
            raise PartialFailure(f"{len(failures)} utterances of this shard failed, the others are done")
        return
    tally = job.merge()
    if merge:
        _name_failures(tally.failures)
    _finish(config, tally)


def _check(given: dict[str, Any], merge: bool) -> None:
    """Exits with a message for options that cannot go together."""
    if ("data_dir" in given) == ("data_list" in given):
        raise click.UsageError("give exactly one of --data_dir and --data_list")
    if merge and {"num_shards", "shard"} & given.keys():
        raise click.UsageError("--merge takes all shards together; leave out --num_shards and --shard")
    if ("num_shards" in given) != ("shard" in given):
        raise click.UsageError("--num_shards and --shard belong together")
    for needed, names in DEPENDENT.items():
        useless = [name for name in names if name in given]
        if useless and needed not in given:
            raise click.UsageError(f"--{useless[0]} means nothing without --{needed}")
    if "model_dir" not in given and "translation_model" not in given:
        needed = "give --translation_model and --target_language, or a recogniser (--model_dir) that transcribes"
        raise click.UsageError(f"without --model_dir the data's own transcripts are translated: {needed}")
    if "translation_model" in given and given.get("task") == "mtl":
        raise click.UsageError("--task mtl translates itself and excludes --translation_model")
    translates = "translation_model" in given or given.get("task") == "mtl"
    if translates != ("target_language" in given):
        raise click.UsageError("--target_language belongs to --translation_model and to --task mtl, which need it")
    useless = [name for name in ("min_length_ratio", "max_length_ratio") if name in given]
    if useless and not translates:
        raise click.UsageError(f"--{useless[0]} means nothing without a translation")


def _config(given: dict[str, Any]) -> "PseudoLabelConfig":
    from pathlib import Path

    from mooer.pipeline.label_filters import FilterConfig
    from mooer.pipeline.pseudo_label import PseudoLabelConfig
    from mooer.pipeline.recognition import RecognitionConfig
    from mooer.pipeline.translation import TranslatorConfig

    def values(*names: str, prefix: str = "") -> dict[str, Any]:
        return {name: given[prefix + name] for name in names if prefix + name in given}

    shared = values("batch_size", "dtype", "device")
    first, second, translator = None, None, None
    if "second_model_dir" in given:
        second = RecognitionConfig(**values("model_dir", "beam_size", prefix="second_"), **shared)
    if "translation_model" in given:
        translator = TranslatorConfig(
            model_dir=Path(given["translation_model"]),
            **values("source_language", "target_language"),
            **values("prompt", "beam_size", "max_new_tokens", prefix="translation_"),
            **shared,
        )
    if "model_dir" in given:
        target = values("target_language") if translator is None else {}
        first = RecognitionConfig(**values("model_dir", "task", "beam_size"), **target, **shared)
    return PseudoLabelConfig(
        output_dir=Path(given["output_dir"]),
        recogniser=first,
        second=second,
        translator=translator,
        filters=FilterConfig(accepted_flags=given.get("accept_flag", ()), **values(*FILTER_OPTIONS)),
        **values("part_size", "num_shards", "shard"),
    )


def _source(given: dict[str, Any]) -> "LabelSource":
    from mooer.pipeline.label_source import open_data_dir, open_data_list

    with_transcripts = "model_dir" not in given
    if "data_dir" in given:
        return open_data_dir(given["data_dir"], with_transcripts)
    return open_data_list(given["data_list"], with_transcripts)


def _name_failures(failures: "list[Failure]") -> None:
    from mooer.common.log import get_logger

    for failure in failures:
        get_logger(__name__).error("%s failed (%s): %s", failure.id, failure.reason, failure.message)


def _finish(config: "PseudoLabelConfig", tally: "Tally") -> None:
    """Say what was done.

    Raises:
        PartialFailure: something failed, or nothing is left.
    """
    from mooer.common.errors import PartialFailure

    hours = f"{tally.kept_seconds / 3600:.2f} h"
    click.echo(f"{config.output_dir}: {tally.kept} utterances kept ({hours}), {tally.rejected} rejected", err=True)
    if not tally.kept:
        raise PartialFailure(f"nothing was kept; {config.output_dir}/report.json says why")
    if tally.failures:
        raise PartialFailure(f"{len(tally.failures)} utterances failed; they are listed in {config.output_dir}/failed.jsonl")
