"""What the searches with more than one source of scores have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mooer.common.errors import ConfigError
from mooer.decode.hypothesis import Alternative
from mooer.decode.language_model import LanguageModelScorer
from mooer.decode.prefixes import PrefixTree
from mooer.models.transformer_lm import TransformerLm


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """How wide a search is, and what counts how much beside the model itself."""

    beam_size: int = 10
    """Answers kept side by side."""
    lm_weight: float = 0.0
    """Of the language model's log probabilities."""
    ctc_weight: float = 0.0
    """Of the log probabilities of a CTC layer beside another model, whose own count fully all the same."""
    reverse_weight: float = 0.0
    """Share of the decoder that reads from right to left in the score of a model that has both."""
    length_bonus: float = 0.0
    """Added for each token."""

    def __post_init__(self) -> None:
        if self.beam_size < 1:
            raise ConfigError(f"beam_size must be at least 1, found {self.beam_size}")
        for name in ("lm_weight", "ctc_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, found {getattr(self, name)}")
        if not 0.0 <= self.reverse_weight <= 1.0:
            raise ConfigError(f"reverse_weight must lie in [0, 1], found {self.reverse_weight}")


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
    attention_score: float = 0.0
    """Log probability by a decoder that attends to the frames; 0 without one."""
    ended: bool = True
    """Whether it came to its end; if not, it was cut at a bound."""

    @property
    def mean_log_prob(self) -> float:
        """Log probability by the model alone, of its decoder where it has been asked, a token."""
        if self.attention_score:
            return self.attention_score / (len(self.tokens) + 1)
        return self.ctc_score / max(1, len(self.tokens))


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """A search as it is asked for: its settings, the language model, and how many answers are kept."""

    config: FusionConfig
    mode: Literal["ctc_prefix_beam", "attention", "attention_rescoring"] | None = None
    """Which search, for a model that knows several."""
    lm: TransformerLm | None = None
    """On the device of the model; None without one."""
    lm_files: tuple[Path, ...] = ()
    """The files that its weights were read from."""
    num_alternatives: int = 0

    def scorer(self, tree: PrefixTree) -> LanguageModelScorer | None:
        """The language model's scorer of a tree."""
        return None if self.lm is None else LanguageModelScorer(self.lm, tree)

    def alternatives(
        self, found: Sequence[Found], read: Callable[[tuple[int, ...], float], Alternative]
    ) -> tuple[Alternative, ...]:
        """The best answers, made by `read` of their tokens and scores."""
        return tuple(read(answer.tokens, answer.score) for answer in found[: self.num_alternatives])
