#!/usr/bin/env python3
"""The result table of a test set: error rates of toned syllables, of syllables, of tones, and words that are wholly right."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import click
from word_pinyin import TONES

from mooer.cli._command import command
from mooer.common.provenance import record
from mooer.data.lists import read_table
from mooer.score.wer import score_error_rate

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))

from result_table import exact_match, markdown, write_results

SYSTEMS = {"ctc": "encoder, CTC greedy", "asr": "LLM", "silence": "LLM, silence instead of the speech"}
COLUMNS = {
    "toned": "toned syllable error rate %",
    "toneless": "syllable error rate without tones %",
    "tones": "tone error rate %",
    "exact": "exact words %",
}
METRIC, NORMALIZER = "wer", "compute-wer"


def error_rates(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> dict[str, float]:
    """Percentages by name, of transcripts in toned pinyin."""
    views = {"toned": str, "toneless": without_tones, "tones": tones_alone}
    figures = {}
    for name, view in views.items():
        sides = ({key: view(text) for key, text in texts.items()} for texts in (references, hypotheses))
        figures[name] = score_error_rate(*sides, METRIC, NORMALIZER).counts.percent
    return {**figures, "exact": exact_match(references, hypotheses)}


def without_tones(text: str) -> str:
    """ "yi1 xia4" as "yi xia"."""
    return re.sub(f"[{TONES}]", "", text)


def tones_alone(text: str) -> str:
    """ "yi1 xia4" as "1 4"."""
    return " ".join(re.findall(f"[{TONES}]", text))


def size(references: Mapping[str, str], trained: Mapping[str, str]) -> str:
    """How many words and toned syllables there are, and how many of the syllables no training transcript has."""
    known = {syllable for text in trained.values() for syllable in text.split()}
    syllables = [syllable for text in references.values() for syllable in text.split()]
    unknown = sum(syllable not in known for syllable in syllables)
    return f"{len(references)} words, {len(syllables)} syllables, {unknown} of them in no training word"


@command
@click.option("--decode_dir", type=click.Path(path_type=Path), required=True, help="Has a folder a system.")
@click.option("--train_text", type=click.Path(path_type=Path), required=True, help="Transcripts that were trained on.")
@click.argument("data_dirs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DATA_DIR...")
def main(decode_dir: Path, train_text: Path, data_dirs: tuple[Path, ...]) -> None:
    """Print a table for each data directory; write results.json and results.md below DECODE_DIR."""
    trained = read_table(train_text)
    transcripts = {name: read_table(decode_dir / name / "1best_recog" / "text", allow_empty=True) for name in SYSTEMS}
    references = {data_dir.name: read_table(data_dir / "text") for data_dir in data_dirs}
    sizes = {name: size(texts, trained) for name, texts in references.items()}
    results = {
        name: {system: error_rates(texts, hypotheses) for system, hypotheses in transcripts.items()}
        for name, texts in references.items()
    }
    text = "\n".join(f"{name}: {sizes[name]}\n\n{markdown(results[name], SYSTEMS, COLUMNS)}" for name in results)
    write_results(decode_dir, {"results": results, "sizes": sizes, "normalizer": NORMALIZER, "run": record()}, text)
    click.echo(text, nl=False)


if __name__ == "__main__":
    main()
