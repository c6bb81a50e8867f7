"""DeepSpeed behind a narrow front: forward, backward, step, and the state of weights and optimizer.

In one process ZeRO 0 adds nothing to a plain torch step: no gradient is copied. In several, DeepSpeed averages gradients over
ranks (and splits states, gradients and weights from stage 1, 2 and 3 on); the loop scales its loss so that the average is the
mean over all target tokens. The gradient's norm is summed in float64 and clipped here, at every stage alike.
"""

import contextlib
import functools
import logging
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from mooer.common import dist
from mooer.common.errors import TrainingError
from mooer.train.config import TrainingConfig
from mooer.train.loss_scale import LossScale
from mooer.train.optim import set_learning_rate
from mooer.train.precision import computing_in, store_frozen_llm
from mooer.train.zero import counted_gradients, fragment, gather, gradient_pieces, scatter, whole_shape, whole_weight

BUCKET_ELEMENTS = 200_000_000
MOMENTS = ("exp_avg", "exp_avg_sq")
# The other ranks wait that long while the main one decodes the development set or exports.
COLLECTIVE_TIMEOUT = timedelta(hours=2)
# ZeRO 3 puts another function in its place for the whole process.
_LINEAR = nn.functional.linear


@contextlib.contextmanager
def processes(device: torch.device) -> Iterator[None]:
    """Be in the process group that torchrun describes, or in one of this process alone, without a port.

    Also tells DeepSpeed which accelerator to use, so DeepSpeed must not be imported before. A group that exists already is
    used and left alone.
    """
    os.environ["DS_ACCELERATOR"] = device.type
    if device.type != "cpu":
        torch.get_device_module(device).set_device(dist.local_rank())
    if torch.distributed.is_initialized():
        yield
        return
    _join(device)
    try:
        yield
    finally:
        _leave()


def _join(device: torch.device) -> None:
    backend = {"cpu": "gloo", "cuda": "nccl", "musa": "mccl"}[device.type]
    if dist.world_size() > 1:
        torch.distributed.init_process_group(backend, timeout=COLLECTIVE_TIMEOUT)
        return
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}.items():
        os.environ.setdefault(name, value)
    torch.distributed.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)


def _leave() -> None:
    nn.functional.linear = _LINEAR
    if "deepspeed" in sys.modules and sys.modules["deepspeed"].comm.is_initialized():
        sys.modules["deepspeed"].comm.destroy_process_group()
    else:
        torch.distributed.destroy_process_group()


