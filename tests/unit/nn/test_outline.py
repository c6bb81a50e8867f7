import subprocess
import sys

import torch
from torch import nn

from mooer.nn.outline import outline

BUILT = """
import sys, torch
from mooer.nn.outline import outline
with outline():
    torch.nn.Sequential(torch.nn.Embedding(3, 2), torch.nn.LSTM(2, 2), torch.nn.Conv1d(2, 2, 1))
sys.exit("torch._dynamo" in sys.modules)
"""


def test_shapes_without_values():
    with outline():
        layer = nn.Embedding(3, 2)
    assert layer.weight.is_meta and layer.weight.shape == (3, 2)
    layer.load_state_dict({"weight": torch.ones(3, 2)}, assign=True)
    assert layer(torch.tensor([2])).tolist() == [[1.0, 1.0]]


def test_values_are_drawn_again_afterwards():
    with outline():
        pass
    torch.manual_seed(0)
    assert nn.Embedding(50, 20).weight.std() > 0.5


def test_no_compiler_is_imported():
    """It would take longer than all else that a command does before it begins."""
    assert subprocess.run([sys.executable, "-c", BUILT]).returncode == 0
