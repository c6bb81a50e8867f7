"""Whole training runs of a small Paraformer: from texts to a published directory that decodes, and on from there."""

import json

import pytest
import soundfile
import torch
import yaml
from click.testing import CliRunner

from mooer.cli.build_tokenizer import main as build_tokenizer
from mooer.cli.train import main as train_command
from mooer.common.config import load_yaml
from mooer.common.errors import ConfigError
from mooer.decode.recognizer import DecodeConfig, Recognizer
from mooer.features.cmvn import Cmvn, write_cmvn
from mooer.models.paraformer_dir import load_paraformer
from mooer.train.config import RunConfig
from mooer.train.export import export_run
from mooer.train.plan import plan_run
from mooer.train.run import run_training

from ..ranks import run_ranks
from . import train_rank

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokens(tone_corpus):
    """tokens.json and seg_dict of the corpus."""
    folder = tone_corpus / "tokens"
    lines = map(json.loads, (tone_corpus / "train.list").read_text().splitlines())
    (tone_corpus / "text").write_text("".join(f"{line['id']} {line['labels']['text']}\n" for line in lines))
    arguments = ["--layout", "paraformer", "--text", tone_corpus / "text", "--vocab_size", "60", "--output_dir", folder]
    assert CliRunner().invoke(build_tokenizer, list(map(str, arguments))).exit_code == 0
    return folder


@pytest.fixture
def configured(tone_runs, tone_corpus, tokens, tmp_path):
    """A training file for the tones: `configured(model={...}, data={...}, max_steps=3)`; returns its path."""

    def write(model=None, data=None, name="train.yaml", **training):
        path = tone_runs.file(tmp_path / name, **training)
        config = yaml.safe_load(path.read_text())
        sizes = {"attention_heads": 2, "linear_units": 64, "num_blocks": 1, "kernel_size": 3}
        start = {"token_dir": str(tokens), "encoder": config["model"]["encoder"], "decoder": sizes}
        write_cmvn(tmp_path / "am.mvn", Cmvn(torch.full((560,), 3.0), torch.full((560,), 0.1)))
        config["model"] = {"family": "paraformer", **(start if model is None else model)}
        config["data"] |= {"cmvn_path": str(tmp_path / "am.mvn"), "num_workers": 0} | (data or {})
        path.write_text(yaml.safe_dump(config))
        return path

    return write


def run(path, folder, *overrides, **options):
    run_training(load_yaml(path, RunConfig, overrides), folder, **options)


def test_it_learns_the_tones_and_decodes_with_times(configured, tone_corpus, tmp_path):
    """A run with its development error rate; the run folder, and its final/, are what mooer-decode opens."""
    schedule = {"name": "warmup_cosine", "warmup_steps": 20, "floor": 0.1}
    path = configured(
        **{"max_epochs": None, "max_steps": 160, "checkpoint_interval": 80, "schedule": schedule, "clip_norm": 5.0},
        **{"optimizer": {"learning_rate": 5e-3}, "validation_error_rate": "wer", "log_interval": 20},
    )
    done = CliRunner().invoke(train_command, ["--config", str(path), "--output_dir", str(tmp_path / "exp"), "--device", "cpu"])
    assert done.exit_code == 0, done.stderr
    events = [json.loads(line) for line in (tmp_path / "exp" / "train.jsonl").read_text().splitlines()]
    rates = [event["error_rate"] for event in events if event["event"] == "validation"]
    assert len(rates) == 2 and rates[-1] <= 20
    final = tmp_path / "exp" / "final"
    expected = {"config.yaml", "configuration.json", "model.pt", "tokens.json", "seg_dict", "am.mvn", "run.json"}
    assert {entry.name for entry in final.iterdir()} == expected
    recognizer = Recognizer.from_model_dir(tmp_path / "exp", DecodeConfig(device="cpu"))
    lines = [json.loads(line) for line in (tone_corpus / "dev.list").read_text().splitlines()]
    waveforms = [(line["id"], torch.from_numpy(soundfile.read(line["audio"], dtype="float32")[0])) for line in lines]
    results = list(recognizer.recognize(waveforms))
    right = sum(result.answer.text == line["labels"]["text"] for result, line in zip(results, lines, strict=True))
    assert right >= 4
    for result in results:
        assert " ".join(word.text for word in result.answer.words) == result.answer.text
        assert all(0 <= word.start <= word.end <= 1000 * result.seconds + 60 for word in result.answer.words)


