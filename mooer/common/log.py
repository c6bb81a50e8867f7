"""Logging to stderr, beside progress bars."""

import logging
import sys

from tqdm import tqdm


class _TqdmHandler(logging.Handler):
    """Writes each record above a running progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


def setup_logging(level: int = logging.INFO) -> None:
    """Send mooer's log records to stderr, once; other libraries only from warnings up."""
    root = logging.getLogger()
    if any(isinstance(handler, _TqdmHandler) for handler in root.handlers):
        return
    handler = _TqdmHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("mooer").setLevel(level)


def get_logger(name: str) -> logging.Logger:
    """The logger of a module, always below `mooer`."""
    return logging.getLogger(name if name.startswith("mooer") else f"mooer.{name}")
