"""Parameter groups, Adam, and the learning rate as a pure function of the step."""

import functools
import inspect
import math

import torch
from torch import nn

from mooer.common.errors import ConfigError
from mooer.models.shared_experts import group_of_experts
from mooer.train.config import OptimizerConfig, ScheduleConfig
from mooer.train.exact_adam import ExactAdam


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Adam over the trainable parameters of the model.

    Each group carries `peak`, the learning rate that the schedule's share is taken of.

    Raises:
        ConfigError: nothing to train, or a learning rate for a part that the model lacks.
    """
    groups = parameter_groups(model, config)
    if not groups:
        raise ConfigError("the model has no trainable parameter; take a part out of model.freeze")
    settings = {"lr": config.learning_rate, "betas": config.betas, "eps": config.eps}
    if not config.fused:
        return _uncompiled(ExactAdam)(groups, **settings, decoupled=config.name == "adamw")
    cls = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.name]
    return _uncompiled(cls)(groups, **settings, fused=True)


@functools.cache
def _uncompiled(cls: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """The same optimizer without what torch wraps around its methods for its compiler.

    Nothing is compiled here, yet to say so the wrappers import the compiler: a third of what training takes to start.
    """
    plain = {name: inspect.unwrap(getattr(cls, name)) for name in ("add_param_group", "zero_grad", "state_dict", "step")}
    return type(cls.__name__, (cls,), plain | {"step": torch.no_grad()(plain["step"])})


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[dict]:
    """Trainable parameters by part of the model and by whether they decay; biases and norms (one axis or none) do not.

    Experts that ranks share are groups of their own, marked as DeepSpeed asks for it.
    """
    parts = [name for name, _ in model.named_children()]
    unknown = sorted(set(config.part_learning_rates) - set(parts))
    if unknown:
        raise ConfigError(f"part_learning_rates names {', '.join(unknown)}; the model's parts are {', '.join(parts)}")
    groups: dict[tuple[float, float, str | None], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            peak = config.part_learning_rates.get(name.split(".")[0], config.learning_rate)
            # The biases of several experts have two axes.
            decays = parameter.ndim > 1 and not name.endswith("bias")
            decay = config.weight_decay if decays else 0.0
            groups.setdefault((peak, decay, group_of_experts(parameter)), []).append(parameter)
    return [
        {"params": parameters, "lr": peak, "peak": peak, "weight_decay": decay} | ({"moe": True, "name": name} if name else {})
        for (peak, decay, name), parameters in groups.items()
    ]


def learning_rate_share(config: ScheduleConfig, step: int, total_steps: int) -> float:
    """The learning rate of a step (from 0) as a share of the peak.

    Args:
        total_steps: the run's length, used where the config names none.

    warmup_decay_log is DeepSpeed's WarmupDecayLR, whose first two steps have a rate of 0; noam is that of Vaswani et
    al. (2017), scaled so that the peak is at the end of the warm-up.
    """
    total = config.total_steps or max(total_steps, config.warmup_steps + 1)
    warmup = config.warmup_steps
    if config.name == "warmup_decay_log":
        return _warmup_decay_log(step - 1, max(2, warmup), total)
    if config.name == "noam":
        return min((step + 1) / warmup, math.sqrt(warmup / (step + 1)))
    if step < warmup:
        return (step + 1) / warmup
    if config.name == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / (total - warmup))
    fall = 0.5 * (1.0 + math.cos(math.pi * progress)) if config.name == "warmup_cosine" else 1.0 - progress
    return config.floor + (1.0 - config.floor) * fall


def _warmup_decay_log(iteration: int, warmup: int, total: int) -> float:
    if iteration < 0:
        return 0.0
    if iteration < warmup:
        return math.log(iteration + 1) / math.log(warmup)
    return max(0.0, (total - iteration) / max(1.0, total - warmup))


def set_learning_rate(optimizer: torch.optim.Optimizer, share: float) -> float:
    """Give every group its share of its own peak; returns the largest rate, for the log."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
    return max(group["lr"] for group in optimizer.param_groups)
