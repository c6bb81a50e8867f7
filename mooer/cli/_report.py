"""How commands over many utterances show progress and end."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import click

from mooer.common.errors import PartialFailure

if TYPE_CHECKING:
    from mooer.data.utterance import Problem
    from mooer.decode.hypothesis import Failure


class Told(Protocol):
    """What is printed of a result."""

    key: str
    text: str
    flags: tuple[str, ...]


def progress_bar(items: Iterable, total: int) -> Iterable:
    """The items with a bar on stderr, where stderr is a terminal."""
    from tqdm import tqdm

    return tqdm(items, total=total, unit="chunk", disable=None)


def report_result(result: "Told | Failure", bar: Any, doubtful: str) -> bool:
    """Print `KEY<TAB>TEXT` above the bar, or name what failed; returns whether it did.

    Args:
        doubtful: what the flags say of, as "the answer is".
    """
    from mooer.common.log import get_logger
    from mooer.decode.hypothesis import Failure
    from mooer.decode.writer import one_line

    log = get_logger(__name__)
    if isinstance(result, Failure):
        log.error("%s failed (%s): %s", result.id, result.reason, result.message)
        return True
    with bar.external_write_mode():
        print(f"{result.key}\t{one_line(result.text).strip()}", flush=True)
    if result.flags:
        log.warning("%s: %s to be mistrusted: %s", result.key, doubtful, ", ".join(result.flags))
    return False


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
