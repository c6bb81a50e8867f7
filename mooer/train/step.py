"""One optimizer step over micro-batches of all ranks, its loss a true mean over all their target tokens.

The token count of the whole step is known before the first forward pass, so each micro-batch contributes its loss sum
divided by it. Neither the loss nor the gradient then depends on how the same batches are spread over ranks and
accumulation. Dropout does not either: torch is seeded anew for each micro-batch from its place in the epoch, so a resumed
run needs no random state.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mooer.common import dist
from mooer.common.errors import TrainingError
from mooer.common.seed import derived_seed
from mooer.data.utterance import Problem
from mooer.models.losses import LossOutput
from mooer.train.engine import Engine
from mooer.train.families.base import Batch, Family, tensors_of


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums over the batches of all ranks."""

    loss: float
    """Loss summed over target tokens."""
    tokens: int
    """Target tokens."""
    correct: int
    """Targets that the model's best guess has right."""
    unalignable: int
    """Utterances without a CTC alignment, left out."""
    utterances: int
    """Utterances."""
    frames: int
    """Frames of the front end, or tokens of text."""

    @property
    def mean_loss(self) -> float:
        """Loss a target token; 0 without any."""
        return self.loss / max(1, self.tokens)

    @property
    def accuracy(self) -> float:
        """Share of the target tokens that are right; 0 without any."""
        return self.correct / max(1, self.tokens)


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What an optimizer step did."""

    sums: Sums
    learning_rate: float
    """The largest of the parameter groups."""
    grad_norm: float
    """Norm of the whole gradient before clipping."""


class Stepper:
    """Runs optimizer steps on an engine.

    Args:
        family: of the engine's model.
        seed: of the dropout draws.
        any_batch: gives some batch of the data; asked once at most, by a rank that is to take part in a step before it had
            a batch of its own.
    """

    def __init__(self, engine: Engine, family: Family, seed: int, any_batch: Callable[[], Batch]) -> None:
        self._engine = engine
        self._family = family
        self._seed = seed
        self._any_batch = any_batch
        self._idle_batch: Batch | None = None

    def step(self, batches: Sequence[Batch | None], place: tuple[int, int], learning_rate_share: float) -> StepResult | None:
        """One optimizer step.

        Args:
            batches: this rank's micro-batches, as many as every other rank's; None where the rank has nothing to do.
            place: the epoch, and how many micro-batches of it all ranks together had before.

        Returns:
            None if no rank had a target token: the weights are unchanged then.

        Raises:
            TrainingError: on all ranks, if the loss or the gradient of any is not finite.
        """
        if dist.world_size() == 1:
            batches = [batch for batch in batches if batch is not None]
        tokens = self._global_tokens(batches)
        if tokens == 0:
            return None
        sums = self._accumulate(batches, place, dist.world_size() / tokens)
        assert sums.tokens == tokens, f"the model counted {sums.tokens} target tokens, its batches {tokens}"
        rate, norm = self._engine.step(learning_rate_share)
        return StepResult(sums=sums, learning_rate=rate, grad_norm=norm)

    def _global_tokens(self, batches: Sequence[Batch | None]) -> int:
        tokens = sum(self._family.count_targets(batch) for batch in batches if batch is not None)
        if dist.world_size() == 1:
            return tokens
        return int(dist.sum_over_ranks(torch.tensor(tokens, device=self._engine.device)))

    def _accumulate(self, batches: Sequence[Batch | None], place: tuple[int, int], scale: float) -> Sums:
        """Forward and backward passes of the micro-batches; `scale` undoes DeepSpeed's mean over ranks."""
        epoch, first = place
        tally = Tally(self._engine.device, self._family)
        for index, batch in enumerate(batches):
            # The ranks take the epoch's batches in turns: the same one has the same dropout in any spread.
            number = first + index * dist.world_size() + dist.rank()
            torch.manual_seed(derived_seed(self._seed, "dropout", epoch, number))
            output = self._engine.forward(tensors_of(self._or_idle(batch).to(self._engine.device)))
            self._engine.backward(output.loss_sum * (0.0 if batch is None else scale), last=index == len(batches) - 1)
            if batch is not None:
                tally.add(output, batch)
                self._idle_batch = batch
        sums = tally.over_ranks()
        if not math.isfinite(sums.loss):
            raise TrainingError(f"the loss is {sums.loss}: {tally.describe_not_finite()}")
        return sums

    def evaluate(self, batches: Iterable[Batch | None]) -> Sums:
        """The loss of the batches of all ranks, in eval mode."""
        tally = Tally(self._engine.device, self._family)
        with self._engine.evaluation() as model:
            for batch in batches:
                if batch is None and not self._engine.needs_all_ranks:
                    continue
                output = model(**tensors_of(self._or_idle(batch).to(self._engine.device)))
                if batch is not None:
                    tally.add(output, batch)
        return tally.over_ranks()

    def _or_idle(self, batch: Batch | None) -> Batch:
        """The batch, or one to run at weight 0 so that this rank takes part in the collectives of the others."""
        if batch is not None:
            return batch
        if self._idle_batch is None:
            self._idle_batch = self._any_batch()
        return self._idle_batch


