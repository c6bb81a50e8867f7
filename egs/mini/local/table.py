#!/usr/bin/env python3
"""The recipe's result table: error rates, BLEU and exact matches of every system in both languages."""

import json
from pathlib import Path

import click

from mooer.common.files import atomic_write
from mooer.common.provenance import commit
from mooer.data.lists import read_table
from mooer.score.bleu import score_bleu
from mooer.score.wer import score_error_rate

SYSTEMS = {
    "ctc": "encoder, CTC greedy",
    "asr": "LLM, asr",
    "ast": "LLM, ast",
    "mtl": "LLM, mtl",
    "silence": "LLM, mtl, silence instead of the speech",
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
                figures[f"{language}.exact"] = _exact(reference, transcripts)
            if translations is not None:
                reference = read_table(data / f"text.{target}")
                pair = f"{language}-{target}"
                figures[f"{pair}.bleu"] = score_bleu(reference, translations, target).score
                figures[f"{pair}.exact"] = _exact(reference, translations)
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


def _exact(references: dict[str, str], hypotheses: dict[str, str]) -> float:
    right = sum(hypotheses.get(name) == text for name, text in references.items())
    return 100.0 * right / len(references)


def markdown(results: dict[str, dict[str, float]]) -> str:
    """The figures as a table in Markdown."""
    columns = {
        "en WER %": "en.wer",
        "exact %": "en.exact",
        "zh CER %": "zh.cer",
        "exact % ": "zh.exact",
        "en-zh BLEU": "en-zh.bleu",
        "exact %  ": "en-zh.exact",
        "zh-en BLEU": "zh-en.bleu",
        "exact %   ": "zh-en.exact",
    }
    lines = [f"| | {' | '.join(name.strip() for name in columns)} |", f"| --- |{' --- |' * len(columns)}"]
    for system, figures in results.items():
        cells = [f"{figures[key]:.2f}" if key in figures else "" for key in columns.values()]
        lines.append(f"| {SYSTEMS[system]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--data_dir", type=click.Path(path_type=Path), required=True, help="Has test_en and test_zh.")
@click.option("--decode_dir", type=click.Path(path_type=Path), required=True, help="Has a folder SYSTEM_LANGUAGE each.")
def main(data_dir: Path, decode_dir: Path) -> None:
    """Write results.json and results.md below DECODE_DIR and print the table."""
    results = score(data_dir, decode_dir)
    table = markdown(results)
    with atomic_write(decode_dir / "results.json") as stream:
        json.dump({"commit": commit(), "results": results}, stream, indent=1)
    with atomic_write(decode_dir / "results.md") as stream:
        stream.write(table)
    click.echo(table, nl=False)


if __name__ == "__main__":
    main()
