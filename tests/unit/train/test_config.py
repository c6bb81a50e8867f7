import dataclasses
import itertools

import pytest
import yaml

from mooer.common.config import dump_yaml, from_dict, load_yaml
from mooer.common.errors import ConfigError
from mooer.train.config import OptimizerConfig, RunConfig, ScheduleConfig, TrainingConfig, differences

RUN = {
    "model": {"family": "ctc", "tokenizer_path": "tokenizer"},
    "data": {"train_list": "train.list"},
    "training": {"max_steps": 10},
}


def _run(**training):
    return from_dict(RunConfig, RUN | {"training": RUN["training"] | training})


def test_a_file_is_read_back_as_it_was_written(tmp_path):
    config = _run(optimizer={"learning_rate": "1e-4", "part_learning_rates": {"adapter": 1e-3}})
    (tmp_path / "config.yaml").write_text(dump_yaml(config))
    assert load_yaml(tmp_path / "config.yaml", RunConfig) == config
    assert config.training.optimizer.learning_rate == 1e-4


def test_an_override_reaches_a_nested_value(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(RUN))
    config = load_yaml(tmp_path / "config.yaml", RunConfig, ("training.schedule.name=noam", "training.max_steps=7"))
    assert (config.training.schedule.name, config.training.max_steps) == ("noam", 7)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"max_step": 3}, "did you mean 'max_steps'"),
        ({"max_steps": None}, "max_steps and max_epochs"),
        ({"max_steps": 0}, "max_steps"),
        ({"zero_stage": 4}, "zero_stage"),
        ({"zero_offload": True}, "zero_stage of 1, 2 or 3"),
        ({"zero_stage": 3, "validation_error_rate": "wer"}, "whole weights on one rank"),
        ({"dtype": "float8"}, "dtype"),
        ({"accumulation": 0}, "accumulation"),
        ({"keep_last": 0}, "keep_last"),
        ({"clip_norm": -1}, "clip_norm"),
        ({"optimizer": {"learning_rate": 0}}, "learning_rate"),
        ({"optimizer": {"part_learning_rates": {"adapter": -1}}}, "part_learning_rates.adapter"),
        ({"optimizer": {"betas": [0.9, 1.0]}}, "betas"),
        ({"schedule": {"name": "cosine"}}, "warmup_cosine"),
        ({"schedule": {"warmup_steps": 5, "total_steps": 5}}, "total_steps"),
        ({"schedule": {"name": "noam", "warmup_steps": 0}}, "noam"),
        ({"schedule": {"floor": 2}}, "floor"),
        ({"validation_interval": 4}, "multiple of"),
        ({"validation_interval": 4, "checkpoint_interval": 3}, "multiple of"),
        ({"average_best": 2}, "keep_best"),
        ({"validation_error_rate": "wer"}, "dev_list"),
        ({"average_best": 1}, "dev_list"),
    ],
)
def test_wrong_values_are_refused(training, message):
    with pytest.raises(ConfigError, match=message):
        _run(**training)


def test_a_run_needs_training_data():
    with pytest.raises(ConfigError, match="train_list"):
        from_dict(RunConfig, RUN | {"data": {}})


@pytest.mark.parametrize("cls", [OptimizerConfig, ScheduleConfig, TrainingConfig])
def test_every_field_is_documented(cls):
    import ast
    import inspect

    (body,) = [node.body for node in ast.parse(inspect.getsource(cls)).body]
    documented = {
        node.target.id
        for node, after in itertools.pairwise(body)
        if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    }
    assert documented == {field.name for field in dataclasses.fields(cls)}


def test_only_what_changes_the_course_of_a_run_counts_as_a_difference():
    run = _run()
    assert differences(run, _run(max_steps=20, log_interval=1, keep_last=3, zero_stage=2, accumulation=4)) == []
    assert differences(run, _run(optimizer={"eps": 1e-6}, clip_norm=2)) == [
        "training.clip_norm",
        "training.optimizer.eps",
    ]


PARAFORMER = {
    "model": {"family": "paraformer", "token_dir": "tokens"},
    "data": {"train_list": "train.list", "cmvn_path": "am.mvn"},
    "training": {"max_steps": 10},
}


def test_a_paraformer_is_read_back_as_it_was_written(tmp_path):
    config = from_dict(RunConfig, PARAFORMER)
    (tmp_path / "config.yaml").write_text(dump_yaml(config))
    assert load_yaml(tmp_path / "config.yaml", RunConfig) == config
    assert config.model.losses.sampling_ratio == 0.75


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("model", {"llm": {}}, "valid keys: family, token_dir"),
        ("model", {"losses": {"ctc": 0.3}}, "valid keys: label_smoothing"),
        ("data", {"cmvn_path": None}, "needs data.cmvn_path"),
        ("data", {"frontend": {"lfr_n": 4}}, "remove data.frontend"),
        ("data", {"tasks": [{"task": "ast"}]}, "transcribes"),
        ("training", {"encoder_cache": "cache"}, "encoder_cache is for a speech_llm"),
    ],
)
def test_what_a_paraformer_does_not_take(section, values, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(RunConfig, PARAFORMER | {section: PARAFORMER[section] | values})
