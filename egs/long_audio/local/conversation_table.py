#!/usr/bin/env python3
"""The recipe's result table: words, marks, speech and speakers of the conversations, and marks of texts without a mistake."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from mooer.common.provenance import commit
from mooer.common.speech_times import format_speech_times, join_stretches
from mooer.data.lists import read_table
from mooer.score.der import score_diarization
from mooer.score.marks import SCORED, score_marks
from mooer.score.speech_activity import score_speech_activity
from mooer.score.wer import score_error_rate
from mooer.text.rttm import read_rttm

sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))

from result_table import markdown, write_results

from mooer.common.marks import MARKS

METRICS = {"en": "wer", "zh": "cer"}
COLLAR = 0.25
SYSTEMS = {
    "en": "English conversations",
    "zh": "Mandarin conversations",
    "text.en": "English text without a mistake",
    "text.zh": "Mandarin text without a mistake",
}
COLUMNS = {
    "error_rate": "WER or CER %",
    "marks": "F1 of marks %",
    **{f"mark.{MARKS[mark]}": f"{MARKS[mark]} %" for mark in SCORED},
    "missed": "speech missed %",
    "false_alarm": "false alarm %",
    "missed_collar": f"missed, collar {COLLAR:g} s",
    "false_alarm_collar": f"false alarm, collar {COLLAR:g} s",
    "der": "DER %",
}


def score(data_dir: Path, exp_dir: Path) -> dict[str, dict[str, float]]:
    """The figures of each row of the table, in percent."""
    lines = (exp_dir / "transcribed" / "results.jsonl").read_text(encoding="utf-8").splitlines()
    found = {result["key"]: result for result in map(json.loads, lines)}
    results = {language: _conversations(data_dir / "conversations", language, found) for language in METRICS}
    folder = exp_dir / "transcribed" / "rttm"
    if folder.is_dir():
        for language, figures in results.items():
            figures["der"] = _speakers(data_dir / "conversations" / "ref.rttm", folder, language)
    wanted, marked = read_table(data_dir / "punctuation" / "test.txt"), read_table(exp_dir / "punctuated")
    return results | {f"text.{language}": _marks(_of(language, wanted), marked) for language in METRICS}


def _of(language: str, table: Mapping[str, str]) -> dict[str, str]:
    """What has an id of the language."""
    return {name: value for name, value in table.items() if name.startswith(f"{language}_")}


def _conversations(folder: Path, language: str, found: Mapping[str, dict]) -> dict[str, float]:
    text, marked, speech = (_of(language, read_table(folder / name)) for name in ("text", "text.punctuated", "text.speech"))
    words = {name: result["raw_text"] for name, result in found.items()}
    rate = score_error_rate(text, words, METRICS[language]).counts.percent
    segments = {name: format_speech_times(join_stretches(map(tuple, result["segments"]))) for name, result in found.items()}
    figures = {"error_rate": rate} | _marks(marked, {name: result["text"] for name, result in found.items()})
    for suffix, collar in (("", 0.0), ("_collar", COLLAR)):
        time = score_speech_activity(speech, segments, collar).time
        figures[f"missed{suffix}"] = 100.0 * time.missed / time.speech
        figures[f"false_alarm{suffix}"] = 100.0 * time.false_alarm / time.speech
    return figures


def _marks(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> dict[str, float]:
    """F1 of all marks and of each that occurs."""
    report = score_marks(references, hypotheses)
    each = {f"mark.{MARKS[mark]}": counts.f1 for mark, counts in report.marks.items() if counts.right + counts.missed}
    return {"marks": report.total.f1} | each


def _speakers(reference: Path, folder: Path, language: str) -> float:
    turns = {name: found for path in sorted(folder.glob("*.rttm")) for name, found in read_rttm(path).items()}
    return score_diarization(_of(language, read_rttm(reference)), turns).time.percent


@click.command()
@click.option("--data_dir", type=click.Path(path_type=Path), required=True, help="Has conversations and punctuation.")
@click.option("--exp_dir", type=click.Path(path_type=Path), required=True, help="Has transcribed and punctuated.")
def main(data_dir: Path, exp_dir: Path) -> None:
    """Write results.json and results.md below EXP_DIR/transcribed and print the table."""
    results = score(data_dir, exp_dir)
    table = markdown(results, SYSTEMS, COLUMNS)
    write_results(exp_dir / "transcribed", {"commit": commit(), "results": results}, table)
    click.echo(table, nl=False)


if __name__ == "__main__":
    main()
