"""What a training run would be, told before anything runs: parameters, memory, batches, steps and hours of audio."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from mooer.data.dataset import Loader
from mooer.data.mixture import FRAMES_AN_HOUR
from mooer.train.config import RunConfig, TrainingConfig
from mooer.train.families.base import Family
from mooer.train.families.choice import family_of

STAGES = (0, 1, 2, 3)
EXPERTS = "experts"
RANKS = (1, 2, 4, 8, 16, 64)
_FLOAT32, _HALF = 4, 2
# Adam's two moments.
_MOMENTS = 2 * _FLOAT32
_GIGA = 1e9


@dataclass(frozen=True)
class PartSize:
    """Parameters of a part of the model; tied ones once."""

    name: str
    total: int
    trained: int


def plan_run(config: RunConfig, ranks: int) -> str:
    """The plan of a run on so many ranks, as text. Large LLMs are outlined from their config.json, no weights are read.

    Raises:
        PathError, ConfigError, WeightsError, DataError: what training would raise for the same configuration.
    """
    config.training.check_ranks(ranks)
    family = family_of(config)
    parts = part_sizes(family.build_model(outline=True))
    loader = family.loader("train")
    sections = (
        _parameter_table(parts),
        _memory_table(parts, config.training, sorted({*RANKS, ranks})),
        _course(config.training, family, loader, ranks),
    )
    loader.close()
    return "\n\n".join(sections)


def part_sizes(model: nn.Module) -> list[PartSize]:
    """The sizes of the model's parts; a LoRA is a part of its own, and so are the experts of all layers."""
    sizes: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        part = "lora" if ".lora_" in name else EXPERTS if ".experts." in name else name.split(".")[0]
        size = sizes.setdefault(part, [0, 0])
        size[0] += parameter.numel()
        size[1] += parameter.numel() * parameter.requires_grad
    return [PartSize(name, total, trained) for name, (total, trained) in sizes.items()]


def state_bytes(parts: Iterable[PartSize], stage: int, ranks: int, half: bool, sharing: int = 1) -> float:
    """Bytes a rank needs for weights, gradients and Adam's moments; activations come on top.

    Args:
        half: whether the frozen LLM is kept in two bytes a value, as it is in training in bfloat16 or float16.
        sharing: ranks that share the experts.
    """
    parts = list(parts)
    trained = sum(part.trained for part in parts)
    kept = trained - sum(part.trained - part.trained / sharing for part in parts if part.name == EXPERTS)
    frozen = sum((part.total - part.trained) * (_HALF if half and part.name == "llm" else _FLOAT32) for part in parts)
    weights = frozen + kept * _FLOAT32
    gradients = trained * _FLOAT32 / ranks if stage >= 2 else kept * _FLOAT32
    # DeepSpeed keeps a copy of each rank's share of the weights beside its moments.
    optimizer = kept * _MOMENTS if stage == 0 else trained * (_MOMENTS + _FLOAT32) / ranks
    return (weights / ranks if stage == 3 else weights) + gradients + optimizer


def _parameter_table(parts: Sequence[PartSize]) -> str:
    total = PartSize("in all", sum(part.total for part in parts), sum(part.trained for part in parts))
    lines = [f"{'part':<12} {'parameters':>15} {'trained':>15}"]
    return "\n".join([*lines, *(f"{part.name:<12} {part.total:>15,} {part.trained:>15,}" for part in (*parts, total))])


def _memory_table(parts: Sequence[PartSize], config: TrainingConfig, ranks: Sequence[int]) -> str:
    half, sharing = config.dtype != "float32", config.expert_parallel
    stages = STAGES if sharing == 1 else STAGES[:-1]
    lines = ["GB a rank for weights, gradients and Adam, without activations"]
    lines.append(f"{'ranks':<8}" + "".join(f"{f'ZeRO {stage}':>10}" for stage in stages))
    for count in (count for count in ranks if count % sharing == 0):
        sizes = (state_bytes(parts, stage, count, half, sharing) / _GIGA for stage in stages)
        lines.append(f"{count:<8}" + "".join(f"{size:>10.3g}" for size in sizes))
    return "\n".join(lines)


def _amount(frames: float, family: Family) -> str:
    """Frames of 10 ms as hours of audio, or tokens of text."""
    return f"{frames / FRAMES_AN_HOUR:.2f} h of audio" if family.frame_seconds else f"{frames:.0f} tokens of text"


def _course(config: TrainingConfig, family: Family, loader: Loader, ranks: int) -> str:
    batches, frames = loader.batches_in_epoch(0), loader.frames_in_epoch(0)
    in_step = ranks * config.accumulation
    steps = math.ceil(batches / in_step)
    limits = [config.max_steps, None if config.max_epochs is None else config.max_epochs * steps]
    total = min(limit for limit in limits if limit is not None)
    return "\n".join(
        [
            f"an epoch:  {_amount(frames, family)} in {batches} batches, {steps} steps of {in_step} on {ranks} ranks",
            f"the run:   {total} steps, {total / steps:.2f} epochs, {_amount(total / steps * frames, family)}",
        ]
    )
