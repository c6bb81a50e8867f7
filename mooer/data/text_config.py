"""The YAML section `data` of a model that is trained on text alone."""

from dataclasses import dataclass
from typing import Literal

from mooer.common.errors import ConfigError

_AT_LEAST_ONE = ("max_batch_tokens", "max_batch_size", "num_buckets", "min_tokens", "prefetch")


@dataclass(frozen=True, kw_only=True)
class TextDataConfig:
    """Text to train and validate on, and the way from it to batches. What a token is says the model: a piece, or a word."""

    input: Literal["text"] = "text"
    """text, in contrast to audio."""
    train_list: str | None = None
    """File of text to train on."""
    dev_list: str | None = None
    """File of text to validate on."""
    lines: Literal["plain", "kaldi"] = "plain"
    """What a line holds: a sentence, or its id and the sentence (`ID TRANSCRIPT`, as in a data directory's text)."""
    tokenizer_path: str | None = None
    """Folder with a tokenizer.json of ours or of an LLM, or with tokens.json and perhaps seg_dict, as a published model has."""
    max_batch_tokens: int = 4000
    """Most tokens of a batch, padding included; a longer line is a batch of its own."""
    max_batch_size: int = 512
    """Most lines of a batch."""
    num_buckets: int = 20
    """Ranges of length that batches are filled from."""
    min_tokens: int = 1
    """Shortest training line; shorter ones are skipped and counted."""
    max_tokens: int = 500
    """Longest training line; longer ones are skipped and counted."""
    num_workers: int = 0
    """Processes that load; 0 loads in the training process. The batches do not depend on it."""
    prefetch: int = 4
    """Batches that each worker keeps ready."""
    seed: int = 0
    """The order follows from it."""

    def __post_init__(self) -> None:
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.num_workers < 0:
            raise ConfigError(f"num_workers must not be negative, found {self.num_workers}")
        if self.max_tokens < self.min_tokens:
            raise ConfigError(f"max_tokens {self.max_tokens} must be at least min_tokens, which is {self.min_tokens}")
