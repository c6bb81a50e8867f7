"""A run killed with -9 at any moment and resumed is the same run: same order, same losses, same files."""

import json
import re
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest
import yaml

from mooer.common.config import load_yaml
from mooer.common.errors import ConfigError, PathError
from mooer.models.weights import read_state
from mooer.train.config import RunConfig
from mooer.train.run import run_training

pytestmark = pytest.mark.slow
TOLERANCE = 2e-5


# Norms and layers with a LoRA that read their input twice, and weights that are not trained.
SPEECH_LLM = {
    "family": "speech_llm",
    "adapter": {"downsample_rate": 2, "hidden_size": 32},
    "llm": {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "num_kv_heads": 1, "intermediate_size": 48},
    "lora": {"r": 4},
}


def _file(tone_runs, path, **training):
    """A training file of a small speech LLM."""
    config = yaml.safe_load(tone_runs.file(path, **training).read_text())
    config["model"] |= SPEECH_LLM
    path.write_text(yaml.safe_dump(config))
    return path


def _run(config, folder, *overrides, resume=False):
    """A run, or what was left of it, in this process."""
    run_training(load_yaml(config, RunConfig, overrides), folder, resume=resume)


@pytest.fixture(scope="module")
def whole(tone_runs, tmp_path_factory):
    """An uninterrupted run in one process with two micro-batches a step: 8 steps of 2 epochs."""
    folder = tmp_path_factory.mktemp("whole")
    _run(_file(tone_runs, folder / "train.yaml", accumulation=2), folder / "exp")
    return folder


@pytest.fixture(scope="module")
def whole_of_two(tone_runs, tmp_path_factory):
    """The same run in two ranks with ZeRO 2."""
    folder = tmp_path_factory.mktemp("whole_of_two")
    config = _file(tone_runs, folder / "train.yaml", zero_stage=2, optimizer={"learning_rate": 2e-3, "fused": False})
    tone_runs.train(config, folder / "exp", ranks=2)
    return folder


def _assert_same_losses(tone_runs, one, other):
    left, right = tone_runs.losses(one), tone_runs.losses(other)
    assert left and list(left) == list(right)
    for step, loss in left.items():
        assert right[step] == pytest.approx(loss, rel=TOLERANCE), f"step {step}"


def _assert_same_run(tone_runs, one, other, ranks):
    _assert_same_losses(tone_runs, one, other)
    for rank in range(ranks):
        assert tone_runs.utterance_ids(one, rank) == tone_runs.utterance_ids(other, rank)


def test_loss_does_not_depend_on_ranks_or_accumulation(tone_runs, whole, whole_of_two):
    _assert_same_losses(tone_runs, whole / "exp", whole_of_two / "exp")
    first, second = (tone_runs.utterance_ids(whole_of_two / "exp", rank) for rank in (0, 1))
    together = {step: [batch for batch in first[step] + second[step] if batch is not None] for step in first}
    assert tone_runs.utterance_ids(whole / "exp") == together


@pytest.mark.parametrize("at_step", [1, 5])
def test_killed_in_one_process(tone_runs, whole, tmp_path, caplog, at_step):
    tone_runs.kill(whole / "train.yaml", tmp_path / "exp", at_step=at_step)
    caplog.set_level("INFO")
    _run(whole / "train.yaml", tmp_path / "exp", resume=True)
    assert ("going on after step" in caplog.text) == (at_step > 3)
    _assert_same_run(tone_runs, whole / "exp", tmp_path / "exp", ranks=1)
    assert (tmp_path / "exp" / "final" / "model.safetensors").exists()


@pytest.mark.parametrize("zero_stage", [0, 3])
def test_one_of_two_ranks_killed(tone_runs, whole_of_two, tmp_path, zero_stage):
    """The other rank stops soon with a message; resumed, with any stage, the run ends with the same model to the bit."""
    config, stage = whole_of_two / "train.yaml", ("--set", f"training.zero_stage={zero_stage}")
    stderr = tone_runs.kill(config, tmp_path / "exp", *stage, ranks=2, at_step=5, only_rank=1)
    assert "SIGKILL" in stderr
    tone_runs.train(config, tmp_path / "exp", *stage, "--resume", ranks=2)
    _assert_same_run(tone_runs, whole_of_two / "exp", tmp_path / "exp", ranks=2)
    model = Path("final", "model.safetensors")
    assert (tmp_path / "exp" / model).read_bytes() == (whole_of_two / "exp" / model).read_bytes()


