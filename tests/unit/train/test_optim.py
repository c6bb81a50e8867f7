import itertools
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mooer.common.errors import ConfigError
from mooer.train.config import OptimizerConfig, ScheduleConfig
from mooer.train.optim import build_optimizer, learning_rate_share, parameter_groups, set_learning_rate

NAMES = ("warmup_cosine", "warmup_linear", "warmup_decay_log", "noam", "constant")


@pytest.fixture
def model():
    parts = {"encoder": nn.Linear(3, 4), "adapter": nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), "llm": nn.Linear(4, 2)}
    model = nn.ModuleDict(parts)
    model["llm"].requires_grad_(False)
    return model


def test_biases_of_experts_do_not_decay():
    experts = nn.ParameterDict({"weight": torch.zeros(4, 3, 2), "bias": torch.zeros(4, 3)})
    groups = {group["weight_decay"]: group["params"] for group in parameter_groups(experts, OptimizerConfig(weight_decay=0.1))}
    assert {decay: [tuple(p.shape) for p in parameters] for decay, parameters in groups.items()} == {
        0.1: [(4, 3, 2)],
        0.0: [(4, 3)],
    }


def test_groups_by_part_and_decay(model):
    optimizer = build_optimizer(model, OptimizerConfig(weight_decay=0.1, part_learning_rates={"adapter": 5e-4}))
    groups = {(group["peak"], group["weight_decay"]): [p.shape for p in group["params"]] for group in optimizer.param_groups}
    assert groups == {
        (1e-3, 0.1): [(4, 3)],
        (1e-3, 0.0): [(4,)],
        (5e-4, 0.1): [(4, 4)],
        (5e-4, 0.0): [(4,), (4,), (4,)],
    }
    assert set_learning_rate(optimizer, 0.5) == 5e-4
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [2.5e-4, 5e-4]


def test_the_kind_of_adam(model):
    assert type(build_optimizer(model, OptimizerConfig(name="adam"))).__base__ is torch.optim.Adam
    assert type(build_optimizer(model, OptimizerConfig(name="adamw"))).__base__ is torch.optim.AdamW


WITHOUT_COMPILER = """
import sys, torch
from mooer.train.config import OptimizerConfig
from mooer.train.optim import build_optimizer
for fused in (True, False):
    layer = torch.nn.Linear(2, 2)
    optimizer = build_optimizer(layer, OptimizerConfig(fused=fused))
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.state_dict()
sys.exit("torch._dynamo" in sys.modules)
"""


def test_steps_need_no_compiler():
    """Its import would take as long as torch's own, at every start."""
    assert subprocess.run([sys.executable, "-c", WITHOUT_COMPILER]).returncode == 0


def test_unknown_parts_and_nothing_to_train(model):
    with pytest.raises(ConfigError, match="names decoder; the model's parts are encoder, adapter, llm"):
        build_optimizer(model, OptimizerConfig(part_learning_rates={"decoder": 1.0}))
    with pytest.raises(ConfigError, match="no trainable"):
        build_optimizer(model.requires_grad_(False), OptimizerConfig())


def test_log_warm_up_is_deepspeeds():
    from deepspeed.runtime.lr_schedules import WarmupDecayLR

    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = WarmupDecayLR(optimizer, total_num_steps=50, warmup_max_lr=1.0, warmup_num_steps=10)
    config = ScheduleConfig(name="warmup_decay_log", warmup_steps=10)
    for step in range(60):
        assert learning_rate_share(config, step, 50) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        schedule.step()


@pytest.mark.parametrize("name", ["warmup_cosine", "warmup_linear"])
def test_warm_up_peak_and_floor(name):
    config = ScheduleConfig(name=name, warmup_steps=4, floor=0.1)
    shares = [learning_rate_share(config, step, 24) for step in range(30)]
    assert shares[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert shares[14] == pytest.approx(0.55)
    assert shares[24:] == [pytest.approx(0.1)] * 6
    assert all(left >= right for left, right in itertools.pairwise(shares[4:]))


def test_noam_peaks_at_the_end_of_the_warm_up():
    config = ScheduleConfig(name="noam", warmup_steps=100)
    shares = [learning_rate_share(config, step, 1000) for step in range(1000)]
    assert shares.index(max(shares)) == 99
    assert shares[99] == 1.0
    assert shares[399] == pytest.approx(0.5)


@given(
    name=st.sampled_from(NAMES),
    warmup=st.integers(1, 50),
    total=st.integers(1, 200),
    step=st.integers(0, 400),
    floor=st.floats(0, 1),
)
def test_a_share_is_between_nothing_and_the_peak(name, warmup, total, step, floor):
    config = ScheduleConfig(name=name, warmup_steps=warmup, floor=floor)
    assert 0.0 <= learning_rate_share(config, step, total) <= 1.0 + 1e-12
