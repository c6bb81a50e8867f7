"""What egs/mt5k/run.sh stands on: its configurations, its mixtures, and what it knows of corpora and test sets."""

import subprocess

import pytest
from results_table import GROUPS

from mooer.common.config import load_yaml
from mooer.data.mixture import MixtureConfig
from mooer.train.config import RunConfig

from ...miniature_corpora import write_text
from .conftest import ROOT

RECIPE = ROOT / "egs" / "mt5k"
CONFS = sorted(path.stem for path in (RECIPE / "conf").glob("*.yaml") if not path.stem.startswith("mixture"))


def conf(name):
    return load_yaml(RECIPE / "conf" / f"{name}.yaml", RunConfig)


@pytest.mark.parametrize("name", CONFS)
def test_every_configuration_fits_the_recipe(name):
    data = conf(name).data
    assert data.mixture == f"conf/{'mixture_mini' if name == 'mini' else 'mixture'}.yaml"
    assert data.dev_list == "dump/dev/data.list"
    assert {task.key for task in data.tasks} == {"asr", "mtl.en" if name.endswith("_mtl") else "ast.en"}


@pytest.mark.parametrize("name", [name for name in CONFS if "7b" in name])
def test_configurations_are_the_released_system(name):
    config = conf(name)
    assert (config.model.lora.r, config.model.lora.alpha, config.model.lora.dropout) == (64, 16, 0.05)
    assert config.model.llm.path == "pretrained_models/Qwen2-7B-Instruct"
    assert (config.training.zero_stage, config.training.dtype, config.training.accumulation) == (2, "bfloat16", 2)
    assert (config.training.optimizer.learning_rate, config.training.schedule.warmup_steps) == (1e-4, 1000)


def test_encoders_differ_by_configuration():
    kinds = {name: (conf(name).model.encoder_type, conf(name).model.freeze, conf(name).data.frontend.kind) for name in CONFS}
    assert kinds.pop("mini") == ("sanm", [], "kaldi_fbank")
    assert kinds == {
        "mooer_7b": ("sanm", ["encoder"], "kaldi_fbank"),
        "mooer_7b_mtl": ("sanm", ["encoder"], "kaldi_fbank"),
        "w2v_bert_7b": ("w2v_bert", [], "seamless"),
        "whisper_7b": ("whisper", [], "whisper"),
    }


def mixture(name):
    return load_yaml(RECIPE / "conf" / f"{name}.yaml", MixtureConfig).sources


def test_the_mixture_has_the_published_hours():
    hours = {source.name: source.hours for source in mixture("mixture")}
    assert hours == {"aishell2": 137, "librispeech": 131, "multi_cn": 100, "wenetspeech": 1361, "own": None}
    assert {source.weight for source in mixture("mixture")} == {1}


def shell(*lines):
    """Lines that a shell with the recipe's functions prints."""
    sources = [f'. "{RECIPE}/local/{name}.sh"' for name in ("steps", "corpora")]
    done = subprocess.run(["bash", "-c", "\n".join(["set -euo pipefail", *sources, *lines])], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", ["mixture", "mixture_mini"])
def test_the_recipe_prepares_the_corpora_of_a_mixture(name):
    found = shell(f'corpora_of "{RECIPE}/conf/{name}.yaml"')
    assert [f"dump/{corpus}/data.list" for corpus in found] == [source.list for source in mixture(name)]
    assert shell(*(f"sets_to_train_on {corpus}" for corpus in found))


def test_corpora_are_found_in_any_style(tmp_path):
    write_text(
        tmp_path / "mixture.yaml",
        "sources:",
        "  - name: a",
        "    list: dump/aishell/data.list",
        "    #  list: dump/thchs30/data.list",
        "  - {list: dump/own/data.list, name: b}",
        "  - {name: c, list: elsewhere/data.list}",
        "dev_list: dump/dev/data.list",
    )
    assert shell(f'corpora_of "{tmp_path}/mixture.yaml"') == ["aishell", "own"]


def test_test_sets_are_those_of_the_table():
    metrics = {name: group.metric for group in GROUPS for name in group.test_sets}
    settings = (RECIPE / "run.sh").read_text(encoding="utf-8").replace("\\\n", "")
    assert f'\ntest_sets="{" ".join(metrics)}"\n' in settings
    assert shell(*(f"metric_of {name}" for name in metrics)) == list(metrics.values())
    assert len(set(shell(*(f"set_to_test_on {name}" for name in metrics)))) == len(metrics)
