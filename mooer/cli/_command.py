"""What every command shares: option spelling, exit statuses and the way errors reach the user."""

import functools
import sys
from collections.abc import Callable
from typing import Any

import click

from mooer.common.errors import MooerError
from mooer.common.log import setup_logging

CONTEXT_SETTINGS = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 110,
    # --wav-scp is accepted where --wav_scp is declared.
    "token_normalize_func": lambda token: token.replace("-", "_"),
}


def command(function: Callable[..., Any]) -> click.Command:
    """Make a click command that turns a MooerError into one message on stderr and its exit status.

    Unknown options and wrong values exit with 2 (click's own rule); an interrupt exits with 130.
    """

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        setup_logging()
        try:
            function(*args, **kwargs)
        except MooerError as error:
            click.echo(f"{click.get_current_context().info_name}: error: {error}", err=True)
            sys.exit(error.exit_status)
        except BrokenPipeError:
            sys.exit(1)

    return click.command(context_settings=CONTEXT_SETTINGS)(guarded)
