"""mooer-score: error rates, BLEU, and scores of marks, of times, of speech and of speakers, against references."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mooer.cli._command import command

if TYPE_CHECKING:
    from mooer.score.report import Report

TEXT_METRICS = ("cer", "wer", "mer", "bleu")
# Options that only some metrics have.
METRICS_OF = {
    "normalizer": TEXT_METRICS,
    "target_language": TEXT_METRICS,
    "compare": ("cer", "wer", "mer"),
    "collar": ("der", "vad"),
    "skip_overlap": ("der",),
}


@command
@click.option(
    "--ref",
    type=click.Path(),
    required=True,
    help="References: `ID TEXT` a line; times: ctm; der: RTTM; eer: trials; vad: `ID START-END ...`.",
)
@click.option(
    "--hyp", type=click.Path(), required=True, help="Hypotheses, in the same form; times: results.jsonl too; eer: scores."
)
@click.option(
    "--metric",
    type=click.Choice([*TEXT_METRICS, "times", "punctuation", "vad", "der", "eer"]),
    required=True,
    help="mer: CJK by character, everything else by word; times: when words are said; punctuation: the marks; vad: where there "
    "is speech; der: who speaks when; eer: whether two voices are one.",
)
@click.option(
    "--normalizer",
    help="compute-wer (the default, but none for bleu), compute-wer-cased, compute-wer-tags, none or mooer-v1.",
)
@click.option(
    "--target_language", help="For bleu: zh takes sacrebleu's zh tokenizer, others 13a. Default: as the references look."
)
@click.option(
    "--collar",
    type=click.FloatRange(min=0.0),
    help="For der and vad: seconds on each side of a border not scored. [default: 0.25, vad 0]",
)
@click.option("--skip_overlap", is_flag=True, help="For der: leave out where several speak at once.")
@click.option("--compare", type=click.Path(), help="Hypotheses of a second system: is it better? (paired bootstrap)")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
@click.option(
    "--top", type=click.IntRange(min=0), default=10, show_default=True, help="Errors of each kind, and utterances, to show."
)
@click.option(
    "--output_dir", type=click.Path(file_okay=False), help="Gets report.txt, score.json and, of texts, alignments.txt."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the report.")
def main(ref, hyp, metric, normalizer, target_language, collar, skip_overlap, compare, seed, top, output_dir, as_json) -> None:
    """Score recognised or translated texts, their marks and times, where speech was found, who speaks, or pairs of voices.

    References without a hypothesis count as all deleted (der, vad, punctuation: as all missed; eer: as wrong) and are listed;
    hypotheses without a reference are listed. A line of ctm is `ID CHANNEL START DURATION WORD`, in seconds; results.jsonl is
    what mooer-decode writes. Labels of speech are those of mooer-find-speech. Trials are `ID1 ID2 target|nontarget`, their
    scores `ID1 ID2 SCORE`.
    """
    import json

    from mooer.score.report import summary, to_values

    given = {"normalizer": normalizer, "target_language": target_language, "compare": compare}
    _check_options(metric, given | {"collar": collar, "skip_overlap": skip_overlap or None})
    if metric in TEXT_METRICS:
        report, second = _score_texts(ref, [hyp, compare], metric, normalizer, target_language)
    elif metric in ("punctuation", "vad"):
        report, second = _score_labels(ref, hyp, metric, collar), None
    else:
        report, second = _score_others(ref, hyp, metric, collar, skip_overlap), None
    text = summary(report)
    if second is not None:
        from mooer.score.significance import compare_error_rates, describe

        text += describe(compare_error_rates(report, second, seed))
    text += _details(report, top)
    if output_dir is not None:
        _write(Path(output_dir), report, text)
    click.echo(json.dumps(to_values(report), ensure_ascii=False) if as_json else text, nl=as_json)


def _check_options(metric: str, given: dict[str, object]) -> None:
    """Exits with a message for an option that the metric has no use for."""
    if metric == "bleu" and given["compare"] is not None:
        raise click.UsageError("--compare works on error rates; for bleu use sacrebleu's own --paired-bs")
    for name, value in given.items():
        if value is not None and metric not in METRICS_OF[name]:
            raise click.UsageError(f"--{name} belongs to {', '.join(METRICS_OF[name])}, not to {metric}")


def _score_texts(
    ref: str, hyps: list[str | None], metric: str, normalizer: str | None, target_language: str | None
) -> "list[Report | None]":
    """The report of each file of hypotheses; None where no file is named."""
    from mooer.score.bleu import score_bleu
    from mooer.score.texts import read_texts
    from mooer.score.wer import score_error_rate

    references = read_texts(ref, "reference file")
    reports: list[Report | None] = []
    for path in hyps:
        if path is None:
            reports.append(None)
            continue
        hypotheses = read_texts(path, "hypothesis file")
        if metric == "bleu":
            reports.append(score_bleu(references, hypotheses, target_language, normalizer or "none"))
        else:
            reports.append(score_error_rate(references, hypotheses, metric, normalizer or "compute-wer"))
    return reports


def _score_labels(ref: str, hyp: str, metric: str, collar: float | None) -> "Report":
    from mooer.score.marks import score_marks
    from mooer.score.speech_activity import score_speech_activity
    from mooer.score.texts import read_texts

    references, hypotheses = read_texts(ref, "reference file"), read_texts(hyp, "hypothesis file")
    if metric == "punctuation":
        return score_marks(references, hypotheses)
    return score_speech_activity(references, hypotheses, collar or 0.0)


def _score_others(ref: str, hyp: str, metric: str, collar: float | None, skip_overlap: bool) -> "Report":
    from mooer.score.der import DEFAULT_COLLAR, DerConfig, score_diarization
    from mooer.score.eer import read_scores, read_trials, score_trials
    from mooer.score.timing import read_times, score_times
    from mooer.text.rttm import read_rttm

    if metric == "times":
        return score_times(read_times(ref), read_times(hyp))
    if metric == "eer":
        return score_trials(read_trials(ref), read_scores(hyp))
    config = DerConfig(collar=DEFAULT_COLLAR if collar is None else collar, skip_overlap=skip_overlap)
    return score_diarization(read_rttm(ref, "reference file"), read_rttm(hyp, "hypothesis file"), config)


def _details(report: "Report", top: int) -> str:
    """The most frequent errors and the worst utterances or recordings; empty where there are none, and with top 0."""
    from mooer.score.der import DerReport
    from mooer.score.report import tables, worst_utterances
    from mooer.score.speaker_report import der_table
    from mooer.score.wer import ScoreReport

    if isinstance(report, DerReport) and top:
        return f"\nworst recordings\n{der_table(report, top)}"
    if not isinstance(report, ScoreReport) or not report.counts.errors or not top:
        return ""
    return f"\n{tables(report, top)}\nworst utterances\n{worst_utterances(report, top)}"


def _write(folder: Path, report: "Report", text: str) -> None:
    import json

    from mooer.common.files import atomic_write
    from mooer.common.provenance import record
    from mooer.score.report import alignments, to_values
    from mooer.score.wer import ScoreReport

    with atomic_write(folder / "report.txt") as stream:
        stream.write(text)
    if isinstance(report, ScoreReport):
        with atomic_write(folder / "alignments.txt") as stream:
            stream.writelines(alignments(report))
    with atomic_write(folder / "score.json") as stream:
        json.dump({**to_values(report), "run": record()}, stream, ensure_ascii=False, indent=1)
        stream.write("\n")