class Tally:
    """Adds up the LossOutputs of this rank's batches, on the device."""

    def __init__(self, device: torch.device, family: Family) -> None:
        self._family = family
        self._counts = torch.zeros(6, dtype=torch.float64, device=device)
        self._losses: list[tuple[Tensor, list[str]]] = []

    def add(self, output: LossOutput, batch: Batch) -> None:
        """Count a batch and what the model made of it."""
        parts = (output.loss_sum.detach(), output.num_tokens, output.num_correct, output.num_infinite)
        self._counts[:4] += torch.stack([part.to(self._counts) for part in parts])
        self._counts[4:] += torch.tensor([len(batch.ids), self._family.count_frames(batch)]).to(self._counts)
        self._losses.append((parts[0], batch.ids))

    def over_ranks(self) -> Sums:
        """The sums over all ranks; every rank must call it."""
        loss, *counts = dist.sum_over_ranks(self._counts.clone()).tolist()
        names = ("tokens", "correct", "unalignable", "utterances", "frames")
        return Sums(loss=loss, **{name: int(count) for name, count in zip(names, counts, strict=True)})

    def describe_not_finite(self) -> str:
        """Whose loss is not finite: utterance ids of this rank, or the hint that it is another's."""
        batches = [f"{float(loss)} for {', '.join(ids)}" for loss, ids in self._losses if not torch.isfinite(loss)]
        return f"rank {dist.rank()} has {'; '.join(batches)}" if batches else f"not on rank {dist.rank()}, see the others"


def problems_of_all_ranks(problems: Sequence[Problem], device: torch.device) -> list[Problem]:
    """What the ranks could not use, each once, sorted; every rank must call it."""
    own = json.dumps([dataclasses.astuple(problem) for problem in problems])
    merged = {values[:2]: Problem(*values) for text in _gather_texts(own, device) for values in map(tuple, json.loads(text))}
    return [merged[key] for key in sorted(merged)]


def _gather_texts(text: str, device: torch.device) -> list[str]:
    """The texts of all ranks, in order."""
    if dist.world_size() == 1:
        return [text]
    own = torch.tensor(list(text.encode("utf-8")), dtype=torch.uint8, device=device)
    sizes = torch.zeros(dist.world_size(), dtype=torch.int64, device=device)
    sizes[dist.rank()] = len(own)
    dist.sum_over_ranks(sizes)
    rows = own.new_zeros(dist.world_size(), int(sizes.max()), dtype=torch.int32)
    rows[dist.rank(), : len(own)] = own
    dist.sum_over_ranks(rows)
    return [bytes(row[:size].tolist()).decode("utf-8") for row, size in zip(rows, sizes.tolist(), strict=True)]
