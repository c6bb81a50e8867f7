"""Whether one system is better than another on the same test set: a paired bootstrap over utterances."""

from dataclasses import dataclass

from mooer.common.errors import ConfigError
from mooer.score.wer import ScoreReport

SAMPLES = 10_000


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """System B against system A on the same references."""

    percent_a: float
    percent_b: float
    """Error rates of the two systems, or BLEU."""
    difference_low: float
    difference_high: float
    """The 95 % interval of B minus A."""
    p_value: float
    """How often resampled test sets turn the sign of the difference, two-sided; at most 1."""
    samples: int
    seed: int

    @property
    def difference(self) -> float:
        """B minus A: below 0 means that B makes fewer errors."""
        return self.percent_b - self.percent_a


def compare_error_rates(a: ScoreReport, b: ScoreReport, seed: int = 0, samples: int = SAMPLES) -> Comparison:
    """Draw test sets of the same size with replacement and look how the difference of the error rates varies.

    Raises:
        ConfigError: the reports are not of the same references, metric and normaliser.
    """
    import numpy

    if a.signature != b.signature or [u.id for u in a.utterances] != [u.id for u in b.utterances]:
        raise ConfigError("only scores of the same references, metric and normalizer can be compared")
    counts = numpy.array(
        [(x.counts.errors, y.counts.errors, x.counts.n) for x, y in zip(a.utterances, b.utterances, strict=True)], dtype=float
    )
    generator = numpy.random.default_rng(seed)
    differences = numpy.empty(samples)
    for index in range(samples):
        errors_a, errors_b, n = counts[generator.integers(len(counts), size=len(counts))].sum(axis=0)
        differences[index] = 100.0 * (errors_b - errors_a) / max(n, 1.0)
    low, high = numpy.percentile(differences, [2.5, 97.5])
    # One is added on both sides because the test set as it is counts as a sample too.
    crossing = (min((differences <= 0).sum(), (differences >= 0).sum()) + 1) / (samples + 1)
    return Comparison(
        percent_a=a.counts.percent,
        percent_b=b.counts.percent,
        difference_low=float(low),
        difference_high=float(high),
        p_value=min(1.0, 2.0 * float(crossing)),
        samples=samples,
        seed=seed,
    )


def describe(comparison: Comparison) -> str:
    """The comparison in one line."""
    return (
        f"compare: {comparison.percent_b:.2f} - {comparison.percent_a:.2f} = {comparison.difference:+.2f} "
        f"[{comparison.difference_low:+.2f}, {comparison.difference_high:+.2f}], p = {comparison.p_value:.4f} "
        f"(paired bootstrap over utterances, {comparison.samples} samples, seed {comparison.seed}; "
        "below 0: the second makes fewer errors)\n"
    )
