"""Whole training runs of small Conformers: an embedding network, a dense one, and a mixture of experts from both."""

import json
import re

import pytest
import torch
import yaml
from click.testing import CliRunner

from mooer.common.config import load_yaml
from mooer.common.errors import ConfigError
from mooer.common.lengths import conv2d_frames, fbank_frames
from mooer.models.model_dir import load_model_dir
from mooer.models.weights import read_state
from mooer.text.characters import DICTIONARY_FILE, build_dictionary
from mooer.train.config import RunConfig
from mooer.train.plan import plan_run
from mooer.train.run import run_training
from tools.expert_use import main as expert_use

from ..ranks import run_ranks
from . import train_rank

pytestmark = pytest.mark.slow

ENCODER = {"output_size": 32, "attention_heads": 2, "linear_units": 64, "num_blocks": 2, "kernel_size": 5}
EMBEDDING = ENCODER | {"output_size": 16, "num_blocks": 1}
DECODER = {"attention_heads": 2, "linear_units": 64, "num_blocks": 1}
DENSE = {"encoder": ENCODER, "decoder": DECODER}


@pytest.fixture(scope="module")
def characters(tone_corpus):
    """Folder with the dictionary of the corpus."""
    lines = map(json.loads, (tone_corpus / "train.list").read_text().splitlines())
    folder = tone_corpus / "characters"
    folder.mkdir()
    build_dictionary(line["labels"]["text"] for line in lines).save(folder)
    return folder


@pytest.fixture
def configured(tone_runs, characters, tmp_path):
    """A training file for the tones: `configured(model, name, max_steps=3)`; returns its path."""

    def write(model, name="train.yaml", **training):
        path = tone_runs.file(tmp_path / name, **{"max_epochs": None} | training)
        config = yaml.safe_load(path.read_text())
        config["model"] = {"family": "conformer", "tokenizer_path": str(characters), **model}
        config["data"] |= {"frontend": {"lfr_m": 1, "lfr_n": 1, "subsampling": 4, "window": "povey"}, "num_workers": 0}
        path.write_text(yaml.safe_dump(config))
        return path

    return write


def run(path, folder, *overrides, **options):
    run_training(load_yaml(path, RunConfig, overrides), folder, **options)


def with_experts(folder=None):
    """The section `model` of a mixture of experts, from the models trained in a folder."""
    paths = (
        {} if folder is None else {"base_path": str(folder / "dense/final"), "embedding_path": str(folder / "embedding/final")}
    )
    return DENSE | {"embedding": EMBEDDING, "moe": {"num_experts": 4}} | paths


def check_use_of_experts(folder, corpus):
    """tools/expert_use.py counts every frame of every recording once in each block."""
    lines = [json.loads(line) for line in (corpus / "dev.list").read_text().splitlines()]
    (folder / "wav.scp").write_text("".join(f"{line['id']} {line['audio']}\n" for line in lines))
    arguments = ["--model_dir", folder, "--wav_scp", folder / "wav.scp", "--output_dir", folder]
    done = CliRunner().invoke(expert_use, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    values = json.loads((folder / "expert_use.json").read_text())
    frames = sum(conv2d_frames(fbank_frames(line["num_samples"])) for line in lines)
    assert [sum(row) for row in values["frames"]] == [frames] * 2 and [len(row) for row in values["frames"]] == [4, 4]
    idle = sum(count == 0 for row in values["frames"] for count in row)
    assert len(values["idle"]) == idle and values["active_parameters"] < values["parameters"]
    assert (folder / "expert_use.png").read_bytes().startswith(b"\x89PNG")


def test_experts_start_from_a_dense_model_and_an_embedding_network(configured, characters, tone_corpus, tmp_path):
    run(configured({"encoder": EMBEDDING}, max_steps=2), tmp_path / "embedding")
    run(configured(DENSE, max_steps=2), tmp_path / "dense")
    run(configured(with_experts(tmp_path), max_steps=1, schedule={"warmup_steps": 10**6}), tmp_path / "moe")
    dense, embedding, moe = (
        read_state(tmp_path / name / "final" / "model.safetensors", "model") for name in ("dense", "embedding", "moe")
    )
    own = moe["encoder.blocks.1.feed_forward.experts.w_1.weight"]
    assert own.shape == (4, 64, 32)
    for expert in own:
        torch.testing.assert_close(expert, dense["encoder.blocks.1.feed_forward.w_1.weight"], rtol=0, atol=1e-6)
    name = "blocks.0.self_attn.linear_q.weight"
    torch.testing.assert_close(moe[f"encoder.{name}"], dense[f"encoder.{name}"], rtol=0, atol=1e-6)
    torch.testing.assert_close(moe[f"encoder.embed.{name}"], embedding[f"encoder.{name}"], rtol=0, atol=1e-6)
    check_use_of_experts(tmp_path / "moe", tone_corpus)
    loaded = load_model_dir(tmp_path / "moe")
    assert loaded.config.moe.num_experts == 4 and loaded.config.base_path is None
    assert (loaded.tokenizer_dir / DICTIONARY_FILE).read_bytes() == (characters / DICTIONARY_FILE).read_bytes()


def test_a_run_in_parts_is_the_run(tone_runs, configured, tmp_path):
    config = configured(with_experts(), max_steps=4, schedule={"warmup_steps": 2, "total_steps": 4}, checkpoint_interval=2)
    run(config, tmp_path / "whole")
    whole = tone_runs.losses(tmp_path / "whole")
    assert len(whole) == 4
    run(config, tmp_path / "parts", "training.max_steps=2")
    run(config, tmp_path / "parts", resume=True)
    assert tone_runs.losses(tmp_path / "parts") == pytest.approx(whole, rel=2e-5)


def test_two_ranks_make_the_steps_of_one(tone_runs, configured, tmp_path):
    config = configured(with_experts(), max_steps=3, accumulation=2)
    run(config, tmp_path / "one")
    run_ranks(train_rank.__file__, [2], config, tmp_path / "two", "training.accumulation=1")
    losses = tone_runs.losses(tmp_path / "two")
    assert len(losses) == 3
    assert losses == pytest.approx(tone_runs.losses(tmp_path / "one"), rel=1e-4)


def test_a_plan_counts_what_is_trained(configured):
    plan = plan_run(load_yaml(configured(with_experts() | {"freeze": ["embedding"]}, max_steps=3), RunConfig), 1)
    total, trained = (int(number.replace(",", "")) for number in re.findall(r"encoder +([0-9,]+) +([0-9,]+)", plan)[0])
    assert 0 < trained < total


def test_what_does_not_fit_is_refused(configured, characters):
    cases = {
        "needs model.tokenizer_path": ("model.tokenizer_path=null",),
        "may name asr only": ("data.tasks=[{task: ast}]",),
        "lfr_m: 1": ("data.frontend.lfr_m=7", "data.frontend.lfr_n=6"),
    }
    for message, overrides in cases.items():
        with pytest.raises(ConfigError, match=message):
            run_training(load_yaml(configured(DENSE, max_steps=1), RunConfig, overrides), characters.parent / "never")
