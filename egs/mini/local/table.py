#!/usr/bin/env python3
"""The recipe's result table: error rates, BLEU and exact matches of every system in both languages."""

import sys
from pathlib import Path

import click

from mooer.common.provenance import commit
from mooer.data.lists import read_table
from mooer.score.bleu import score_bleu
from mooer.score.wer import score_error_rate

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))

from result_table import exact_match, markdown, write_results

SYSTEMS = {
    "ctc": "encoder, CTC greedy",
    "asr": "LLM, asr",
    "ast": "LLM, ast",
    "mtl": "LLM, mtl",
    "silence": "LLM, mtl, silence instead of the speech",
}
COLUMNS = {
    "en.wer": "en WER %",
    "en.exact": "exact %",
    "zh.cer": "zh CER %",
    "zh.exact": "exact %",
    "en-zh.bleu": "en-zh BLEU",
    "en-zh.exact": "exact %",
    "zh-en.bleu": "zh-en BLEU",
    "zh-en.exact": "exact %",
}
LANGUAGES = {"en": ("wer", "zh"), "zh": ("cer", "en")}


def score(data_dir: Path, decode_dir: Path) -> dict[str, dict[str, float]]:
    """The figures of each system, in percent; a system has those for which it wrote texts.

    Names of figures: `en.wer`, `en.exact` (transcripts that are right as a whole), `en-zh.bleu`, `en-zh.exact`, and the like.
    """
    results: dict[str, dict[str, float]] = {system: {} for system in SYSTEMS}
    for system, figures in results.items():
        for language, (metric, target) in LANGUAGES.items():
            texts = decode_dir / f"{system}_{language}" / "1best_recog"
            data = data_dir / f"test_{language}"
            transcripts, translations = _outputs(system, texts)
            if transcripts is not None:
                reference = read_table(data / "text")
                figures[f"{language}.{metric}"] = score_error_rate(reference, transcripts, metric).counts.percent
                figures[f"{language}.exact"] = exact_match(reference, transcripts)
            if translations is not None:
                reference = read_table(data / f"text.{target}")
                pair = f"{language}-{target}"
                figures[f"{pair}.bleu"] = score_bleu(reference, translations, target).score
                figures[f"{pair}.exact"] = exact_match(reference, translations)
    return results


def _outputs(system: str, texts: Path) -> tuple[dict[str, str] | None, dict[str, str] | None]:
    """Transcripts and translations that a system wrote."""
    first = read_table(texts / "text", allow_empty=True)
    if system == "ast":
        return None, first
    if system in ("mtl", "silence"):
        second = texts / "text.ast"  # absent where no answer had two lines
        return first, read_table(second, allow_empty=True) if second.is_file() else {}
    return first, None


@click.command()
@click.option("--data_dir", type=click.Path(path_type=Path), required=True, help="Has test_en and test_zh.")
@click.option("--decode_dir", type=click.Path(path_type=Path), required=True, help="Has a folder SYSTEM_LANGUAGE each.")
def main(data_dir: Path, decode_dir: Path) -> None:
    """Write results.json and results.md below DECODE_DIR and print the table."""
    results = score(data_dir, decode_dir)
    table = markdown(results, SYSTEMS, COLUMNS)
    write_results(decode_dir, {"commit": commit(), "results": results}, table)
    click.echo(table, nl=False)


if __name__ == "__main__":
    main()
