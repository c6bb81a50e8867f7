"""Scores as text for people and as plain values for programs."""

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from mooer.score.align import CORRECT, DELETION, INSERTION, SUBSTITUTION, Counts, Step
from mooer.score.bleu import BleuReport
from mooer.score.der import DerReport
from mooer.score.eer import EerReport
from mooer.score.marks import MarksReport
from mooer.score.marks_report import marks_lines, marks_values
from mooer.score.speaker_report import der_lines, der_values, eer_lines, eer_values
from mooer.score.tables import cluster_totals, error_tables
from mooer.score.timing import TimingReport, times_lines, times_values
from mooer.score.wer import ScoreReport, UtteranceScore

_SIGNS = {CORRECT: "", SUBSTITUTION: "S", DELETION: "D", INSERTION: "I"}
_NO_UNIT = "*"
_LISTED_IDS = 20

Report = ScoreReport | BleuReport | DerReport | EerReport | MarksReport | TimingReport

# What is missing and what becomes of it, and what is extra.
_MISSING_AND_EXTRA = {
    ScoreReport: ("references without a hypothesis, counted as all deleted", "hypotheses without a reference"),
    BleuReport: ("references without a hypothesis, scored as empty", "hypotheses without a reference"),
    DerReport: ("references without a hypothesis, counted as all missed", "hypotheses without a reference"),
    MarksReport: ("references without a hypothesis, their marks counted as missed", "hypotheses without a reference"),
    EerReport: ("trials without a score, counted as wrong", "scores without a trial"),
    TimingReport: ("references without a hypothesis, whose words are not compared", "hypotheses without a reference"),
}


def to_values(report: Report) -> dict[str, Any]:
    """The report as plain values, ready for JSON; ids and totals, without the alignments."""
    match report:
        case BleuReport():
            return _bleu_values(report)
        case DerReport():
            return der_values(report)
        case EerReport():
            return eer_values(report)
        case MarksReport():
            return marks_values(report)
        case TimingReport():
            return times_values(report)
        case ScoreReport():
            return _error_rate_values(report)


def _error_rate_values(report: ScoreReport) -> dict[str, Any]:
    counts = report.counts
    return {
        "metric": report.metric,
        "percent": round(counts.percent, 4),
        **_count_values(counts),
        "utterances": len(report.utterances),
        "utterances_with_errors": sum(utterance.counts.errors > 0 for utterance in report.utterances),
        "missing": list(report.missing),
        "extra": list(report.extra),
        "clusters": {kind: _count_values(total) for kind, total in cluster_totals(report).items()},
        "normalizer": report.normalizer.name,
        "signature": report.signature,
    }


def _count_values(counts: Counts) -> dict[str, int]:
    return {
        "n": counts.n,
        "correct": counts.correct,
        "substitutions": counts.substitutions,
        "deletions": counts.deletions,
        "insertions": counts.insertions,
    }


def _bleu_values(report: BleuReport) -> dict[str, Any]:
    return {
        "metric": "bleu",
        "score": round(report.score, 4),
        "precisions": [round(precision, 4) for precision in report.precisions],
        "brevity_penalty": round(report.brevity_penalty, 6),
        "hypothesis_length": report.hypothesis_length,
        "reference_length": report.reference_length,
        "utterances": report.utterances,
        "missing": list(report.missing),
        "extra": list(report.extra),
        "normalizer": report.normalizer,
        "signature": report.signature,
    }


def summary(report: Report) -> str:
    """The figure, what it is made of, which ids were missing or extra, and the signature, in a few lines."""
    return "\n".join([*_lines(report), *_id_lines(report), f"signature: {report.signature}"]) + "\n"


def _lines(report: Report) -> Iterable[str]:
    match report:
        case BleuReport():
            return _bleu_lines(report)
        case DerReport():
            return der_lines(report)
        case EerReport():
            return eer_lines(report)
        case MarksReport():
            return marks_lines(report)
        case TimingReport():
            return times_lines(report)
        case ScoreReport():
            return _error_rate_lines(report)


def _bleu_lines(report: BleuReport) -> list[str]:
    precisions = "/".join(f"{precision:.1f}" for precision in report.precisions)
    lengths = f"{report.hypothesis_length} hypothesis and {report.reference_length} reference tokens"
    return [f"BLEU {report.score:.2f} {precisions} (brevity penalty {report.brevity_penalty:.3f}, {lengths})"]


