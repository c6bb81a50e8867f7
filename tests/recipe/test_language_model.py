"""Whole training runs of language models on text: learnt, resumed, spread over ranks, exported and used."""

import json
import math
import random

import pytest
import yaml

from mooer.common.config import load_yaml
from mooer.common.errors import ConfigError
from mooer.models.language_model_dir import load_language_model
from mooer.text.vocabulary import load_vocabulary
from mooer.train.config import RunConfig
from mooer.train.export import export_run
from mooer.train.plan import plan_run
from mooer.train.run import run_training

from ..ranks import run_ranks
from . import train_rank

pytestmark = pytest.mark.slow
ORDER = ("one", "two", "three", "four")
EIGHT_STEPS = {"max_steps": 8, "schedule": {"warmup_steps": 4, "total_steps": 8}}


def _write_text(path, count, seed):
    """Sentences that count on from some number, as in `two three four one`."""
    rng = random.Random(seed)
    with open(path, "w", encoding="utf-8") as stream:
        for number in range(count):
            start = rng.randrange(4)
            words = [ORDER[(start + place) % 4] for place in range(rng.randint(2, 6))]
            stream.write(f"s{number} {' '.join(words)}\n")
    return str(path)


@pytest.fixture(scope="module")
def text_runs(tone_corpus, tmp_path_factory):
    """Writes training files over one corpus of text: `text_runs(path, zero_stage=2)`."""
    folder = tmp_path_factory.mktemp("text")
    train, dev = (_write_text(folder / name, count, seed) for name, count, seed in (("train", 60, 1), ("dev", 12, 2)))
    with open(train, "a", encoding="utf-8") as stream:
        stream.write("empty\n")

    def write(path, **training):
        config = {
            "model": {
                "family": "transformer_lm",
                "embed_unit": 32,
                "att_unit": 32,
                "head": 2,
                "unit": 48,
                "layer": 2,
                "dropout_rate": 0.02,
            },
            "data": {
                "input": "text",
                "lines": "kaldi",
                "train_list": train,
                "dev_list": dev,
                "tokenizer_path": str(tone_corpus / "tokenizer"),
                "max_batch_tokens": 100,
                "num_buckets": 2,
            },
            "training": {
                "max_steps": 120,
                "log_interval": 1,
                "log_utterances": True,
                "tensorboard": False,
                "checkpoint_interval": 20,
                "optimizer": {"learning_rate": 1e-2, "fused": False},
                "schedule": {"warmup_steps": 4},
                **training,
            },
        }
        path.write_text(yaml.safe_dump(config))
        return path

    return write


def run(path, folder, *overrides, **options):
    run_training(load_yaml(path, RunConfig, overrides), folder, **options)


@pytest.fixture(scope="module")
def whole(text_runs, tmp_path_factory):
    """A run in one process."""
    folder = tmp_path_factory.mktemp("lm")
    run(text_runs(folder / "train.yaml"), folder / "exp")
    return folder


def _events(run_dir, kind):
    events = map(json.loads, (run_dir / "train.jsonl").read_text().splitlines())
    return [event for event in events if event["event"] == kind]


def test_it_learns_to_count(whole):
    """Only the first word and the length are open; words in any order would leave the perplexity above 2.2."""
    validations = _events(whole / "exp", "validation")
    assert [event["perplexity"] for event in validations] == pytest.approx([math.exp(event["loss"]) for event in validations])
    assert validations[-1]["perplexity"] < 1.75
    step = _events(whole / "exp", "step")[-1]
    assert step["tokens_per_second"] > 0 and "audio_hours_per_hour" not in step
    (skipped,) = map(json.loads, (whole / "exp" / "skipped.jsonl").read_text().splitlines())
    assert (skipped["id"], skipped["reason"]) == ("empty", "empty_text")


@pytest.mark.parametrize("form", ["safetensors", "int8"])
def test_export(whole, tone_corpus, tmp_path, form):
    import torch

    export_run(whole / "exp", tmp_path / "lm", form=form)
    loaded = load_language_model(tmp_path / "lm")
    known = load_vocabulary(loaded.tokenizer_dir)
    assert known.tokens == load_vocabulary(tone_corpus / "tokenizer").tokens
    right, wrong = (
        float(loaded.model(torch.tensor(known.encode([text])), torch.tensor([len(known.encode([text])[0])])).loss_sum)
        for text in ("two three four one", "two four three one")
    )
    assert right < wrong - 3.0


def test_the_released_layout_is_refused(whole, tmp_path):
    with pytest.raises(ConfigError, match="transformer_lm"):
        export_run(whole / "exp", tmp_path / "lm", form="released")


@pytest.fixture(scope="module")
def eight_steps(text_runs, tmp_path_factory):
    """The folder of a run in one process of eight steps with two micro-batches each."""
    folder = tmp_path_factory.mktemp("lm8")
    run(text_runs(folder / "train.yaml", **EIGHT_STEPS, accumulation=2), folder / "exp")
    return folder


def _assert_same_losses(tone_runs, one, other):
    left, right = tone_runs.losses(one), tone_runs.losses(other)
    assert list(left) == list(right) == list(range(1, 9))
    assert list(left.values()) == pytest.approx(list(right.values()), rel=2e-5)


def test_a_run_in_parts_is_the_run(tone_runs, eight_steps, tmp_path):
    run(eight_steps / "train.yaml", tmp_path / "exp", "training.max_steps=5")
    run(eight_steps / "train.yaml", tmp_path / "exp", resume=True)
    assert tone_runs.utterance_ids(tmp_path / "exp") == tone_runs.utterance_ids(eight_steps / "exp")
    _assert_same_losses(tone_runs, tmp_path / "exp", eight_steps / "exp")


def test_two_ranks(tone_runs, text_runs, eight_steps, tmp_path):
    """Dropout is drawn by the place in the epoch, so that two ranks with ZeRO 2 do what one does with two micro-batches."""
    run_ranks(train_rank.__file__, [2], text_runs(tmp_path / "two.yaml", **EIGHT_STEPS, zero_stage=2), tmp_path / "two")
    _assert_same_losses(tone_runs, eight_steps / "exp", tmp_path / "two")


def test_the_plan(whole):
    plan = plan_run(load_yaml(whole / "train.yaml", RunConfig), 1).splitlines()
    assert "tokens of text" in plan[-2]
    assert plan[-1].split()[2:4] == ["120", "steps,"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.tokenizer_path=null", "tokenizer_path must be set"),
        ("data.train_list=null", "train_list must be set"),
        ("training.validation_error_rate=wer", "needs recordings"),
        ("data.input=audio", "unknown key"),
        ("model={family: ctc}", "needs audio"),
    ],
)
def test_refusals(whole, override, message):
    with pytest.raises(ConfigError, match=message):
        load_yaml(whole / "train.yaml", RunConfig, (override,))


@pytest.mark.parametrize("values", [{"dtype": "bfloat16"}, {"gradient_checkpointing": True}])
def test_with_less_memory(text_runs, tone_runs, tmp_path, values):
    run(text_runs(tmp_path / "train.yaml", max_steps=20, **values), tmp_path / "exp")
    losses = tone_runs.losses(tmp_path / "exp")
    assert losses[20] < 0.7 * losses[1]