class Engine:
    """A model, its optimizer and DeepSpeed.

    Args:
        model: its forward returns a LossOutput. With `expert_parallel` over 1, `share_experts` was here.
        optimizer: from `mooer.train.optim.build_optimizer`, over the model's trainable parameters.
        device: where the model is moved to.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainingConfig, device: torch.device
    ) -> None:
        self.model = model
        self.device = device
        self._dtype = getattr(torch, config.dtype)
        self._stage, self._offload = config.zero_stage, config.zero_offload
        self._clip_norm = config.clip_norm
        self._shares_experts = config.expert_parallel > 1
        self._trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        deepspeed = _quiet_deepspeed()
        if self._stage == 3:
            _round_as_torch()
        else:
            _add_gradients_as_zero_3(model)
        self._scale = LossScale() if self._dtype == torch.float16 else None
        if self._dtype != torch.float32:
            store_frozen_llm(model, self._dtype)
            model.forward = functools.partial(_computing, model.forward, self._dtype, device.type)
        if self._shares_experts:
            from mooer.train.expert_layers import ExpertLayers

            model.expert_layers = ExpertLayers(model, config.expert_parallel)
        if self._stage:
            _trust(type(optimizer))
        sizes = sum(parameter.numel() for _, parameter in self._trained)
        self._deepspeed, *_ = deepspeed.initialize(
            model=model.to(device), optimizer=optimizer, config=_deepspeed_config(config, sizes), dist_init_required=False
        )
        self.optimizer: torch.optim.Optimizer = self._deepspeed.basic_optimizer
        if dist.world_size() == 1 and not self._stage:
            # There is nobody to average with: spares a copy of all gradients in every step.
            self._deepspeed.enable_backward_allreduce = False
        if self._scale is not None:
            # ZeRO then leaves out a step whose gradient is not finite.
            self._deepspeed.optimizer.check_grad_overflow = True

    @property
    def needs_all_ranks(self) -> bool:
        """Whether a forward pass is a matter of all ranks together: the weights are spread over them."""
        return (self._stage == 3 or self._shares_experts) and dist.world_size() > 1

    def forward(self, tensors: dict[str, Tensor]) -> Any:
        """The model's LossOutput in training mode, with gradient."""
        if not self.model.training:
            self.model.train()
        return self._deepspeed(**tensors)

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add the gradients of `loss` (a scalar).

        Args:
            last: whether this is the last micro-batch before `step`; gradients are averaged over ranks then, or, from
                ZeRO 2 on, in every call.
        """
        self._deepspeed.set_gradient_accumulation_boundary(last)
        self._deepspeed.backward(loss if self._scale is None else loss * self._scale.value, scale_wrt_gas=False)

    def step(self, learning_rate_share: float) -> tuple[float, float]:
        """Clip, update the weights and forget the gradients.

        Returns:
            The largest learning rate of a group, and the gradient's norm before clipping; infinite where a step in float16 was
            left out because the loss scale was too high.

        Raises:
            TrainingError: the gradient is not finite; the weights are left alone then.
        """
        rate = set_learning_rate(self.optimizer, learning_rate_share)
        norm = self._clip()
        if math.isfinite(norm) or self._stage:
            self._deepspeed.step()
        else:
            self.optimizer.zero_grad(set_to_none=True)
        return rate, norm

    def _clip(self) -> float:
        """Take the loss scale out of the gradient and shorten it to `clip_norm` if it is longer; its norm before."""
        pieces = gradient_pieces(self._deepspeed.optimizer, self._stage, self._offload)
        is_counted_apart = self._shares_experts and not self._stage
        counted = counted_gradients(self.optimizer) if is_counted_apart else pieces
        squares = [torch.linalg.vector_norm(piece, dtype=torch.float64) ** 2 for piece in counted]
        total = torch.stack(squares).sum() if squares else torch.zeros((), dtype=torch.float64, device=self.device)
        if self._stage or is_counted_apart:
            dist.sum_over_ranks(total)
        scale = 1.0 if self._scale is None else self._scale.value
        norm = float(total) ** 0.5 / scale
        if not math.isfinite(norm):
            if self._scale is None:
                raise TrainingError(f"the gradient is not finite (norm {norm}) although the loss is")
            self._scale.overflowed()
            return math.inf
        if self._scale is not None:
            self._scale.went_well()
        factor = (self._clip_norm / norm if self._clip_norm and norm > self._clip_norm else 1.0) / scale
        if factor != 1.0:
            for piece in pieces:
                piece.mul_(factor)
        return norm

    @contextlib.contextmanager
    def evaluation(self) -> Iterator[nn.Module]:
        """The model in eval mode, without gradients, computing in the run's number format.

        Ranks do not talk, unless `needs_all_ranks`.
        """
        self.model.eval()
        with torch.no_grad(), computing_in(self._dtype, self.device.type):
            yield self.model

    def weights(self, names: Iterable[str]) -> dict[str, Tensor]:
        """The named parameters and buffers, whole, on the CPU of the main rank; every rank must call it."""
        tensors = dict(self.model.named_parameters()) | dict(self.model.named_buffers())
        return {name: whole_weight(tensors[name]) for name in names}

    def optimizer_state(self) -> dict[str, Tensor]:
        """The optimizer's state by `KIND.PARAMETER`, whole, whatever the stage; every rank must call it.

        Before the first step there is none but the number of steps.
        """
        steps = max((float(values["step"]) for values in self.optimizer.state.values() if values), default=0.0)
        state = {"step": torch.tensor(steps)}
        if self._scale is not None:
            state["loss_scale"] = torch.tensor([self._scale.value, float(self._scale.good_steps)])
        if not steps:
            return state
        for name, parameter in self._trained:
            part = fragment(parameter, self._deepspeed.optimizer, self._stage)
            for kind in MOMENTS:
                state[f"{kind}.{name}"] = gather(parameter, part, None if part is None else self._moment(part.owner, kind))
        return state

    def _moment(self, owner: Tensor, kind: str) -> Tensor:
        """A moment of Adam; zeros for a parameter that never had a gradient."""
        values = self.optimizer.state[owner]
        return values[kind] if kind in values else torch.zeros_like(owner)

    def load_optimizer_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `optimizer_state` gave, in a run of any stage and any number of ranks.

        Raises:
            TrainingError: the state is of other parameters.
        """
        state = dict(state)
        if self._scale is not None and "loss_scale" in state:
            value, good_steps = state.pop("loss_scale").tolist()
            self._scale = LossScale(value, int(good_steps))
        if state.keys() == {"step"}:
            return
        expected = {f"{kind}.{name}": whole_shape(parameter) for name, parameter in self._trained for kind in MOMENTS}
        found = {name: value.shape for name, value in state.items()}
        if found != expected | {"step": torch.Size()}:
            stranger = min(name for name, _ in found.items() ^ (expected | {"step": torch.Size()}).items())
            raise TrainingError(f"the optimizer state in the checkpoint is of other parameters, see {stranger}")
        for name, parameter in self._trained:
            part = fragment(parameter, self._deepspeed.optimizer, self._stage)
            if part is None:
                continue
            values = self.optimizer.state[part.owner]
            values["step"] = state["step"].clone().to(part.owner.device)
            for kind in MOMENTS:
                values[kind] = self._moment(part.owner, kind)
                scatter(part, state[f"{kind}.{name}"].to(part.owner.device), values[kind])


