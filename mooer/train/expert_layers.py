"""DeepSpeed's process groups for experts. Importing this imports DeepSpeed."""

import functools

from deepspeed.moe.layer import MoE
from deepspeed.utils import groups
from torch import nn

from mooer.models.shared_experts import connect_experts, group_name


class ExpertLayers(MoE):
    """Tells DeepSpeed that the model it is put in has experts, and tells these who their peers are.

    Where a module is one of DeepSpeed's MoE layers, it makes the process groups, averages the gradients of experts over their
    copies alone and splits their optimizer state over these. What else that layer does is not ours: it pads what each expert
    gets to the length of the largest, keeps every expert in a module of its own, and its gate reads the frames alone. So this
    one has no weights and is never called.

    Args:
        model: in which this rank has its share of the experts, see `mooer.models.shared_experts`.
    """

    def __init__(self, model: nn.Module, expert_parallel: int) -> None:
        nn.Module.__init__(self)
        self.num_experts = self.ep_size = expert_parallel  # DeepSpeed asks for the former in its own checkpoints only
        self.expert_group_name = group_name(expert_parallel)
        self._connect = functools.partial(connect_experts, model)

    def set_deepspeed_parallelism(self, use_data_before_expert_parallel_: bool = False) -> None:
        """What DeepSpeed calls when it is initialised, on all ranks."""
        groups._create_expert_and_data_parallel(self.ep_size, use_data_before_expert_parallel_=use_data_before_expert_parallel_)
        self._connect(groups._get_expert_parallel_group(self.expert_group_name))
