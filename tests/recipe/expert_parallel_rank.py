"""What a rank of test_expert_parallel.py does where it is not `bin/train.py`."""

from pathlib import Path

import torch

from mooer.common.config import load_yaml
from mooer.train.config import RunConfig
from mooer.train.engine import processes
from mooer.train.run import run_training

STAGES = {
    "zero_0": (),
    "zero_1": ("training.zero_stage=1",),
    "zero_2_offload": ("training.zero_stage=2", "training.zero_offload=true"),
    "forgetting": ("training.gradient_checkpointing=true",),
}


def main(config, folder, *overrides):
    """Train from one configuration in each of the ways above, to folders of their names."""
    torch.set_num_threads(1)
    with processes(torch.device("cpu")):
        for name, own in STAGES.items():
            run_training(load_yaml(config, RunConfig, (*overrides, *own)), Path(folder) / name)
