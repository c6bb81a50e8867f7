"""mooer-score: error rates and BLEU of hypotheses against references."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mooer.cli._command import command

if TYPE_CHECKING:
    from mooer.score.bleu import BleuReport
    from mooer.score.wer import ScoreReport


@command
@click.option("--ref", type=click.Path(), required=True, help="References, `ID TEXT` a line.")
@click.option("--hyp", type=click.Path(), required=True, help="Hypotheses, `ID TEXT` a line.")
@click.option(
    "--metric",
    type=click.Choice(["cer", "wer", "mer", "bleu"]),
    required=True,
    help="mer: CJK by character, everything else by word.",
)
@click.option(
    "--normalizer",
    help="compute-wer (the default, but none for bleu), compute-wer-cased, compute-wer-tags, none or mooer-v1.",
)
@click.option(
    "--target_language", help="For bleu: zh takes sacrebleu's zh tokenizer, others 13a. Default: as the references look."
)
@click.option("--compare", type=click.Path(), help="Hypotheses of a second system: is it better? (paired bootstrap)")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
@click.option(
    "--top", type=click.IntRange(min=0), default=10, show_default=True, help="Errors of each kind, and utterances, to show."
)
@click.option("--output_dir", type=click.Path(file_okay=False), help="Gets report.txt, alignments.txt and score.json.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the report.")
def main(ref, hyp, metric, normalizer, target_language, compare, seed, top, output_dir, as_json) -> None:
    """Score recognised or translated texts.

    References without a hypothesis count as all deleted and are listed; hypotheses without a reference are listed.
    """
    import json

    from mooer.score.report import summary, to_values
    from mooer.score.significance import compare_error_rates, describe
    from mooer.score.texts import read_texts

    if metric == "bleu" and compare is not None:
        raise click.UsageError("--compare works on error rates; for bleu use sacrebleu's own --paired-bs")
    references, hypotheses = read_texts(ref, "reference file"), read_texts(hyp, "hypothesis file")
    report = _score(references, hypotheses, metric, normalizer, target_language)
    text = summary(report)
    if compare is not None:
        second = _score(references, read_texts(compare, "hypothesis file"), metric, normalizer, target_language)
        text += describe(compare_error_rates(report, second, seed))
    text += _details(report, top)
    if output_dir is not None:
        _write(Path(output_dir), report, text)
    click.echo(json.dumps(to_values(report), ensure_ascii=False) if as_json else text, nl=as_json)


def _score(
    references: dict[str, str], hypotheses: dict[str, str], metric: str, normalizer: str | None, target_language: str | None
) -> "ScoreReport | BleuReport":
    from mooer.score.bleu import score_bleu
    from mooer.score.wer import score_error_rate

    if metric == "bleu":
        return score_bleu(references, hypotheses, target_language, normalizer or "none")
    return score_error_rate(references, hypotheses, metric, normalizer or "compute-wer")


def _details(report: "ScoreReport | BleuReport", top: int) -> str:
    """The most frequent errors and the worst utterances; empty for BLEU, for a score without errors, and with top 0."""
    from mooer.score.report import tables, worst_utterances
    from mooer.score.wer import ScoreReport

    if not isinstance(report, ScoreReport) or not report.counts.errors or not top:
        return ""
    return f"\n{tables(report, top)}\nworst utterances\n{worst_utterances(report, top)}"


def _write(folder: Path, report: "ScoreReport | BleuReport", text: str) -> None:
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
