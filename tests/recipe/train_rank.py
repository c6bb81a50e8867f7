"""What a rank does where it trains as `bin/train.py` does, without the time that ranks of their own take to start."""

from pathlib import Path

import torch

from mooer.common.config import load_yaml
from mooer.train.config import RunConfig
from mooer.train.engine import processes
from mooer.train.run import run_training


def main(config, output_dir, *overrides):
    """Train by a file to a folder."""
    torch.set_num_threads(1)
    with processes(torch.device("cpu")):
        run_training(load_yaml(config, RunConfig, overrides), Path(output_dir))
