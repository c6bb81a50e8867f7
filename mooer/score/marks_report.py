"""Scores of punctuation as text for people and as plain values for programs."""

from collections.abc import Iterator
from typing import Any

from mooer.common.marks import MARKS
from mooer.score.marks import MarkCounts, MarksReport


def marks_values(report: MarksReport) -> dict[str, Any]:
    """The report as plain values, ready for JSON."""
    return {
        "metric": "punctuation",
        **_values(report.total),
        "marks": {MARKS[mark]: _values(counts) for mark, counts in report.marks.items()},
        "utterances": report.utterances,
        "missing": list(report.missing),
        "extra": list(report.extra),
        "signature": report.signature,
    }


def _values(counts: MarkCounts) -> dict[str, float]:
    percents = {name: round(getattr(counts, name), 4) for name in ("f1", "precision", "recall")}
    return percents | {name: getattr(counts, name) for name in ("right", "missed", "added")}


def marks_lines(report: MarksReport) -> Iterator[str]:
    """What was scored, the totals, and each mark that occurs."""
    yield f"punctuation of {report.utterances} texts"
    yield f"Overall -> {_line(report.total)}"
    for mark, counts in report.marks.items():
        if counts != MarkCounts():
            yield f"{MARKS[mark]} -> {_line(counts)}"


def _line(counts: MarkCounts) -> str:
    shares = f"F1 {counts.f1:.2f} % precision {counts.precision:.2f} % recall {counts.recall:.2f} %"
    return f"{shares}: right {counts.right}, missed {counts.missed}, added {counts.added}"