def _error_rate_lines(report: ScoreReport) -> list[str]:
    wrong = sum(utterance.counts.errors > 0 for utterance in report.utterances)
    lines = [
        f"{report.metric.upper()} over {len(report.utterances)} utterances, {wrong} of them with errors",
        f"Overall -> {format_counts(report.counts)}",
    ]
    lines += [f"{kind} -> {format_counts(total)}" for kind, total in cluster_totals(report).items()]
    if not report.counts.n:
        lines.append("the references are empty: the rate is 0 by definition, see the insertions")
    return lines


def format_counts(counts: Counts) -> str:
    """`28.46 % N=260 C=215 S=24 D=21 I=29`, as the field's compute-wer prints it."""
    return (
        f"{counts.percent:.2f} % N={counts.n} C={counts.correct} "
        f"S={counts.substitutions} D={counts.deletions} I={counts.insertions}"
    )


def _id_lines(report: Report) -> Iterator[str]:
    missing, extra = _MISSING_AND_EXTRA[type(report)]
    if report.missing:
        yield f"missing: {len(report.missing)} {missing}: {_listed(report.missing)}"
    if report.extra:
        yield f"extra: {len(report.extra)} {extra}, not counted: {_listed(report.extra)}"


def _listed(ids: tuple[str, ...]) -> str:
    return " ".join(ids[:_LISTED_IDS]) + (f" and {len(ids) - _LISTED_IDS} more" if len(ids) > _LISTED_IDS else "")


def worst_utterances(report: ScoreReport, limit: int) -> str:
    """The utterances with the most errors, with reference and hypothesis as they were counted."""
    wrong = [utterance for utterance in report.utterances if utterance.counts.errors]
    wrong.sort(key=lambda utterance: (-utterance.counts.errors, -utterance.counts.percent, utterance.id))
    return "\n".join(alignment(utterance, report.metric) for utterance in wrong[:limit])


def alignment(utterance: UtteranceScore, metric: str) -> str:
    """One utterance's counts and alignment: reference over hypothesis over S, D, I, in columns."""
    columns = [_column(step) for step in utterance.steps]
    rows = [" ".join(row).rstrip() for row in zip(*columns, strict=True)] or ["", "", ""]
    return (
        f"utt: {utterance.id}\n{metric.upper()}: {format_counts(utterance.counts)}\n"
        f"ref: {rows[0]}\nhyp: {rows[1]}\nerr: {rows[2]}".rstrip(" ")
        + "\n"
    )


def _column(step: Step) -> tuple[str, str, str]:
    reference, hypothesis = (_NO_UNIT if unit is None else _visible(unit) for unit in (step.reference, step.hypothesis))
    width = max(_width(reference), _width(hypothesis))
    cells = (reference, hypothesis, _SIGNS[step.operation])
    return tuple(cell + " " * (width - _width(cell)) for cell in cells)


def _visible(unit: str) -> str:
    """The unit with spaces and control characters made visible."""
    return "".join(
        "␣" if character.isspace() else f"\\x{ord(character):02x}" if unicodedata.category(character) == "Cc" else character
        for character in unit
    )


def _width(text: str) -> int:
    """Columns that the text takes on a terminal."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def alignments(report: ScoreReport) -> Iterator[str]:
    """Every utterance's alignment in order."""
    return (alignment(utterance, report.metric) + "\n" for utterance in report.utterances)


def tables(report: ScoreReport, limit: int) -> str:
    """The `limit` most frequent substitutions, deletions and insertions, with how often each occurred."""
    found = error_tables(report)
    substitutions = [(f"{_visible(said)} -> {_visible(written)}", times) for (said, written), times in found.substitutions]
    deletions = [(_visible(unit), times) for unit, times in found.deletions]
    insertions = [(_visible(unit), times) for unit, times in found.insertions]
    return "\n".join(
        (
            _table("substitutions (reference -> hypothesis)", substitutions, limit),
            _table("deletions", deletions, limit),
            _table("insertions", insertions, limit),
        )
    )


def _table(title: str, rows: list[tuple[str, int]], limit: int) -> str:
    head = f"{title}: {len(rows)} kinds" + (f", the first {limit}" if len(rows) > limit else "")
    return "\n".join([head, *(f"{times:7d}  {label}" for label, times in rows[:limit])]) + "\n"
