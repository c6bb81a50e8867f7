"""What the recipes' result tables share: exact matches, Markdown, and the files that hold the figures."""

import json
from collections.abc import Mapping
from pathlib import Path

from mooer.common.files import atomic_write


def exact_match(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> float:
    """Percentage of the references that their hypothesis is equal to."""
    return 100.0 * sum(hypotheses.get(name) == text for name, text in references.items()) / len(references)


def markdown(results: Mapping[str, Mapping[str, float]], systems: Mapping[str, str], columns: Mapping[str, str]) -> str:
    """A row a system and a column a figure; a figure that a system does not have leaves its cell empty.

    Args:
        results: figures by name, by system.
        systems: what a row is called.
        columns: the heading of each figure, in order.
    """
    lines = ["| | " + " | ".join(columns.values()) + " |", "| --- |" + " --- |" * len(columns)]
    for system, figures in results.items():
        cells = [f"{figures[name]:.2f}" if name in figures else "" for name in columns]
        lines.append(f"| {systems[system]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_results(folder: Path, values: Mapping[str, object], text: str) -> None:
    """Write results.json (`values`) and results.md (`text`) into `folder`."""
    with atomic_write(folder / "results.json") as stream:
        json.dump(values, stream, ensure_ascii=False, indent=1)
        stream.write("\n")
    with atomic_write(folder / "results.md") as stream:
        stream.write(text)
