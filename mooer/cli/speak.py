"""mooer-speak: recordings to answers in speech."""

from typing import TYPE_CHECKING, Any

import click

from mooer.cli._command import command
from mooer.cli._options import (
    PATH,
    given_options,
    part_options,
    recording_options,
    recordings_of,
    speech_models_of,
    vocoder_options,
)
from mooer.cli._report import report_result

if TYPE_CHECKING:
    from mooer.data.utterance import Problem
    from mooer.pipeline.recording_sources import Recording
    from mooer.pipeline.speech_models import SpeechModels
    from mooer.text.conversation import Conversations


@command
@click.option("--task", type=click.Choice(["s2s_trans", "s2s_chat"]), required=True, help="Translate into English, or answer.")
@recording_options
@click.option("--model_dir", type=PATH, help="Speech LLM: run folder, model directory or released folder.")
@part_options
@vocoder_options(is_required=True)
@click.option("--history", type=PATH, help="Earlier turns, a JSON object a line: role (user, assistant), text, optional id.")
@click.option("--instruction", help="What the LLM is asked, in place of the task's own words.")
@click.option("--greedy", is_flag=True, default=None, help="Always the best token, in place of sampling.")
@click.option("--beam_size", type=click.IntRange(1, 64), help="Answers kept side by side. [default: 4]")
@click.option("--top_p", type=click.FloatRange(0, 1, min_open=True), help="[default: 0.85]")
@click.option("--top_k", type=click.IntRange(2, 1000), help="[default: 20]")
@click.option("--temperature", type=click.FloatRange(0.01, 100), help="[default: 1]")
@click.option("--max_new_tokens", type=click.IntRange(min=1), help="Text and audio tokens of an answer. [default: 1000]")
@click.option("--seed", type=int, help="What is drawn follows from it and an utterance's id. [default: 0]")
@click.option("--batch_size", type=click.IntRange(min=1), help="Utterances answered together. [default: 8]")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), help="Of the LLM. [default: float32]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "musa"]), help="[default: auto]")
@click.option("--resume", is_flag=True, default=None, help="Go on with what is in --output_dir.")
@click.option(
    "--output_dir", type=PATH, required=True, help="Gets ID.wav, 1best_recog/text, results.jsonl, run.json, journal/."
)
def main(files: tuple[str, ...], **options: Any) -> None:
    """Answer recordings in speech: ID.wav in --output_dir, and `ID<TAB>TEXT` a line on standard output.

    Recordings that fail are named on standard error, the exit status is then 1; the others are not harmed. A run that was
    killed goes on with --resume.
    """
    from pathlib import Path

    from mooer.common.errors import PartialFailure
    from mooer.pipeline.transcript_folder import check_unused

    given = given_options(options, files)
    recordings = _recordings(given)
    conversations = _conversations(given, recordings)
    check_unused(Path(given["output_dir"]), "resume" in given)
    failures = _speak(speech_models_of(given), recordings, conversations, given)
    if failures:
        raise PartialFailure(f"{failures} of {len(recordings)} recordings failed, the others are done")


def _recordings(given: dict[str, Any]) -> "list[Recording | Problem]":
    """What to answer; exits with a message if that is not said in exactly one way."""
    if ("wav_path" in given) == ("wav_scp" in given):
        found = "both" if "wav_path" in given else "neither"
        raise click.UsageError(f"give either --wav_path or --wav_scp; given: {found}")
    return recordings_of(given, allow_url=False)


def _conversations(given: dict[str, Any], recordings: "list[Recording | Problem]") -> "Conversations":
    """What was said before."""
    from mooer.pipeline.spoken import key_of
    from mooer.text.conversation import Conversations, read_conversations

    if "history" not in given:
        return Conversations()
    conversations = read_conversations(given["history"])
    conversations.check_ids([key_of(item) for item in recordings])
    return conversations


def _speak(
    models: "SpeechModels",
    recordings: "list[Recording | Problem]",
    conversations: "Conversations",
    given: dict[str, Any],
) -> int:
    """Write and print all answers; returns how many recordings failed."""
    from tqdm import tqdm

    from mooer.pipeline.speech_folder import SpeechFolder, SpeechJob
    from mooer.pipeline.speech_to_speech import answer_recordings

    models.answers.check_history(conversations.all())
    settings, record = models.settings(), models.record()
    job = SpeechJob(recordings=recordings, conversations=conversations, settings=settings, record=record)
    failures = 0
    folder = SpeechFolder(given["output_dir"], job, "resume" in given)
    with folder, tqdm(total=len(recordings), unit="rec", disable=None) as bar:
        for result in answer_recordings(models, recordings, conversations, folder):
            failures += report_result(result, bar, "the answer is")
            bar.update()
    return failures
