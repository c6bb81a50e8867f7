"""Which machine-made labels are good enough to train on: what is measured of an utterance, and what is rejected."""

import dataclasses
import math
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from mooer.common.errors import ConfigError
from mooer.decode.hypothesis import CUT, REPETITION
from mooer.text.normalize import Normalizer, get_normalizer

# Flagged texts that may be accepted; what has another flag has no text.
ACCEPTABLE = (CUT, REPETITION)

EMPTY_TEXT, EMPTY_TRANSLATION = "empty_text", "empty_translation"
LOW_CONFIDENCE, DISAGREEMENT = "low_confidence", "disagreement"
CHARACTER_RATE, LENGTH_RATIO = "characters_per_second", "length_ratio"


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """What is rejected. A value on a bound is kept."""

    min_confidence: float = 0.7
    """Least geometric mean of the probabilities of the transcript's tokens, from 0 to 1."""
    max_disagreement: float = 0.1
    """Largest edit distance between the transcript's characters and the second recogniser's, over the longer length; 0 to 1."""
    min_characters_per_second: float = 1.0
    """Fewest characters of the transcript, spaces left out, a second of the recording."""
    max_characters_per_second: float = 25.0
    """Most of them."""
    min_length_ratio: float = 0.3
    """Fewest units of the translation for each unit of the transcript; CJK by character, everything else by word."""
    max_length_ratio: float = 3.5
    """Most of them."""
    accepted_flags: tuple[str, ...] = ()
    """Flags that do not reject: max_new_tokens (cut at its bound), repetition (it runs in a circle)."""
    normalizer: str = "mooer-v1"
    """How texts are cleaned before characters and units are counted and compared: a name of mooer.text.normalize."""

    def __post_init__(self) -> None:
        get_normalizer(self.normalizer)
        for name in ("min_confidence", "max_disagreement"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie between 0 and 1, found {getattr(self, name)}")
        for what in (CHARACTER_RATE, LENGTH_RATIO):
            low, high = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if not 0 <= low <= high:
                raise ConfigError(f"min_{what} {low} and max_{what} {high} must be in order, and not below 0")
        for flag in self.accepted_flags:
            if flag not in ACCEPTABLE:
                raise ConfigError(f"flag {flag!r} cannot be accepted; allowed: {', '.join(ACCEPTABLE)}")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What models, or its own transcript, say of an utterance."""

    id: str
    seconds: float
    """Length of the recording."""
    text: str
    """The transcript, in one line."""
    confidence: float | None = None
    """The recogniser's, from 0 to 1; None if the transcript was there before."""
    flags: tuple[str, ...] = ()
    """The recogniser's: too_short, max_new_tokens, repetition."""
    second_text: str | None = None
    """The second recogniser's transcript; None if there is none."""
    translation: str | None = None
    """None if none was asked for."""
    translation_flags: tuple[str, ...] = ()
    """The translator's: max_new_tokens, repetition."""


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What the filters compare with their bounds; None for what cannot be measured."""

    confidence: float | None
    disagreement: float | None
    characters_per_second: float | None
    length_ratio: float | None


def measure(labels: Labels, normalizer: Normalizer) -> Measures:
    """The measures of an utterance. Without words there is nothing to measure but the recogniser's confidence."""
    text = _characters(labels.text, normalizer)
    if not text:
        return Measures(confidence=labels.confidence, disagreement=None, characters_per_second=None, length_ratio=None)
    disagreement = None
    if labels.second_text is not None:
        disagreement = Levenshtein.normalized_distance(text, _characters(labels.second_text, normalizer))
    ratio = None
    if labels.translation is not None:
        target = len(normalizer.units(labels.translation, "mer"))
        ratio = target / len(normalizer.units(labels.text, "mer")) if target else None
    return Measures(
        confidence=labels.confidence,
        disagreement=_rounded(disagreement),
        characters_per_second=_rounded(len(text) / labels.seconds),
        length_ratio=_rounded(ratio),
    )


def _characters(text: str, normalizer: Normalizer) -> str:
    """The cleaned text without spaces."""
    return "".join(normalizer.units(text, "wer"))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def reasons_to_reject(labels: Labels, measures: Measures, config: FilterConfig) -> tuple[str, ...]:
    """All reasons why an utterance is rejected, in a fixed order; none if it is kept."""
    reasons = [flag for flag in labels.flags if flag not in config.accepted_flags]
    if measures.characters_per_second is None:
        return (EMPTY_TEXT, *reasons)
    if measures.confidence is not None and measures.confidence < config.min_confidence:
        reasons.append(LOW_CONFIDENCE)
    if measures.disagreement is not None and measures.disagreement > config.max_disagreement:
        reasons.append(DISAGREEMENT)
    if not config.min_characters_per_second <= measures.characters_per_second <= config.max_characters_per_second:
        reasons.append(CHARACTER_RATE)
    if labels.translation is not None:
        reasons += _translation_reasons(labels, measures, config)
    return tuple(reasons)


def _translation_reasons(labels: Labels, measures: Measures, config: FilterConfig) -> list[str]:
    reasons = [f"translation_{flag}" for flag in labels.translation_flags if flag not in config.accepted_flags]
    if measures.length_ratio is None:
        return [EMPTY_TRANSLATION, *reasons]
    if not config.min_length_ratio <= measures.length_ratio <= config.max_length_ratio:
        reasons.append(LENGTH_RATIO)
    return reasons


def bounds(config: FilterConfig) -> dict[str, tuple[float, float]]:
    """The least and the largest value kept, by the name of the measure."""
    return {
        "confidence": (config.min_confidence, math.inf),
        "disagreement": (-math.inf, config.max_disagreement),
        "characters_per_second": (config.min_characters_per_second, config.max_characters_per_second),
        "length_ratio": (config.min_length_ratio, config.max_length_ratio),
    }


MEASURES = tuple(field.name for field in dataclasses.fields(Measures))
