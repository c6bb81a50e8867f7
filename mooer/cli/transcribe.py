"""mooer-transcribe: recordings of any length to text with punctuation, times and speakers."""

from typing import TYPE_CHECKING, Any

import click

from mooer.cli._command import command
from mooer.cli._options import PATH, given_options, recording_options, recordings_of
from mooer.cli._report import report_result

if TYPE_CHECKING:
    from mooer.data.utterance import Problem
    from mooer.decode.hypothesis import Failure
    from mooer.pipeline.long_audio import Transcriber
    from mooer.pipeline.recording_sources import Recording
    from mooer.pipeline.transcript_folder import TranscriptFolder
    from mooer.pipeline.transcription import Transcription

FORMATS = ("srt", "vtt", "textgrid", "rttm", "ctm")
SOURCES = ("wav_path", "wav_scp", "stdin")
# Options that are not part of the transcriber's configuration.
OTHER_OPTIONS = (*SOURCES, "raw_pcm", "allow_url", "formats", "resume", "output_dir")


@command
@recording_options
@click.option("--stdin", is_flag=True, default=None, help="An audio file on standard input; its id is stdin.")
@click.option("--raw_pcm", type=click.IntRange(1000, 768_000), metavar="RATE", help="What is on it are s16le samples, mono.")
@click.option("--allow_url", is_flag=True, default=None, help="Fetch recordings that are named by http and https URLs.")
@click.option("--model_dir", type=PATH, required=True, help="Recogniser, as mooer-decode takes it.")
@click.option("--lm_dir", type=PATH, help="Language model, for a Paraformer or a model of family ctc.")
@click.option("--lm_weight", type=click.FloatRange(min=0), help="Of its log probabilities. [default: 0.15]")
@click.option("--vad_dir", type=PATH, help="Published FSMN-VAD; needed for recordings of over a minute.")
@click.option("--punc_dir", type=PATH, help="Published CT-Transformer, for punctuation and sentences.")
@click.option("--spk_dir", type=PATH, help="Published CAM++, for speakers.")
@click.option("--align_dir", type=PATH, help="Paraformer or CTC model that tells when the words of a speech LLM are said.")
@click.option("--num_speakers", type=click.IntRange(min=1), help="[default: found out]")
@click.option("--silence_mode", type=click.Choice(["fixed", "dynamic"]), help="dynamic: the reference's. [default: fixed]")
@click.option("--max_end_silence_ms", type=click.IntRange(min=0), help="Pause that ends a segment. [default: the model's, 800]")
@click.option("--max_segment_ms", type=click.IntRange(1000, 300_000), help="[default: the model's, 60000; speech LLM: 20000]")
@click.option("--batch_seconds", type=click.FloatRange(0, 36_000, min_open=True), help="Decoded together. [default: 300]")
@click.option("--style", type=click.Choice(["published", "tidy"]), help="Spelling. [default: published with a Paraformer]")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16", "int8", "fast"]), help="[default: float32]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "musa"]), help="[default: auto]")
@click.option("--formats", help="Files a recording, some of srt,vtt,textgrid,rttm,ctm.")
@click.option("--resume", is_flag=True, default=None, help="Go on with what is in --output_dir.")
@click.option("--output_dir", type=PATH, help="Gets 1best_recog/, results.jsonl, run.json, a folder a format, journal/.")
def main(files: tuple[str, ...], **options: Any) -> None:
    """Turn recordings of any length into text: `ID<TAB>TEXT` a line on standard output.

    They are cut at pauses, recognised, punctuated, cut to sentences and given speakers, as far as there are models for it.
    Recordings that fail, and segments of them, are named on standard error; the exit status is then 1. A run that was killed
    goes on with --resume.
    """
    import tempfile
    from pathlib import Path

    from mooer.common.errors import PartialFailure

    given = given_options(options, files)
    formats = _formats(given)
    _check(given)
    with tempfile.TemporaryDirectory(prefix="mooer-") as temporary:
        recordings = _recordings(given, Path(temporary))
        failures = _transcribe(recordings, formats, given)
    if failures:
        raise PartialFailure(f"{failures} of {len(recordings)} recordings failed in whole or in part, the others are done")


