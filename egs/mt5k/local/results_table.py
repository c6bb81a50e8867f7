#!/usr/bin/env python3
"""All test sets in the layout of the published table: error rates of recognition, BLEU of translation, a column a system."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mooer.cli._command import command
from mooer.common.errors import ConfigError, DataError
from mooer.common.files import require_dir, require_file


@dataclass(frozen=True, kw_only=True)
class Group:
    """Test sets that are averaged."""

    title: str
    metric: str
    """As mooer-score calls it; its folder too."""
    digits: int
    """Decimals that are shown."""
    test_sets: tuple[str, ...]


GROUPS = (
    Group(
        title="Chinese, CER %",
        metric="cer",
        digits=2,
        test_sets=("aishell1", "aishell2_ios", "magicdata", "thchs30", "fleurs_zh_dev", "fleurs_zh_test"),
    ),
    Group(
        title="English, WER %",
        metric="wer",
        digits=2,
        test_sets=(
            "librispeech_clean",
            "librispeech_other",
            "fleurs_en_dev",
            "fleurs_en_test",
            "gigaspeech_dev",
            "gigaspeech_test",
        ),
    ),
    Group(title="Chinese to English, BLEU", metric="bleu", digits=1, test_sets=("covost1", "covost2", "ccmt2019")),
)

# README.md of https://github.com/MooreThreads/MooER at commit 150ce3fb, section "Evaluation Results". How texts were normalised
# before they were scored is not said there.
_RECOGNITION = (*GROUPS[0].test_sets, *GROUPS[1].test_sets)
_FIVE = (1.93, 3.17, 3.48, 4.11, 5.81, 6.77, 7.78, 15.25, 18.89, 20.41, 23.46, 22.09)
_EIGHTY = (1.25, 2.67, 2.52, 3.14, 5.23, 6.18, 4.11, 9.99, 13.32, 14.97, 16.92, 16.64)
PUBLISHED = {
    "MooER-5K": dict(zip(_RECOGNITION, _FIVE, strict=True)) | {"covost2": 23.4},
    "MooER-5K-MTL": {"covost1": 30.2, "covost2": 25.2, "ccmt2019": 19.6},
    "MooER-80K": dict(zip(_RECOGNITION, _EIGHTY, strict=True)),
}


@dataclass(frozen=True)
class Score:
    """What mooer-score found."""

    value: float
    """Percent, or BLEU."""
    signature: str
    """How it was counted."""
    missing: int
    """References without a hypothesis."""


@command
@click.option(
    "--system",
    "systems",
    multiple=True,
    metavar="NAME=DIR",
    help="DIR has TEST_SET/METRIC/score.json; repeatable, a column each.",
)
@click.option("--published", is_flag=True, help="Put the published figures of MooER before them.")
def main(systems: tuple[str, ...], published: bool) -> None:
    """Print the results of some systems as a table in Markdown.

    A result that is not there is shown as -, left out of the average, and named below the table.
    """
    if not systems and not published:
        raise click.UsageError("there is nothing to show: give --system NAME=DIR or --published")
    scores = {name: read_scores(folder) for name, folder in map(parse_system, systems)}
    if len(scores) < len(systems):
        raise ConfigError("two systems have the same name; a name is a column")
    columns = {name: {test_set: score.value for test_set, score in found.items()} for name, found in scores.items()}
    click.echo(markdown((PUBLISHED if published else {}) | columns))
    remarks = notes(scores)
    if remarks:
        click.echo("\n" + "\n".join(f"- {remark}" for remark in remarks))


def parse_system(value: str) -> tuple[str, Path]:
    """Name and folder of `NAME=DIR`. Raises ConfigError or PathError."""
    name, _, folder = value.partition("=")
    if not name or not folder or "|" in name or name in PUBLISHED:
        taken = ", ".join(PUBLISHED)
        raise ConfigError(f"--system {value!r} must be NAME=DIR, with no | in the name, which is none of {taken}")
    return name, require_dir(folder, "results of a system")


def read_scores(folder: Path) -> dict[str, Score]:
    """What there is of a system's scores, by test set. Raises DataError if there is none."""
    metrics = {test_set: group.metric for group in GROUPS for test_set in group.test_sets}
    files = {test_set: folder / test_set / metric / "score.json" for test_set, metric in metrics.items()}
    scores = {test_set: read_score(file, metrics[test_set]) for test_set, file in files.items() if file.is_file()}
    if not scores:
        raise DataError(f"{folder} has no TEST_SET/METRIC/score.json, such as {next(iter(files.values()))}")
    return scores


def read_score(file: Path, metric: str) -> Score:
    """One result of mooer-score. Raises PathError or DataError."""
    try:
        values: dict[str, Any] = json.loads(require_file(file, "result").read_text(encoding="utf-8"))
        if values["metric"] != metric:
            raise DataError(f"{file} is {values['metric']}, not {metric}; score again with --metric {metric}")
        value = float(values["score" if metric == "bleu" else "percent"])
        return Score(value, values["signature"], len(values["missing"]))
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{file} is no result of mooer-score: {error!r}") from error


def markdown(columns: Mapping[str, Mapping[str, float]]) -> str:
    """The table; `columns` has the figures by system and test set."""
    lines = [_row(["", "test set", *columns]), _row(["---"] * 2 + ["---:"] * len(columns))]
    for group in GROUPS:
        titles = [group.title, *[""] * (len(group.test_sets) - 1)]
        for title, test_set in zip(titles, group.test_sets, strict=True):
            cells = [_cell(figures.get(test_set), group.digits) for figures in columns.values()]
            lines.append(_row([title, test_set, *cells]))
        lines.append(_row(["", "**average**", *(_average(figures, group) for figures in columns.values())]))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _average(figures: Mapping[str, float], group: Group) -> str:
    """Mean over the test sets that there are; how many, if it is not all."""
    found = [figures[test_set] for test_set in group.test_sets if test_set in figures]
    if not found:
        return "-"
    of_all = "" if len(found) == len(group.test_sets) else f" ({len(found)} of {len(group.test_sets)})"
    return f"**{_cell(sum(found) / len(found), group.digits)}**{of_all}"


def notes(scores: Mapping[str, Mapping[str, Score]]) -> list[str]:
    """What a reader must know: results that are not there, hypotheses that are not there, columns that may not be compared."""
    lines = []
    for name, found in scores.items():
        absent = [test_set for group in GROUPS for test_set in group.test_sets if test_set not in found]
        if absent:
            lines.append(f"{name}: no result for {', '.join(absent)}; the averages are over the others")
        lines += [
            f"{name}: {test_set} has {score.missing} references without a hypothesis, counted as wrong"
            for test_set, score in found.items()
            if score.missing
        ]
    for test_set in sorted({test_set for found in scores.values() for test_set in found}):
        signatures = {found[test_set].signature for found in scores.values() if test_set in found}
        if len(signatures) > 1:
            lines.append(f"{test_set}: not to be compared, scored in different ways: {'; '.join(sorted(signatures))}")
    return lines


if __name__ == "__main__":
    main()