def _computing(forward: Callable[..., Any], dtype: torch.dtype, device_type: str, *inputs: Any, **options: Any) -> Any:
    with computing_in(dtype, device_type):
        return forward(*inputs, **options)


def _deepspeed_config(config: TrainingConfig, num_parameters: int) -> dict[str, Any]:
    bucket = min(BUCKET_ELEMENTS, max(2, num_parameters + num_parameters % 2))
    return {
        # Batches vary in size; the loop scales its losses itself, so that DeepSpeed need not know.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "steps_per_print": sys.maxsize,
        "gradient_clipping": 0.0,
        "zero_optimization": _zero_config(config, bucket),
        # Offloaded states are updated by torch's fused Adam too: DeepSpeed's own would need a compiler.
        "zero_force_ds_cpu_optimizer": False,
    }


def _zero_config(config: TrainingConfig, bucket: int) -> dict[str, Any]:
    settings = {
        "stage": config.zero_stage,
        "overlap_comm": False,
        "reduce_bucket_size": bucket,
        "allgather_bucket_size": bucket,
    }
    if config.zero_offload:
        settings["offload_optimizer"] = {"device": "cpu", "pin_memory": False}
    if config.zero_stage == 3:
        # Tensors smaller than that are kept whole on every rank.
        settings["stage3_param_persistence_threshold"] = 10_000
    return settings


def _trust(optimizer_class: type[torch.optim.Optimizer]) -> None:
    """Let ZeRO work with an optimizer of ours, which is no class of torch's own."""
    from deepspeed.runtime.zero.utils import ZERO_SUPPORTED_OPTIMIZERS

    if optimizer_class not in ZERO_SUPPORTED_OPTIMIZERS:
        ZERO_SUPPORTED_OPTIMIZERS.append(optimizer_class)


def _round_as_torch() -> None:
    """Make ZeRO 3's linear function, which does not keep gathered weights for the backward pass, add its bias as torch's does:
    in one operation, which rounds once.
    """
    from deepspeed.runtime.zero.linear import LinearFunctionForZeroStage3

    LinearFunctionForZeroStage3.forward = staticmethod(lambda frames, weight, bias=None: _LINEAR(frames, weight, bias))


def _add_gradients_as_zero_3(model: nn.Module) -> None:
    """Make the gradients of what a module reads several times one before those of other readers are added, as under ZeRO 3.

    That stage puts a function of its own before every module. A norm that is not one operation, or a linear layer with a LoRA,
    reads its input twice, a residual connection reads it too, and a sum of three depends on their order. torch's own modules
    read their input once.
    """
    for module in model.modules():
        if not type(module).__module__.startswith("torch.nn."):
            module.register_forward_pre_hook(_own_view)


def _own_view(_module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(item.view_as(item) if isinstance(item, Tensor) and item.requires_grad else item for item in arguments)


def _quiet_deepspeed() -> Any:
    """The deepspeed module, with warnings only and on stderr, and without its shared-memory operator for CPUs.

    That operator serves inference alone, yet DeepSpeed compiles it at start-up; without it no compiler is needed. No other
    operator is asked for, so DeepSpeed need not try which of them would work.
    """
    import deepspeed
    from deepspeed.utils import logger

    logger.setLevel(logging.WARNING)
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stdout, sys.__stdout__):
            handler.setStream(sys.stderr)
    deepspeed.ops.__compatible_ops__ = {"deepspeed_shm_comm": False}
    return deepspeed
