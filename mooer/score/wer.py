"""Character, word and mixed error rates over a set of utterances."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import mooer
from mooer.common.errors import ConfigError, DataError
from mooer.score.align import Counts, Step, align, count
from mooer.text.normalize import METRICS, Normalizer, get_normalizer


@dataclass(frozen=True, kw_only=True)
class UtteranceScore:
    """One utterance's alignment and counts."""

    id: str
    steps: tuple[Step, ...]
    counts: Counts


@dataclass(frozen=True, kw_only=True)
class ScoreReport:
    """Error rates of a set of utterances: what was counted, how, and every alignment."""

    metric: str
    """cer, wer or mer."""
    normalizer: Normalizer
    utterances: tuple[UtteranceScore, ...]
    """In the references' order."""
    missing: tuple[str, ...]
    """References without a hypothesis: counted as all deleted."""
    extra: tuple[str, ...]
    """Hypotheses without a reference: not counted."""

    @cached_property
    def counts(self) -> Counts:
        """The totals."""
        return sum((utterance.counts for utterance in self.utterances), Counts())

    @property
    def signature(self) -> str:
        """All that a figure depends on besides the texts, in one line."""
        normalizer = self.normalizer
        return "|".join(
            (
                f"metric:{self.metric}",
                f"normalizer:{normalizer.name}.{normalizer.version}",
                f"unit:{normalizer.cuts[self.metric].unit}",
                f"case:{normalizer.case}",
                f"tags:{normalizer.tags}",
                "ties:del-ins-sub",
                "missing:deleted",
                f"version:mooer-{mooer.__version__}",
            )
        )


def score_error_rate(
    references: Mapping[str, str], hypotheses: Mapping[str, str], metric: str, normalizer: str = "compute-wer"
) -> ScoreReport:
    """Align every reference with its hypothesis and count.

    Args:
        references: text by utterance id; those without a hypothesis count as all deleted.
        hypotheses: text by utterance id; those without a reference are named in the report and not counted.
        metric: cer, wer or mer.
        normalizer: a name from `mooer.text.normalize.NORMALIZERS`.

    Raises:
        ConfigError: an unknown metric or normaliser.
        DataError: no references at all.
    """
    if metric not in METRICS:
        raise ConfigError(f"metric {metric!r} is unknown; allowed: {', '.join(METRICS)}")
    if not references:
        raise DataError("there are no references to score against")
    rule = get_normalizer(normalizer)
    utterances = []
    for utterance_id, reference in references.items():
        hypothesis = hypotheses.get(utterance_id, "")
        steps = tuple(align(rule.units(reference, metric), rule.units(hypothesis, metric)))
        utterances.append(UtteranceScore(id=utterance_id, steps=steps, counts=count(steps)))
    return ScoreReport(
        metric=metric,
        normalizer=rule,
        utterances=tuple(utterances),
        missing=tuple(name for name in references if name not in hypotheses),
        extra=tuple(name for name in hypotheses if name not in references),
    )
