#!/usr/bin/env python3
"""The result table of a test set: error rates and strings that are wholly right, of each system that was decoded."""

import sys
from pathlib import Path

import click

from mooer.cli._command import command
from mooer.common.provenance import record
from mooer.data.lists import read_table
from mooer.score.wer import score_error_rate

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))

from result_table import exact_match, markdown, write_results

SYSTEMS = {
    "ctc": "encoder, CTC greedy",
    "asr": "LLM, asr",
    "ast": "LLM, ast",
    "mtl": "LLM, mtl",
    "silence": "LLM, mtl, silence instead of the speech",
    "ctc_greedy": "Conformer, CTC greedy",
    "ctc_prefix_beam": "Conformer, CTC prefix beam",
}
COLUMNS = {"wer": "WER %", "wer.exact": "exact %", "cer": "translation CER %", "cer.exact": "exact %"}
TRANSCRIPT, TRANSLATION = "wer", "cer"
LABELS = {TRANSCRIPT: "text", TRANSLATION: "text.zh"}
# Where a system writes its transcripts and its translations.
OUTPUTS = {
    "ctc": {TRANSCRIPT: "text"},
    "asr": {TRANSCRIPT: "text"},
    "ast": {TRANSLATION: "text"},
    "mtl": {TRANSCRIPT: "text", TRANSLATION: "text.ast"},
    "silence": {TRANSCRIPT: "text", TRANSLATION: "text.ast"},
    "ctc_greedy": {TRANSCRIPT: "text"},
    "ctc_prefix_beam": {TRANSCRIPT: "text"},
}


def score(data_dir: Path, decode_dir: Path) -> dict[str, dict[str, float]]:
    """By system: `wer` of the transcripts, `cer` of the translations and the shares of whole strings that are right,
    `wer.exact` and `cer.exact`; all in percent, over the strings of the data directory."""
    references = {metric: read_table(data_dir / name) for metric, name in LABELS.items()}
    results: dict[str, dict[str, float]] = {}
    for system, outputs in OUTPUTS.items():
        if not (decode_dir / system).is_dir():
            continue
        figures = results[system] = {}
        for metric, name in outputs.items():
            hypotheses = _read(decode_dir / system / "1best_recog", name)
            figures[metric] = score_error_rate(references[metric], hypotheses, metric).counts.percent
            figures[f"{metric}.exact"] = exact_match(references[metric], hypotheses)
    return results


def _read(folder: Path, name: str) -> dict[str, str]:
    """Texts of a system; a poor one may not have given a single translation, so that there is no file of them."""
    path = folder / name
    if path.exists():
        return read_table(path, allow_empty=True)
    return dict.fromkeys(read_table(folder / "text", allow_empty=True), "")


@command
@click.option("--decode_dir", type=click.Path(path_type=Path), required=True, help="Has a folder a system.")
@click.argument("data_dirs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DATA_DIR...")
def main(decode_dir: Path, data_dirs: tuple[Path, ...]) -> None:
    """Print a table for each data directory; write results.json and results.md below DECODE_DIR."""
    results = {data_dir.name: score(data_dir, decode_dir) for data_dir in data_dirs}
    counts = {data_dir.name: len(read_table(data_dir / "text")) for data_dir in data_dirs}
    told = {metric for figures in results.values() for system in figures.values() for metric in system}
    columns = {name: heading for name, heading in COLUMNS.items() if name in told}
    text = "\n".join(f"{name}: {counts[name]} strings\n\n{markdown(results[name], SYSTEMS, columns)}" for name in results)
    write_results(decode_dir, {"results": results, "strings": counts, "run": record()}, text)
    click.echo(text, nl=False)


if __name__ == "__main__":
    main()
