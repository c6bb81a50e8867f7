"""mooer-find-speech: where recordings hold speech, as the label that voice activity detection learns from."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from mooer.cli._command import command

if TYPE_CHECKING:
    from torch import Tensor

    from mooer.common.speech_times import Stretch
    from mooer.data.utterance import Problem, Utterance


@command
@click.option("--data_dir", type=click.Path(), help="Data directory; either this or --data_list.")
@click.option("--data_list", type=click.Path(), help="Data list, raw or of shards.")
@click.option("--vad_dir", type=click.Path(), help="Published FSMN-VAD directory to find speech with.")
@click.option("--ctm", type=click.Path(), help="Times of words, `ID CHANNEL START DURATION WORD` a line, to take it from.")
@click.option("--output_file", required=True, type=click.Path(), help="Table to write, such as DATA_DIR/text.speech.")
@click.option(
    "--max_pause_ms", type=click.IntRange(0), help="Shorter pauses belong to the speech; not with --vad_dir. [default: 200]"
)
def main(
    data_dir: str | None,
    data_list: str | None,
    vad_dir: str | None,
    ctm: str | None,
    output_file: str,
    max_pause_ms: int | None,
) -> None:
    """Write `ID START-END START-END ...`, in seconds, for each recording; `-` for one without speech.

    Speech is found by the network of --vad_dir, taken from --ctm, or, with neither, found by the energy of each recording: good
    for recordings of one voice without much noise. Recordings that cannot be read are named; the exit status is then 1.
    """
    from mooer.common.errors import PartialFailure
    from mooer.data.lists import write_table
    from mooer.data.speech_labels import label_speech

    if vad_dir is not None and (ctm is not None or max_pause_ms is not None):
        raise click.UsageError("--vad_dir excludes --ctm and --max_pause_ms")
    utterances, problems = _utterances(data_dir, data_list)
    if ctm is not None:
        labels, failed = _from_ctm(utterances, ctm, max_pause_ms)
    else:
        labels, failed = label_speech(utterances, _finder(vad_dir, max_pause_ms))
    write_table(output_file, labels)
    click.echo(f"{output_file}: {len(labels)} utterances", err=True)
    for problem in (*problems, *failed):
        click.echo(f"{problem.id}: {problem.reason}: {problem.message}", err=True)
    if problems or failed:
        raise PartialFailure(f"{len(problems) + len(failed)} could not be used")


def _utterances(data_dir: str | None, data_list: str | None) -> "tuple[list[Utterance], list[Problem]]":
    from mooer.data.directory import read_data_dir
    from mooer.data.statistics import find_utterances

    if data_dir is None or data_list is not None:
        return find_utterances(data_dir, data_list)
    data = read_data_dir(data_dir, labels=())
    return data.utterances, data.problems


def _finder(vad_dir: str | None, max_pause_ms: int | None) -> "Callable[[Tensor], list[Stretch]]":
    if vad_dir is None:
        from mooer.features.speech_energy import EnergyRule, speech_by_energy

        rule = EnergyRule() if max_pause_ms is None else EnergyRule(max_pause_ms=max_pause_ms)
        return lambda waveform: speech_by_energy(waveform, rule)
    from mooer.pipeline.vad_dir import read_detector
    from mooer.pipeline.voice_activity import find_speech

    detector = read_detector(vad_dir)
    return lambda waveform: [(segment.start_ms, segment.end_ms) for segment in find_speech(detector, waveform)]


def _from_ctm(utterances: "list[Utterance]", ctm: str, max_pause_ms: int | None) -> "tuple[dict[str, str], list[Problem]]":
    """Labels of the utterances, `-` for one of which the CTM has no word, and a problem for a recording that nobody knows."""
    from mooer.common.speech_times import format_speech_times
    from mooer.data.speech_labels import read_ctm_speech
    from mooer.data.utterance import Problem
    from mooer.features.speech_energy import EnergyRule

    known = {utterance.id for utterance in utterances}
    speech = read_ctm_speech(ctm, EnergyRule.max_pause_ms if max_pause_ms is None else max_pause_ms)
    labels = {identity: format_speech_times(speech.get(identity, [])) for identity in sorted(known)}
    strangers = [Problem(name, "no_audio", f"{name}: in {ctm} but no recording") for name in speech if name not in known]
    return labels, strangers
