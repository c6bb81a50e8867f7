"""mooer-decode: recordings to text."""

from typing import TYPE_CHECKING, Any

import click

from mooer.cli._command import command
from mooer.cli._options import PATH, given_options, part_options, recording_options

if TYPE_CHECKING:
    from mooer.data.utterance import Problem, Utterance
    from mooer.decode.recognizer import Recognizer
    from mooer.models.conformer_reference import ReferencePaths

REFERENCE_OPTIONS = ("config", "checkpoint", "dict", "cmvn_path")
PART_OPTIONS = ("encoder_path", "adapter_path", "llm_path", "lora_dir", "cmvn_path")
# What only a speech LLM has a use for, what it has none for, and what is asked of a beam search with other scores.
LLM_OPTIONS = ("target_language", "instruction", "max_new_tokens", "length_penalty", "batch_seconds")
FUSION_OPTIONS = ("lm_dir", "lm_weight", "ctc_weight", "reverse_weight", "length_bonus")
CHUNK_OPTIONS = ("chunk_size", "left_chunks")
SEARCH_OPTIONS = ("beam_size", "nbest")
# What means nothing for a model of a family.
USELESS_OPTIONS = {
    "speech_llm": ("mode", "estimate_times", *FUSION_OPTIONS, *CHUNK_OPTIONS),
    "ctc": (*LLM_OPTIONS, "estimate_times", *CHUNK_OPTIONS),
    "conformer": (*LLM_OPTIONS, "estimate_times"),
    "paraformer": (*LLM_OPTIONS, "mode", *CHUNK_OPTIONS),
}
CONFIG_OPTIONS = (
    *("task", "mode", "estimate_times", "batch_size", "dtype", "device"),
    *LLM_OPTIONS,
    *SEARCH_OPTIONS,
    *FUSION_OPTIONS,
    *CHUNK_OPTIONS,
)


@command
@recording_options
@click.option("--data_list", type=PATH, help="Data list: JSON objects, or paths of shards.")
@click.option("--feats_scp", type=PATH, help="Table of fbank features before CMVN, `ID ARK:OFFSET` a line.")
@click.option("--model_dir", type=PATH, help="Run folder, model directory, released or published folder, or `mini`.")
@part_options
@click.option("--config", type=PATH, help="Of a 3M-ASR checkpoint; goes with --checkpoint, --dict and --cmvn_path.")
@click.option("--checkpoint", type=PATH, help="Weights of a 3M-ASR model.")
@click.option("--dict", type=PATH, help="Its dictionary, `TOKEN ID` a line (lang_char.txt).")
@click.option("--task", type=click.Choice(["asr", "ast", "mtl"]), help="Transcribe, translate or both. [default: asr]")
@click.option("--target_language", type=click.Choice(["en", "zh"]), help="Of the translation. [default: en]")
@click.option("--instruction", help="What the LLM is asked, in place of the task's own words.")
@click.option(
    "--mode",
    type=click.Choice(["ctc_greedy", "ctc_prefix_beam", "attention", "attention_rescoring"]),
    help="How a model of family ctc or conformer is searched. [default: attention_rescoring with an attention decoder; else "
    "ctc_greedy, with --lm_dir ctc_prefix_beam]",
)
@click.option("--estimate_times", is_flag=True, default=None, help="Times of words from a Paraformer trained without.")
@click.option("--beam_size", type=click.IntRange(1, 64), help="1 is greedy search. [default: by the model]")
@click.option("--lm_dir", type=PATH, help="Language model, for a Paraformer or a model of family ctc or conformer.")
@click.option("--lm_weight", type=click.FloatRange(min=0), help="Of its log probabilities. [default: 0.15]")
@click.option(
    "--ctc_weight", type=click.FloatRange(min=0), help="Of a Paraformer's CTC layer, or in rescoring. [default: 0, or 0.5]"
)
@click.option(
    "--reverse_weight", type=click.FloatRange(0, 1), help="Of the reverse decoder, in rescoring. [default: as trained]"
)
@click.option("--length_bonus", type=float, help="For each token, in a search with --lm_dir and the like. [default: 0]")
@click.option("--max_new_tokens", type=click.IntRange(min=1), help="[default: by the audio's length, at most 200]")
@click.option("--length_penalty", type=float, help="Larger favours longer answers. [default: 0.8]")
@click.option("--nbest", type=click.IntRange(0, 64), help="Best answers for results.jsonl. [default: 0]")
@click.option("--chunk_size", type=click.IntRange(min=1), help="Hear so many frames of 40 ms at a time (causal Conformers).")
@click.option("--left_chunks", type=click.IntRange(min=0), help="Chunks back that are seen. [default: all]")
@click.option("--batch_size", type=click.IntRange(min=1), help="Utterances decoded together. [default: 32]")
@click.option("--batch_seconds", type=click.FloatRange(min=0, min_open=True), help="The same, by seconds of audio.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16", "int8", "fast"]), help="[default: float32]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "musa"]), help="[default: auto]")
@click.option(
    "--stream", is_flag=True, default=None, help="Print the text of one recording as it is written, by greedy search."
)
@click.option("--output_dir", type=PATH, help="Gets 1best_recog/, results.jsonl and run.json.")
def main(files: tuple[str, ...], **options: Any) -> None:
    """Turn recordings into text: `ID<TAB>TEXT` a line on standard output, in input order.

    With --task mtl a line is `ID<TAB>TRANSCRIPT<TAB>TRANSLATION`. Utterances that fail are named on standard error, the
    exit status is then 1; the others are not harmed.
    """
    from mooer.common.errors import PartialFailure

    given = given_options(options, files)
    utterances = _utterances(given)
    _check(given)
    if "stream" in given:
        _check_stream(utterances, given)
        _print_growing(_recognizer(given), utterances[0])
        return
    failures = _decode(_recognizer(given), utterances, given)
    if failures:
        raise PartialFailure(f"{failures} of {len(utterances)} utterances failed, the others are done")