def test_two_ranks_resumed_as_one(tone_runs, whole_of_two, tmp_path, caplog):
    """Every utterance once an epoch still, and, with as many batches a step, the same losses."""
    config, exp = whole_of_two / "train.yaml", tmp_path / "exp"
    tone_runs.kill(config, exp, ranks=2, at_step=5)
    caplog.set_level("INFO")
    _run(config, exp, "training.zero_stage=0", "training.accumulation=2", resume=True)
    assert re.search(r"was on 2 ranks with ZeRO 2 and goes on with 1 rank with ZeRO 0: .* from number \d on", caplog.text)
    _assert_same_losses(tone_runs, whole_of_two / "exp", exp)
    seen = Counter(
        name for rank in (0, 1) for ids in tone_runs.utterance_ids(exp, rank).values() for batch in ids for name in batch or ()
    )
    assert seen == {f"train{number}": 2 for number in range(27)}


def test_two_jobs_do_not_write_into_one_folder(tone_runs, whole, tmp_path):
    """A second job is told which process is at work; the first goes on."""
    exp = tmp_path / "exp"
    with tone_runs.at_work(whole / "train.yaml", exp, at_step=1) as (process, _):
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(PathError, match=rf"process {process.pid} of \S+ is at work there; wait for its end or stop it$"):
            _run(whole / "train.yaml", exp, resume=True)
        process.send_signal(signal.SIGCONT)
        assert process.wait(timeout=120) == 0
    _assert_same_run(tone_runs, whole / "exp", exp, ranks=1)


def test_killed_while_saving(tone_runs, whole, tmp_path):
    """What a kill between two files of a checkpoint leaves: an unnamed folder and a cut line."""
    exp = tmp_path / "exp"
    shutil.copytree(whole / "exp", exp)
    shutil.rmtree(exp / "final")
    checkpoints = exp / "checkpoints"
    (checkpoints / "step_8").rename(checkpoints / ".step_8.tmp")
    (checkpoints / ".step_8.tmp" / "state.json").unlink()
    (exp / ".final.x.tmp" / "new").mkdir(parents=True)
    (exp / ".run.json.x.tmp").touch()
    with open(exp / "train.jsonl", "a") as stream:
        stream.write('{"event": "st')
    _run(whole / "train.yaml", exp, resume=True)
    assert not [*checkpoints.glob(".*"), *exp.glob(".*")]
    _assert_same_run(tone_runs, whole / "exp", exp, ranks=1)
    weights = Path("checkpoints", "step_8", "weights.safetensors")
    for name, tensor in read_state(whole / "exp" / weights).items():
        assert tensor.allclose(read_state(exp / weights)[name], atol=1e-6), name


def test_resuming_a_finished_run_changes_nothing(tone_runs, whole, tmp_path):
    exp = tmp_path / "exp"
    shutil.copytree(whole / "exp", exp)
    _run(whole / "train.yaml", exp, resume=True)
    _assert_same_run(tone_runs, whole / "exp", exp, ranks=1)
    assert len(json.loads((exp / "run.json").read_text())["resumed"]) == 1


def test_a_folder_with_a_run_is_not_written_to(tone_runs, whole, tmp_path):
    exp = tmp_path / "exp"
    shutil.copytree(whole / "exp", exp)
    with pytest.raises(PathError, match=r"already holds a run; add --resume to go on with it, or name another folder$"):
        _run(whole / "train.yaml", exp)
    with pytest.raises(ConfigError, match=r"other values of data\.seed, training\.clip_norm"):
        _run(whole / "train.yaml", exp, "training.clip_norm=1", "data.seed=3", resume=True)
    assert tone_runs.losses(exp) == tone_runs.losses(whole / "exp")


def test_changed_data_are_refused(whole, tmp_path):
    exp = tmp_path / "exp"
    shutil.copytree(whole / "exp", exp)
    record = json.loads((exp / "run.json").read_text())
    record["data_lists"] = dict.fromkeys(record["data_lists"], "0" * 64)
    (exp / "run.json").write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="data lists are no longer those"):
        _run(whole / "train.yaml", exp, resume=True)


def test_checkpoints_without_their_configuration_are_refused(whole, tmp_path):
    shutil.copytree(whole / "exp" / "checkpoints", tmp_path / "exp" / "checkpoints")
    for resume in (False, True):
        with pytest.raises(PathError, match=r"holds checkpoints but no config\.yaml"):
            _run(whole / "train.yaml", tmp_path / "exp", resume=resume)
