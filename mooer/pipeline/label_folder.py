"""A labelled data directory: what is kept as Kaldi tables, what is not as lines of JSON that say why."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from mooer.common.errors import PathError
from mooer.common.files import atomic_write
from mooer.data.directory import AUDIO_TABLE, FEATURE_TABLE, SEGMENT_TABLE, SPEAKER_TABLE
from mooer.data.lists import write_failures, write_table
from mooer.data.packing import LIST_NAME
from mooer.data.utterance import TRANSCRIPT, Problem, Utterance
from mooer.decode.hypothesis import Failure
from mooer.pipeline.label_filters import MEASURES, FilterConfig, Labels, Measures, measure, reasons_to_reject
from mooer.pipeline.label_source import LabelSource, write_source
from mooer.text.normalize import get_normalizer

KEPT_NAME, REJECTED_NAME, REPORT_NAME, FIGURE_NAME = "kept.jsonl", "rejected.jsonl", "report.json", "report.png"


@dataclass
class Tally:
    """What was kept, rejected and not labelled at all."""

    kept: int = 0
    kept_seconds: float = 0.0
    rejected: int = 0
    rejected_seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    """How many utterances each reason rejects; an utterance may have several."""
    failures: list[Failure] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in MEASURES})
    """Every value of each measure, of kept and rejected utterances."""

    def add(self, labels: Labels, measures: Measures, reasons: tuple[str, ...]) -> None:
        """Count an utterance that has labels."""
        if reasons:
            self.rejected, self.rejected_seconds = self.rejected + 1, self.rejected_seconds + labels.seconds
        else:
            self.kept, self.kept_seconds = self.kept + 1, self.kept_seconds + labels.seconds
        self.reasons.update(reasons)
        for name in MEASURES:
            value = getattr(measures, name)
            if value is not None:
                self.values[name].append(value)


def check_folder(folder: Path, marker: Path) -> None:
    """Raise PathError if `folder` holds files that labels would replace but, without `marker`, no labels of ours."""
    names = ("text", AUDIO_TABLE, SEGMENT_TABLE, SPEAKER_TABLE, FEATURE_TABLE, LIST_NAME, KEPT_NAME, REJECTED_NAME, REPORT_NAME)
    present = [name for name in names if (folder / name).exists()]
    if folder.exists() and not folder.is_dir():
        raise PathError(f"--output_dir {folder} is not a folder")
    if present and not marker.exists():
        raise PathError(f"{folder} holds {', '.join(present)} that are not of this command; name a new --output_dir")


def write_folder(
    folder: Path,
    source: LabelSource,
    results: Iterable[Labels | Failure],
    filters: FilterConfig,
    label: str | None,
) -> Tally:
    """Judge the result of every entry of a source, and write the data directory of what is kept.

    The report, which says that the rest belongs together, is not written; an earlier one is removed first.

    Args:
        label: name of the translations (text.LABEL); None if there are none.
    """
    for name in (REPORT_NAME, FIGURE_NAME):
        (folder / name).unlink(missing_ok=True)
    tally, kept = Tally(), []
    with atomic_write(folder / KEPT_NAME) as kept_stream, atomic_write(folder / REJECTED_NAME) as rejected_stream:
        for entry, result in zip(source.entries, results, strict=True):
            if isinstance(result, Failure):
                tally.failures.append(result)
                continue
            measures, reasons = _judge(result, filters)
            tally.add(result, measures, reasons)
            _write_line(rejected_stream if reasons else kept_stream, _values(result, measures, reasons))
            if not reasons:
                kept.append(_labelled(entry, result, label))
    write_failures(folder, [Problem(item.id, item.reason, item.message) for item in tally.failures])
    kept.sort(key=lambda item: item.id.encode("utf-8"))
    _write_texts(folder, source, kept, label)
    write_source(folder, source, kept)
    return tally


def _write_texts(folder: Path, source: LabelSource, kept: Sequence[Utterance], label: str | None) -> None:
    """Write text, with the source's own lines where it has them, and text.LABEL."""
    if source.lines:
        with atomic_write(folder / "text") as stream:
            stream.writelines(source.lines[item.id] + "\n" for item in kept)
    else:
        write_table(folder / "text", {item.id: item.labels[TRANSCRIPT] for item in kept})
    if label:
        write_table(folder / f"text.{label}", {item.id: item.labels[label] for item in kept})


def _judge(labels: Labels, filters: FilterConfig) -> tuple[Measures, tuple[str, ...]]:
    measures = measure(labels, get_normalizer(filters.normalizer))
    return measures, reasons_to_reject(labels, measures, filters)


def _labelled(entry: Utterance, labels: Labels, label: str | None) -> Utterance:
    texts = {TRANSCRIPT: labels.text} | ({label: labels.translation} if label else {})
    return dataclasses.replace(entry, labels=texts)


def _values(labels: Labels, measures: Measures, reasons: tuple[str, ...]) -> dict[str, Any]:
    values = {**dataclasses.asdict(labels), **dataclasses.asdict(measures), "seconds": round(labels.seconds, 3)}
    present = {name: value for name, value in values.items() if value is not None and value != ()}
    return present | ({"reasons": reasons} if reasons else {})


def _write_line(stream: IO[str], values: dict[str, Any]) -> None:
    json.dump(values, stream, ensure_ascii=False)
    stream.write("\n")
