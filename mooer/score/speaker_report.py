"""Scores of speakers as text for people and as plain values for programs."""

import math
from collections.abc import Iterator
from typing import Any

from mooer.score.der import DerReport, RecordingScore, SpeakerTime
from mooer.score.eer import EerReport
from mooer.text.rttm import SECOND


def der_values(report: DerReport) -> dict[str, Any]:
    """The report as plain values, ready for JSON; times in seconds."""
    return {
        "metric": report.metric,
        "percent": round(report.time.percent, 4),
        **_time_values(report.time),
        "collar": report.config.collar,
        "skip_overlap": report.config.skip_overlap,
        "recordings": {recording.id: _recording_values(recording) for recording in report.recordings},
        "missing": list(report.missing),
        "extra": list(report.extra),
        "signature": report.signature,
    }


def _recording_values(recording: RecordingScore) -> dict[str, Any]:
    speakers, guesses = recording.num_speakers
    return {
        "percent": round(recording.time.percent, 4),
        **_time_values(recording.time),
        "speakers": speakers,
        "hypothesis_speakers": guesses,
        "mapping": recording.mapping,
    }


def _time_values(time: SpeakerTime) -> dict[str, float]:
    return {name: getattr(time, name) / SECOND for name in ("speech", "missed", "false_alarm", "confusion")}


def der_lines(report: DerReport) -> list[str]:
    """What was scored, and the totals."""
    overlap = "without" if report.config.skip_overlap else "with"
    rule = f"a collar of {report.config.collar:g} s on each side of a border, {overlap} overlapped speech"
    what = f"{report.metric.upper()} over {len(report.recordings)} recordings"
    lines = [f"{what}, {rule}", f"Overall -> {format_time(report.time)}"]
    if not report.time.speech:
        lines.append("the references hold no scored speech: the rate is 0 by definition, see the false alarm")
    return lines


def der_table(report: DerReport, limit: int) -> str:
    """The recordings with the highest rates, one a line."""
    worst = sorted(report.recordings, key=lambda recording: (-recording.time.percent, -recording.time.errors, recording.id))
    return "".join(
        f"{recording.id} -> {format_time(recording.time)}, {recording.num_speakers[0]} speakers, "
        f"{recording.num_speakers[1]} in the hypothesis\n"
        for recording in worst[:limit]
    )


def format_time(time: SpeakerTime) -> str:
    """`12.50 % of 40.000 s: missed 1.000 s, false alarm 2.000 s, confusion 2.000 s`."""
    parts = ((name.replace("_", " "), getattr(time, name) / SECOND) for name in ("missed", "false_alarm", "confusion"))
    return f"{time.percent:.2f} % of {time.speech / SECOND:.3f} s: " + ", ".join(
        f"{name} {value:.3f} s" for name, value in parts
    )


def eer_values(report: EerReport) -> dict[str, Any]:
    """The report as plain values, ready for JSON."""
    return {
        "metric": "eer",
        "percent": round(report.percent, 4),
        # JSON has no infinity, which a threshold is where scores are missing.
        "threshold": report.threshold if math.isfinite(report.threshold) else None,
        "n": report.targets + report.nontargets,
        "targets": report.targets,
        "nontargets": report.nontargets,
        "missing": list(report.missing),
        "extra": list(report.extra),
        "signature": report.signature,
    }


def eer_lines(report: EerReport) -> Iterator[str]:
    """The rate, what it is of, and the threshold."""
    yield f"EER {report.percent:.2f} % over {report.targets} target and {report.nontargets} nontarget trials"
    yield f"threshold {report.threshold:.4f}: two recordings that score as much or more are of one speaker"
