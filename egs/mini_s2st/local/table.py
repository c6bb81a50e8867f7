#!/usr/bin/env python3
"""The recipe's result table: what the packaged recogniser hears in the reference, the copy synthesis and the translations."""

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
    "test_target": "espeak-ng's own recordings, heard",
    "wav_copy": "copy synthesis (vocoder on the latents of the references), heard",
    "wav_speech": "translated speech, heard",
    "text": "the text that the LLM writes before it speaks",
}
COLUMNS = {"bleu": "zh-en BLEU", "wer": "WER %", "exact": "exact %"}


def score(references: dict[str, str], heard: dict[str, str]) -> dict[str, float]:
    """The figures of a system; a reference that it has no text for counts as missing."""
    return {
        "bleu": score_bleu(references, heard, "en").score,
        "wer": score_error_rate(references, heard, "wer").counts.percent,
        "exact": exact_match(references, heard),
    }


@click.command()
@click.option("--data_dir", type=click.Path(path_type=Path), required=True, help="Of the test set, with text.en.")
@click.option(
    "--decode_dir", type=click.Path(path_type=Path), required=True, help="Has heard and text, as decoding wrote them."
)
def main(data_dir: Path, decode_dir: Path) -> None:
    """Write results.json and results.md below DECODE_DIR and print the table."""
    references = read_table(data_dir / "text.en")
    texts: dict[str, dict[str, str]] = {name: {} for name in SYSTEMS}
    for key, text in read_table(decode_dir / "heard" / "1best_recog" / "text", allow_empty=True).items():
        system, _, name = key.partition(":")
        texts[system][name] = text
    texts["text"] = read_table(decode_dir / "text" / "1best_recog" / "text", allow_empty=True)
    results = {system: score(references, heard) for system, heard in texts.items()}
    table = markdown(results, SYSTEMS, COLUMNS)
    write_results(decode_dir, {"commit": commit(), "utterances": len(references), "results": results}, table)
    click.echo(table, nl=False)


if __name__ == "__main__":
    main()
