"""Drawing a step's continuations at random, in place of taking the best: what transformers' `generate` does with `do_sample`.

Each row's scores are divided by the temperature; its `top_k` best tokens are kept, and of them the fewest best ones that make
up `top_p` of their probability. Of all that the beams of an utterance kept, as many as a step needs are drawn without
repetition, each by its share. An utterance has a generator of its own, so that its draws depend on its seed and not on its
company.

R rows (utterances times beams), V vocabulary, U utterances, K kept tokens of a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mooer.common.errors import ConfigError
from mooer.decode.search import Candidate
from mooer.decode.top_tokens import top_of_rows

_MAX_TOP_K = 1000


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How continuations are drawn; the values with which the released speech models are used are the defaults."""

    top_p: float = 0.85
    """Share of the probability of a row's best tokens that the drawn ones come from; above 0, 1 for all of them."""
    top_k: int = 20
    """How many of a row's best tokens come into question at all; 2 to 1000."""
    temperature: float = 1.0
    """What log probabilities are divided by: below 1 the likely become likelier."""

    def __post_init__(self) -> None:
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must lie above 0 and be at most 1, found {self.top_p}")
        if not 2 <= self.top_k <= _MAX_TOP_K:
            raise ConfigError(f"top_k must lie between 2 and {_MAX_TOP_K}, found {self.top_k}")
        if not 0.01 <= self.temperature <= 100:
            raise ConfigError(f"temperature must lie between 0.01 and 100, found {self.temperature}")


@dataclass(frozen=True)
class Draw:
    """How many candidates of an utterance are drawn from how many beams."""

    beams: int
    """Beams of an utterance; at the first step, where there is one row, it stands for all of them."""
    count: int
    """Candidates wanted; at most twice the beams."""


def sampled_candidates(
    logits: Tensor, scores: Tensor, draw: Draw, draws: Sequence[torch.Generator], config: SamplingConfig
) -> list[list[Candidate]]:
    """Drawn ways to go on for each utterance, the best of them first.

    Args:
        logits: [R, V]; the beams of an utterance stand together.
        scores: [U, beams], or [U, 1] at the first step: added to the logits over the temperature, they make log probabilities.
        draws: the U generators, on the CPU.
    """
    values, tokens = _kept(logits, 2 if draw.beams > 1 else 1, config)  # [R, K]
    rows, width = scores.shape[1], values.shape[1]
    values = values.view(len(scores), rows, width) + scores.cpu()[:, :, None].double()
    values = values.expand(-1, draw.beams, -1).flatten(1)  # [U, beams * K]
    # The largest of log probability - log(exponential draw) are draws without repetition.
    noise = torch.stack([torch.empty(values.shape[1]).double().exponential_(generator=item) for item in draws])
    chosen = (values - noise.log()).topk(draw.count, dim=1).indices  # [U, count]
    best, order = values.gather(1, chosen).sort(dim=1, descending=True, stable=True)
    places = chosen.gather(1, order) % (rows * width)  # at the first step all beams are the same row
    tokens = tokens.view(len(scores), rows * width).gather(1, places)
    lists = zip(best.tolist(), (places // width).tolist(), tokens.tolist(), strict=True)
    return [[Candidate(*item) for item in zip(*row, strict=True)] for row in lists]


def _kept(logits: Tensor, at_least: int, config: SamplingConfig) -> tuple[Tensor, Tensor]:
    """The best tokens of each row and their logits over the temperature: [R, K], [R, K], on the CPU, where draws are made.

    Of those that are not drawn from, it is minus infinity.
    """
    values, tokens = (item.cpu() for item in top_of_rows(logits, config.top_k))
    values = values.double() / config.temperature
    shares = values.softmax(dim=1)
    is_left = shares.cumsum(dim=1) - shares >= config.top_p  # those better make up enough
    is_left[:, :at_least] = False
    return values.masked_fill(is_left, -torch.inf), tokens