def _utterances(given: dict[str, Any]) -> "list[Utterance | Problem]":
    """What to recognise; exits with a message if that is not said in exactly one way."""
    from mooer.common.errors import DataError
    from mooer.decode import inputs

    tables = {"wav_scp": inputs.from_wav_scp, "data_list": inputs.from_data_list, "feats_scp": inputs.from_feats_scp}
    sources = [name for name in ("wav_path", *tables) if name in given]
    if len(sources) != 1:
        found = [f"--wav_path {' '.join(given[name])}" if name == "wav_path" else f"--{name}" for name in sources]
        message = "give exactly one of --wav_path, --wav_scp, --data_list and --feats_scp"
        raise click.UsageError(f"{message}; given: {', '.join(found) or 'none'}")
    source = sources[0]
    if source == "wav_path":
        return inputs.from_files(list(given["wav_path"]))
    utterances = tables[source](given[source])
    if not utterances:
        raise DataError(f"--{source} {given[source]} holds no utterances")
    return utterances


def _check(given: dict[str, Any]) -> None:
    """Exits with a message for options that cannot go together."""
    from pathlib import Path

    if "batch_size" in given and "batch_seconds" in given:
        raise click.UsageError("--batch_size and --batch_seconds exclude each other")
    if "nbest" in given and "output_dir" not in given:
        raise click.UsageError("--nbest writes to results.jsonl, so it needs --output_dir")
    if given.get("task", "asr") == "asr" and "target_language" in given:
        raise click.UsageError("--target_language belongs to --task ast and mtl")
    folder = Path(given.get("output_dir", "."))
    if folder.exists() and not folder.is_dir():
        raise click.UsageError(f"--output_dir {folder} is not a folder")


def _check_stream(utterances: "list[Utterance | Problem]", given: dict[str, Any]) -> None:
    """Exits with a message for what makes no sense beside --stream."""
    if len(utterances) != 1:
        raise click.UsageError(f"--stream prints the text of one recording; given: {len(utterances)}")
    if given.get("beam_size", 1) != 1:
        raise click.UsageError(f"--stream is greedy search, so --beam_size can only be 1; given: {given['beam_size']}")
    useless = [name for name in ("output_dir", "batch_size", "batch_seconds") if name in given]
    if useless:
        raise click.UsageError(f"--{useless[0]} means nothing with --stream, which prints the text of one recording")


