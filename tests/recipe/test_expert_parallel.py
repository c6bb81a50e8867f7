"""Whole runs of a small Conformer whose experts two ranks share: the losses, checkpoints and exports of one process."""

import json
import shutil

import pytest
import torch

from mooer.common.config import load_yaml
from mooer.common.errors import ConfigError
from mooer.models.weights import read_state
from mooer.train.config import RunConfig
from mooer.train.run import run_training

from ..ranks import run_ranks
from . import expert_parallel_rank as ranks

pytestmark = pytest.mark.slow
TOLERANCE = 2e-5
CONFORMER = (
    "model.family=conformer",
    "model.decoder={attention_heads: 2, linear_units: 32, num_blocks: 1}",
    "model.moe={num_experts: 4, capacity_factor: 1.5}",
    "model.embedding={output_size: 16, attention_heads: 2, linear_units: 32, num_blocks: 1}",
    "data.frontend={lfr_m: 1, lfr_n: 1, subsampling: 4, window: povey}",
    "data.max_batch_frames=600",
    "data.num_workers=0",
    "training.max_steps=6",
    "training.schedule.total_steps=6",
    "training.checkpoint_interval=2",
    "training.clip_norm=1.0",
    "training.optimizer.fused=false",
)
SHARED, ALONE = ("training.expert_parallel=2",), ("training.accumulation=2",)
MODEL = "final/model.safetensors"


@pytest.fixture(scope="module")
def config(tone_runs, tmp_path_factory):
    return tone_runs.file(tmp_path_factory.mktemp("config") / "train.yaml")


@pytest.fixture(scope="module")
def alone(config, tmp_path_factory):
    """A run in one process: 6 steps of two epochs, with dropout, clipping, and experts with too many frames."""
    exp = tmp_path_factory.mktemp("alone") / "exp"
    run_training(load_yaml(config, RunConfig, (*CONFORMER, *ALONE)), exp)
    return exp


@pytest.fixture(scope="module")
def shared(config, tmp_path_factory):
    """Folder of the same run in two ranks with half of the experts each, in several ways."""
    folder = tmp_path_factory.mktemp("shared")
    run_ranks(ranks.__file__, [2], config, folder, *CONFORMER, *SHARED)
    return folder


def steps_of(exp):
    """Loss and gradient norm of each step."""
    events = [json.loads(line) for line in (exp / "train.jsonl").read_text().splitlines()]
    return [(event["loss"], event["grad_norm"]) for event in events if event["event"] == "step"]


def assert_same_steps(one, other):
    """Adam forgives a gradient that is some times too large, its norm tells."""
    left, right = steps_of(one), steps_of(other)
    assert len(left) == 6
    torch.testing.assert_close(torch.tensor(right), torch.tensor(left), rtol=TOLERANCE, atol=0.0)


@pytest.mark.parametrize("way", ranks.STAGES)
def test_the_steps_of_one_process(alone, shared, way):
    assert_same_steps(alone, shared / way)


def test_a_rank_without_a_batch_takes_part(tone_runs, shared):
    batches = tone_runs.utterance_ids(shared / "zero_0", rank=1)
    assert [step for step, own in batches.items() if own == [None]] == [3, 6]


@pytest.mark.parametrize("way", list(ranks.STAGES)[1:])
def test_the_same_model_at_every_stage(shared, way):
    assert (shared / way / MODEL).read_bytes() == (shared / "zero_0" / MODEL).read_bytes()


@pytest.mark.parametrize("file", [MODEL, "checkpoints/step_6/optimizer.safetensors"])
def test_checkpoints_and_exports_are_whole(alone, shared, file):
    one, other = read_state(alone / file), read_state(shared / "zero_0" / file)
    assert one.keys() == other.keys()
    assert sum(".experts." in name and len(tensor) == 4 for name, tensor in other.items()) >= 8
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, atol=2e-4, rtol=1e-3, msg=lambda text, n=name: f"{n}: {text}")


def test_resumed_by_one_process_and_by_ranks_again(tone_runs, config, alone, tmp_path):
    """A rank is killed with -9 in step 3 or later; one process goes on after step 2, and after step 4 two ranks do."""
    exp, shared = tmp_path / "exp", [part for override in (*CONFORMER, *SHARED) for part in ("--set", override)]
    stderr = tone_runs.kill(config, exp, *shared, ranks=2, at_step=3, only_rank=1)
    assert "SIGKILL" in stderr
    run_training(load_yaml(config, RunConfig, (*CONFORMER, *ALONE, "training.max_steps=4")), exp, resume=True)
    shutil.rmtree(exp / "final")
    again = tone_runs.train(config, exp, *shared, "--set", "training.zero_stage=2", "--resume", ranks=2)
    assert "was on 1 rank with ZeRO 0 and goes on with 2 ranks with ZeRO 2, experts over 2" in again.stderr
    assert_same_steps(alone, exp)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("training.expert_parallel=2",), r"expert_parallel is 2, which must divide the number of ranks; there are 1"),
        (("training.expert_parallel=3",), r"expert_parallel \(3\) must divide model.moe.num_experts \(4\)"),
        (("training.expert_parallel=0",), "expert_parallel must be at least 1, found 0"),
        (("training.expert_parallel=2", "training.zero_stage=3"), "works with zero_stage 0, 1 and 2"),
        (("training.expert_parallel=2", "training.validation_error_rate=cer"), "whole model on one rank"),
        (("training.expert_parallel=2", "model.freeze=[encoder]"), "frozen with the encoder"),
        (
            ("training.expert_parallel=2", "model.moe=null", "model.embedding=null"),
            "no conformer with experts",
        ),
    ],
)
def test_what_cannot_be_is_refused(config, tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        run_training(load_yaml(config, RunConfig, (*CONFORMER, *overrides)), tmp_path / "exp")
    assert not (tmp_path / "exp").exists()
