"""DeepSpeed behind a narrow front: forward, backward, step, and the optimizer's state.

In one process ZeRO 0 adds nothing to a plain torch step: no gradient is copied, clipping is torch's. In several, DeepSpeed
averages gradients over ranks (and splits states and gradients from stage 1 and 2 on); the loop scales its loss so that the
average is the mean over all target tokens.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from mooer.common import dist
from mooer.common.errors import TrainingError
from mooer.train.config import TrainingConfig
from mooer.train.optim import set_learning_rate

BUCKET_ELEMENTS = 200_000_000
# The other ranks wait that long while the main one decodes the development set or exports.
COLLECTIVE_TIMEOUT = timedelta(hours=2)


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
    if "deepspeed" in sys.modules and sys.modules["deepspeed"].comm.is_initialized():
        sys.modules["deepspeed"].comm.destroy_process_group()
    else:
        torch.distributed.destroy_process_group()


class Engine:
    """A model, its optimizer and DeepSpeed.

    Args:
        model: its forward returns a LossOutput.
        optimizer: from `mooer.train.optim.build_optimizer`, over the model's trainable parameters.
        device: where the model is moved to.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainingConfig, device: torch.device
    ) -> None:
        self.model = model
        self.device = device
        self._dtype = getattr(torch, config.dtype)
        self._sharded = config.zero_stage > 0
        self._clip_norm = config.clip_norm
        self._trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        deepspeed = _quiet_deepspeed()
        if self._dtype != torch.float32:
            store_frozen_llm(model, self._dtype)
        sizes = sum(parameter.numel() for parameter in self._trainable)
        self._deepspeed, *_ = deepspeed.initialize(
            model=model.to(device), optimizer=optimizer, config=_deepspeed_config(config, sizes), dist_init_required=False
        )
        self.optimizer: torch.optim.Optimizer = self._deepspeed.basic_optimizer
        if dist.world_size() == 1 and not self._sharded:
            # There is nobody to average with: spares a copy of all gradients in every step.
            self._deepspeed.enable_backward_allreduce = False

    def forward(self, tensors: dict[str, Tensor]) -> Any:
        """The model's LossOutput in training mode, with gradient."""
        if not self.model.training:
            self.model.train()
        return self._deepspeed(**tensors)

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add the gradients of `loss` (a scalar).

        Args:
            last: whether this is the last micro-batch before `step`; gradients are averaged over ranks then, or, with
                ZeRO 2, in every call.
        """
        self._deepspeed.set_gradient_accumulation_boundary(last)
        self._deepspeed.backward(loss, scale_wrt_gas=False)

    def step(self, learning_rate_share: float) -> tuple[float, float]:
        """Clip, update the weights and forget the gradients.

        Returns:
            The largest learning rate of a group, and the gradient's norm before clipping.

        Raises:
            TrainingError: the gradient is not finite; the weights were left alone where ZeRO 0 or DeepSpeed saw it in time.
        """
        rate = set_learning_rate(self.optimizer, learning_rate_share)
        norm = None if self._sharded else self._clip()
        self._deepspeed.step()
        norm = float(self._deepspeed.get_global_grad_norm() if norm is None else norm)
        if not self._deepspeed.was_step_applied() or norm != norm or norm == float("inf"):
            raise TrainingError(f"the gradient is not finite (norm {norm}) although the loss is")
        return rate, norm

    def _clip(self) -> float:
        norm = float(nn.utils.clip_grad_norm_(self._trainable, self._clip_norm or float("inf")))
        if norm != norm or norm == float("inf"):
            raise TrainingError(f"the gradient is not finite (norm {norm}) although the loss is")
        return norm

    @contextlib.contextmanager
    def evaluation(self) -> Iterator[nn.Module]:
        """The model in eval mode, without gradients, computing in the run's number format; ranks do not talk."""
        self.model.eval()
        with torch.no_grad(), torch.autocast(self.device.type, self._dtype, enabled=self._dtype != torch.float32):
            yield self.model

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """The optimizer's state on this rank, by `group.parameter.name`; equal on all ranks with ZeRO 0."""
        return {
            f"{group}.{index}.{name}": value
            for group, index, parameter in self._optimized()
            for name, value in self.optimizer.state[parameter].items()
        }

    def load_optimizer_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over the state that `optimizer_tensors` gave on the same rank of a run of the same shape.

        Raises:
            TrainingError: the state is of other parameters.
        """
        left = dict(tensors)
        for group, index, parameter in self._optimized():
            prefix = f"{group}.{index}."
            own = {key.removeprefix(prefix): left.pop(key) for key in list(left) if key.startswith(prefix)}
            if not own or any(value.ndim and value.shape != parameter.shape for value in own.values()):
                raise TrainingError(f"the optimizer state of parameter {index} of group {group} is absent or of another shape")
            self.optimizer.state[parameter] = {name: value.to(parameter.device) for name, value in own.items()}
        if left:
            raise TrainingError(f"the checkpoint has optimizer states of unknown parameters: {', '.join(sorted(left)[:5])}")

    def _optimized(self):
        for group, settings in enumerate(self.optimizer.param_groups):
            for index, parameter in enumerate(settings["params"]):
                yield group, index, parameter


def store_frozen_llm(model: nn.Module, dtype: torch.dtype) -> None:
    """Keep the frozen linear layers of `model.llm` in `dtype`, in place.

    Autocast would cast them in every forward pass otherwise. Embeddings, tied output layers and norms stay in float32.
    """
    llm = getattr(model, "llm", None)
    if llm is None:
        return
    embeddings = {id(module.weight) for module in llm.modules() if isinstance(module, nn.Embedding)}
    for module in llm.modules():
        if isinstance(module, nn.Linear):
            for parameter in module.parameters(recurse=False):
                if not parameter.requires_grad and id(parameter) not in embeddings:
                    parameter.data = parameter.data.to(dtype)


def _deepspeed_config(config: TrainingConfig, num_parameters: int) -> dict[str, Any]:
    bucket = min(BUCKET_ELEMENTS, max(2, num_parameters + num_parameters % 2))
    return {
        # Batches vary in size; the loop scales its losses itself, so that DeepSpeed need not know.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "steps_per_print": sys.maxsize,
        "gradient_clipping": config.clip_norm if config.zero_stage else 0.0,
        "zero_optimization": {
            "stage": config.zero_stage,
            "overlap_comm": False,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
        },
        # No module's gradients travel in bfloat16: sums over ranks are exact to float32.
        "torch_autocast": {"enabled": config.dtype != "float32", "dtype": config.dtype, "lower_precision_safe_modules": []},
    }


def _quiet_deepspeed() -> Any:
    """The deepspeed module, with warnings only and on stderr, and without its shared-memory operator for CPUs.

    That operator serves inference alone, yet DeepSpeed compiles it at start-up; without it no compiler is needed.
    """
    import deepspeed
    from deepspeed.utils import logger

    logger.setLevel(logging.WARNING)
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stdout, sys.__stdout__):
            handler.setStream(sys.stderr)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed
