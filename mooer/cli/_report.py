"""How commands over many utterances show progress and end."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from mooer.common.errors import PartialFailure

if TYPE_CHECKING:
    from mooer.data.utterance import Problem


def progress_bar(items: Iterable, total: int) -> Iterable:
    """The items with a bar on stderr, where stderr is a terminal."""
    from tqdm import tqdm

    return tqdm(items, total=total, unit="chunk", disable=None)


def finish(output_dir: str, num_utterances: int, problems: Sequence["Problem"]) -> None:
    """List what failed in OUTPUT_DIR/failed.jsonl and say what was done.

    Raises:
        PartialFailure: something failed.
    """
    from mooer.data.lists import FAILURES_NAME, write_failures

    write_failures(output_dir, problems)
    click.echo(f"{output_dir}: {num_utterances} utterances", err=True)
    if problems:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(Counter(item.reason for item in problems).items()))
        raise PartialFailure(f"{len(problems)} failed ({reasons}); they are listed in {output_dir}/{FAILURES_NAME}")