def _print_growing(recognizer: "Recognizer", utterance: "Utterance | Problem") -> None:
    """The line of `_decode` for one recording, bit by bit."""
    from mooer.decode.hypothesis import Hypothesis
    from mooer.decode.writer import tsv_line

    printed = ""
    for answer in recognizer.stream_utterance(utterance):
        is_multitask = answer.translation is not None
        line = tsv_line(Hypothesis(utterance.id, answer, 0.0, 0.0), is_multitask)
        if not line.startswith(printed):  # an answer of more lines than were asked for
            print()
            printed = ""
        print(line[len(printed) :], end="", flush=True)
        printed = line
    print("\t" if recognizer.config.task == "mtl" and not is_multitask else "")


def _recognizer(given: dict[str, Any]) -> "Recognizer":
    """The recognizer of the model that the options name."""
    from pathlib import Path

    from mooer.common.errors import ConfigError
    from mooer.decode.recognizer import DecodeConfig, Recognizer
    from mooer.models.model_dir import PartPaths

    config = DecodeConfig(**{name: given[name] for name in CONFIG_OPTIONS if name in given})
    named = {name.rsplit("_", 1)[0]: Path(given[name]) for name in PART_OPTIONS if name in given}
    rate = given.get("adapter_downsample_rate")
    if any(name in given for name in ("config", "checkpoint", "dict")):
        recognizer = Recognizer.from_reference(_reference_paths(given), config)
    elif "model_dir" in given:
        recognizer = Recognizer.from_model_dir(given["model_dir"], config, PartPaths(**named), rate)
    else:
        recognizer = Recognizer.from_parts(PartPaths(**named), config, rate)
    family = recognizer.loaded.config.family
    useless = [name for name in USELESS_OPTIONS[family] if name in given]
    if useless:
        raise ConfigError(f"--{useless[0]} means nothing for a model of family {family}")
    if family in ("ctc", "conformer") and recognizer.fusion is None and "beam_size" in given:
        raise ConfigError(
            f"--beam_size means nothing for a model of family {family} without --mode ctc_prefix_beam or the like"
        )
    return recognizer


def _reference_paths(given: dict[str, Any]) -> "ReferencePaths":
    """The files of a 3M-ASR model; exits with a message if one is not named, or another model beside it."""
    from pathlib import Path

    from mooer.models.conformer_reference import ReferencePaths

    missing = [f"--{name}" for name in REFERENCE_OPTIONS if name not in given]
    if missing:
        raise click.UsageError(f"a 3M-ASR model also needs {', '.join(missing)}")
    others = [name for name in ("model_dir", "adapter_downsample_rate", *PART_OPTIONS) if name in given and name != "cmvn_path"]
    if others:
        raise click.UsageError(f"--checkpoint names a 3M-ASR model; --{others[0]} has nothing to do with it")
    config, checkpoint, dictionary, cmvn = (Path(given[name]) for name in REFERENCE_OPTIONS)
    return ReferencePaths(config=config, checkpoint=checkpoint, dictionary=dictionary, cmvn=cmvn)


def _decode(recognizer: "Recognizer", utterances: "list[Utterance | Problem]", given: dict[str, Any]) -> int:
    """Print and write all results; returns how many utterances failed."""
    from contextlib import nullcontext

    from tqdm import tqdm

    from mooer.common.log import get_logger
    from mooer.decode.hypothesis import Failure
    from mooer.decode.writer import ResultFolder, tsv_line

    log = get_logger(__name__)
    failures = 0
    folder = ResultFolder(given["output_dir"], recognizer.record()) if "output_dir" in given else nullcontext()
    with folder, tqdm(total=len(utterances), unit="utt", disable=None) as progress:
        for result in recognizer.recognize_utterances(utterances):
            if isinstance(result, Failure):
                failures += 1
                log.error("%s failed (%s): %s", result.id, result.reason, result.message)
            else:
                with progress.external_write_mode():
                    print(tsv_line(result, recognizer.config.task == "mtl"), flush=True)
            if isinstance(folder, ResultFolder):
                folder.add(result)
            progress.update()
    return failures
