"""The errors that a user can cause. A command prints their message and exits with their status, never a traceback."""


class MooerError(Exception):
    """Base of all errors with a message meant for the user; the message says what was given, what is allowed and what to do."""

    exit_status = 2


class ConfigError(MooerError):
    """A configuration with an unknown key, a wrong type or values that contradict each other."""


class PathError(MooerError):
    """A file or folder that is missing, of the wrong kind or not readable."""


class WeightsError(MooerError):
    """A checkpoint that is unsafe, damaged, or does not fit the model it was given for."""


class DataError(MooerError):
    """A data directory, list, shard or label file that breaks its format."""


class DamagedArchiveError(DataError):
    """A tar whose bytes end early or make no sense; the members before the damage are sound."""


class AudioError(MooerError):
    """A recording that cannot become samples or features.

    `reason` is one of a few fixed words (for counting): missing, unreadable, truncated, empty, too_short, too_long,
    not_finite, unsupported.
    """

    exit_status = 1

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class TrainingError(MooerError):
    """Training that cannot go on: a non-finite loss, no usable data, a checkpoint that does not match the run."""

    exit_status = 1


class PartialFailure(MooerError):
    """The command finished, but some utterances failed; what succeeded is kept."""

    exit_status = 1
