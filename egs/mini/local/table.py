#!/usr/bin/env python3
"""The recipe's result table: error rates, BLEU, exact matches and differences of times of every system in both languages."""

import re
import sys
from pathlib import Path

import click

from mooer.common.provenance import commit
from mooer.data.lists import read_table
from mooer.score.bleu import score_bleu
from mooer.score.timing import read_times, score_times, times_values
from mooer.score.wer import score_error_rate
from mooer.text.cjk import CJK

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))

from result_table import exact_match, markdown, write_results

SYSTEMS = {
    "ctc": "encoder, CTC greedy",
    "asr": "LLM, asr",
    "ast": "LLM, ast",
    "mtl": "LLM, mtl",
    "silence": "LLM, mtl, silence instead of the speech",
    "paraformer": "Paraformer",
    "ctc_greedy": "Conformer, CTC greedy",
    "attention": "Conformer, attention",
    "attention_rescoring": "Conformer, CTC and attention",
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
    "en.start_p50": "en start, median ms",
    "en.start_p90": "90 %",
    "en.end_p50": "en end, median ms",
    "en.end_p90": "90 %",
    "zh.start_p50": "zh start, median ms",
    "zh.start_p90": "90 %",
    "zh.end_p50": "zh end, median ms",
    "zh.end_p90": "90 %",
}
TIMES = ("start_p50", "start_p90", "end_p50", "end_p90")
_CHARACTERS_APART = re.compile(rf"(?<=[{CJK}]) (?=[{CJK}])")
LANGUAGES = {"en": ("wer", "zh"), "zh": ("cer", "en")}


def score(data_dir: Path, decode_dir: Path) -> dict[str, dict[str, float]]:
    """The figures of each system that was decoded; a system has those for which it wrote texts.

    Names of figures: `en.wer`, `en.exact` (transcripts that are right as a whole), `en-zh.bleu`, `en-zh.exact`, and the like,
    in percent; `en.start_p50`, `en.end_p90` and the like, in milliseconds.
    """
    results: dict[str, dict[str, float]] = {name: {} for name in SYSTEMS if (decode_dir / "en" / name).is_dir()}
    for system, figures in results.items():
        for language, (metric, target) in LANGUAGES.items():
            texts = decode_dir / language / system / "1best_recog"
            data = data_dir / f"test_{language}"
            transcripts, translations = _outputs(system, texts)
            if system == "paraformer":
                figures |= {f"{language}.{name}": value for name, value in _times(data, texts.parent).items()}
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
    if system == "paraformer":  # words with times stand between spaces, characters too
        first = {name: _CHARACTERS_APART.sub("", text) for name, text in first.items()}
    return first, None


def _times(data: Path, decoded: Path) -> dict[str, float]:
    """How far the times of words are off, in milliseconds."""
    values = times_values(score_times(read_times(data / "ctm"), read_times(decoded / "results.jsonl")))
    return {name: values[name] for name in TIMES}


@click.command()
@click.option("--data_dir", type=click.Path(path_type=Path), required=True, help="Has test_en and test_zh.")
@click.option("--decode_dir", type=click.Path(path_type=Path), required=True, help="Has a folder LANGUAGE/SYSTEM each.")
def main(data_dir: Path, decode_dir: Path) -> None:
    """Write results.json and results.md below DECODE_DIR and print the table."""
    results = score(data_dir, decode_dir)
    columns = {name: heading for name, heading in COLUMNS.items() if any(name in figures for figures in results.values())}
    table = markdown(results, SYSTEMS, columns)
    write_results(decode_dir, {"commit": commit(), "results": results}, table)
    click.echo(table, nl=False)


if __name__ == "__main__":
    main()
