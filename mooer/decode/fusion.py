"""What the searches with more than one source of scores have in common."""

from dataclasses import dataclass

from mooer.common.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """How wide a search is, and what counts how much beside the model itself."""

    beam_size: int = 10
    """Answers kept side by side."""
    lm_weight: float = 0.0
    """Of the language model's log probabilities."""
    ctc_weight: float = 0.0
    """Of the log probabilities of Paraformer's CTC layer; its own count fully all the same."""
    length_bonus: float = 0.0
    """Added for each token."""

    def __post_init__(self) -> None:
        if self.beam_size < 1:
            raise ConfigError(f"beam_size must be at least 1, found {self.beam_size}")
        for name in ("lm_weight", "ctc_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, found {getattr(self, name)}")


@dataclass(frozen=True)
class Found:
    """An answer that a search came to."""

    tokens: tuple[int, ...]
    """The end of the sentence among them where the search chose one."""
    score: float
    """All that counts, by its weights."""
    lm_score: float = 0.0
    """Log probability by the language model; 0 without one."""
    ctc_score: float = 0.0
    """Log probability by CTC; 0 without it."""