def test_a_run_in_parts_is_the_run(tone_runs, configured, tmp_path):
    config = configured(max_steps=6, max_epochs=None, schedule={"warmup_steps": 2, "total_steps": 6})
    run(config, tmp_path / "whole")
    whole = tone_runs.losses(tmp_path / "whole")
    assert len(whole) == 6
    run(config, tmp_path / "parts", "training.max_steps=3")
    run(config, tmp_path / "parts", resume=True)
    assert tone_runs.losses(tmp_path / "parts") == pytest.approx(whole, rel=2e-5)


def test_two_ranks_make_the_steps_of_one(tone_runs, configured, tmp_path):
    """Glancing and dropout are drawn by the batch's place in the epoch: the same losses with two micro-batches a step.

    The LSTM's matrices are large enough for ZeRO 3 to spread them, and are used outside of their module's forward pass.
    """
    config = configured(max_steps=3, max_epochs=None, accumulation=2)
    wide = "model.encoder={output_size: 64, attention_heads: 2, linear_units: 64, num_blocks: 2, kernel_size: 5}"
    run(config, tmp_path / "one", wide, "training.gradient_checkpointing=true")
    changes = (wide, "training.accumulation=1", "training.zero_stage=3")
    run_ranks(train_rank.__file__, [2], config, tmp_path / "two", *changes)
    losses = tone_runs.losses(tmp_path / "two")
    assert len(losses) == 3
    assert losses == pytest.approx(tone_runs.losses(tmp_path / "one"), rel=1e-4)


def test_from_an_encoder_with_ctc_and_on_from_a_published_directory(tone_runs, configured, tokens, tmp_path):
    run(tone_runs.file(tmp_path / "ctc.yaml", max_steps=1, max_epochs=None), tmp_path / "ctc")
    decoder = {"attention_heads": 2, "linear_units": 64, "num_blocks": 1, "kernel_size": 3}
    start = {"token_dir": str(tokens), "encoder_path": str(tmp_path / "ctc" / "final"), "encoder": {"attention_heads": 2}}
    model = start | {"decoder": decoder, "losses": {"ctc_weight": 0.3}, "freeze": ["encoder"], "token_times": False}
    first = configured(model=model, max_steps=2, max_epochs=None, checkpoint_interval=1)
    run(first, tmp_path / "first")
    used = export_run(tmp_path / "first", tmp_path / "mean", count=2, form="released")
    assert len(used) == 2
    mean, config = load_paraformer(tmp_path / "mean")
    assert not config.has_times and mean.token_times is None
    assert mean.ctc is not None
    with pytest.raises(ConfigError, match="exported as safetensors or released, not as int8"):
        export_run(tmp_path / "first", tmp_path / "small", form="int8")
    again = configured(model={"init_dir": str(tmp_path / "mean")}, name="again.yaml", max_steps=1, max_epochs=None)
    assert "decoder" in plan_run(load_yaml(again, RunConfig), 1)
    run(again, tmp_path / "second")
    second, _ = load_paraformer(tmp_path / "second" / "final")
    moved = {name for name, tensor in second.state_dict().items() if not torch.equal(tensor, mean.state_dict()[name])}
    assert {"encoder.after_norm.weight", "decoder.output_layer.weight"} <= moved
    assert (tmp_path / "second" / "final" / "seg_dict").read_bytes() == (tokens / "seg_dict").read_bytes()