def _formats(given: dict[str, Any]) -> list[str]:
    """The formats asked for; exits with a message for those that cannot be."""
    formats = list(dict.fromkeys(filter(None, given.get("formats", "").split(","))))
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or ("formats" in given and not formats):
        raise click.UsageError(f"--formats {given['formats']}: allowed are {', '.join(FORMATS)}, with commas between")
    if formats and "output_dir" not in given:
        raise click.UsageError("--formats writes files, so it needs --output_dir")
    if "rttm" in formats and "spk_dir" not in given:
        raise click.UsageError("--formats rttm tells who speaks, so it needs --spk_dir")
    return formats


def _check(given: dict[str, Any]) -> None:
    """Exits with a message for options that cannot go together."""
    sources = [name for name in SOURCES if name in given]
    if len(sources) != 1:
        found = ", ".join(f"--{name}" for name in sources) or "none"
        raise click.UsageError(f"give exactly one of --wav_path, --wav_scp and --stdin; given: {found}")
    for name, needed in (("raw_pcm", "stdin"), ("resume", "output_dir")):
        if name in given and needed not in given:
            raise click.UsageError(f"--{name} means nothing without --{needed}")
    if "allow_url" in given and "stdin" in given:
        raise click.UsageError("--allow_url means nothing with --stdin")


def _recordings(given: dict[str, Any], temporary: Any) -> "list[Recording | Problem]":
    """What to transcribe; standard input is kept in the folder `temporary`, when the options are known to be right."""
    from mooer.pipeline.recording_sources import Recording

    if "stdin" in given:
        return [Recording(key="stdin", path=str(temporary / "stdin"), raw_rate=given.get("raw_pcm"))]
    return recordings_of(given, given.get("allow_url", False))


def _transcribe(recordings: "list[Recording | Problem]", formats: list[str], given: dict[str, Any]) -> int:
    """Print and write all results; returns how many recordings failed in whole or in part."""
    import sys
    from contextlib import nullcontext
    from pathlib import Path

    from tqdm import tqdm

    from mooer.pipeline.long_audio import Transcriber
    from mooer.pipeline.recording_sources import spool
    from mooer.pipeline.transcribe_recordings import transcribe_recordings
    from mooer.pipeline.transcriber_config import TranscriberConfig
    from mooer.pipeline.transcript_folder import check_unused

    if "output_dir" in given:
        check_unused(Path(given["output_dir"]), "resume" in given)
    config = TranscriberConfig(**{name: value for name, value in given.items() if name not in OTHER_OPTIONS})
    failed = 0
    with tqdm(total=len(recordings), unit="rec", disable=None) as bar:
        transcriber = Transcriber(config, lambda seconds: bar.set_postfix_str(f"{seconds:.0f} s of this one"))
        folder = _folder(transcriber, formats, given)
        if "stdin" in given:
            spool(sys.stdin.buffer, Path(recordings[0].path))
        with folder or nullcontext():
            for result in transcribe_recordings(transcriber, recordings, folder):
                failed += _report(result, bar)
                bar.update()
    return failed


def _folder(transcriber: "Transcriber", formats: list[str], given: dict[str, Any]) -> "TranscriptFolder | None":
    from mooer.common.errors import ConfigError
    from mooer.pipeline.transcript_folder import TranscriptFolder

    if "ctm" in formats and not transcriber.models.has_times:
        raise ConfigError("--formats ctm needs times of words, which a speech LLM does not tell; name --align_dir")
    if "output_dir" not in given:
        return None
    record = transcriber.models.record()
    settings = {"settings": transcriber.models.settings(), "models": record["models"]}
    return TranscriptFolder(given["output_dir"], formats, settings, record, "resume" in given)


def _report(result: "Transcription | Failure", bar: Any) -> bool:
    """Print a result, and name what failed; returns whether anything did."""
    from mooer.common.log import get_logger

    if report_result(result, bar, "some segment is"):
        return True
    log = get_logger(__name__)
    for item in result.failures:
        log.error("%s: %d to %d ms failed (%s): %s", result.key, item.start, item.end, item.reason, item.message)
    return bool(result.failures)
