"""What a server allows and how it batches, and which models it answers with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mooer.common.errors import ConfigError
from mooer.common.files import require_file

_LEAST_KEY_LENGTH = 16


@dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """Limits and batches."""

    batch_size: int = 32
    """Requests decoded together."""
    batch_window_ms: float = 10.0
    """How long the first request of a batch waits for others while nothing is decoded."""
    max_queue: int = 256
    """Requests that are read, waiting or decoded at a time; more are refused with 429."""
    timeout: float = 120.0
    """Seconds from the beginning of a request to its answer."""
    max_upload_bytes: int = 25 << 20
    """Largest body of a request."""
    max_seconds: float | None = None
    """Longest recording; None for what the model reads."""
    readers: int = 2
    """Threads that decode uploads to samples."""
    max_live: int = 8
    """WebSockets that are heard at a time."""
    api_keys: tuple[str, ...] = ()
    """Keys of which a request must bear one; none for a server that is open to all who reach it."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_queue", "timeout", "max_upload_bytes", "readers", "max_live"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive, found {getattr(self, name)}")
        if not 0 <= self.batch_window_ms <= 10_000:
            raise ConfigError(f"batch_window_ms must lie between 0 and 10000, found {self.batch_window_ms}")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise ConfigError(f"max_seconds must be positive, found {self.max_seconds}")


@dataclass(frozen=True, kw_only=True)
class ServedModelConfig:
    """Which models answer, and how."""

    model_dir: str = "mini"
    """The recogniser: what mooer-decode takes as --model_dir."""
    names: tuple[str, ...] = ()
    """What requests call it; none for the name of its folder."""
    task: Literal["asr", "ast", "mtl"] | None = None
    """What it is asked; None for all that its folder says it was trained for, or asr. mtl answers both endpoints."""
    languages: tuple[str, ...] = ()
    """Languages that requests may name for a transcription: those that the model is known to tell by itself."""
    vad_dir: str | None = None
    """A published FSMN-VAD, so that transcriptions of any length have segments."""
    punc_dir: str | None = None
    """A published CT-Transformer, for the marks of transcriptions."""
    align_dir: str | None = None
    """What tells when the words of a speech LLM's transcriptions are said."""
    beam_size: int | None = None
    """Answers kept side by side; None for the model's default."""
    dtype: Literal["float32", "bfloat16", "float16", "int8", "fast"] = "float32"
    """Number format of the model."""
    device: str = "auto"
    """auto, cpu, cuda or musa."""

    @property
    def is_long(self) -> bool:
        """Whether transcriptions are made by several models, as mooer-transcribe makes them."""
        return any((self.vad_dir, self.punc_dir, self.align_dir))


def read_api_keys(path: str | Path) -> tuple[str, ...]:
    """The keys of a file, one a line; empty lines and those that begin with # say nothing.

    Raises:
        PathError, ConfigError: no such file, no key in it, or one that is short enough to be guessed.
    """
    lines = require_file(path, "file of keys").read_text(encoding="utf-8").splitlines()
    keys = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not keys:
        raise ConfigError(f"{path} holds no key; write one a line")
    for number, key in enumerate(keys, start=1):
        if len(key) < _LEAST_KEY_LENGTH or not key.isascii() or key.split() != [key]:
            needed = f"at least {_LEAST_KEY_LENGTH} ASCII characters without spaces"
            raise ConfigError(f"key {number} of {path} cannot be used; a key has {needed}")
    return keys
