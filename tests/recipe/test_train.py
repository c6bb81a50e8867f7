"""Whole training runs of small models: what is written, what is refused, what the model directory is good for."""

import json

import pytest
from click.testing import CliRunner

from mooer.cli.train import main as train_command
from mooer.common.config import load_yaml
from mooer.common.errors import MooerError, PathError
from mooer.data.lists import read_data_list
from mooer.data.packing import PackOptions, make_shards
from mooer.train.config import RunConfig
from mooer.train.export import export_run
from mooer.train.plan import plan_run
from mooer.train.run import run_training

from ..ranks import run_ranks
from . import train_rank

pytestmark = pytest.mark.slow


def _config(tone_runs, tmp_path, *overrides, **training):
    return load_yaml(tone_runs.file(tmp_path / "train.yaml", **training), RunConfig, overrides)


def _cmvn(path, width=560):
    vector = " ".join(["0.01"] * width)
    path.write_text(
        f"<Nnet>\n<Splice> {width} {width}\n[ 0 ]\n<AddShift> {width} {width}\n<LearnRateCoef> 0 [ {vector} ]\n"
        f"<Rescale> {width} {width}\n<LearnRateCoef> 0 [ {vector} ]\n</Nnet>\n"
    )
    return path


def _refusal(config, folder, *extra, status):
    """What the command says when it ends with this status, by a message of its own."""
    command = ["--config", str(config), "--output_dir", str(folder), "--device", "cpu", *extra]
    done = CliRunner().invoke(train_command, command)
    assert done.exit_code == status and isinstance(done.exception, SystemExit)
    return done.stderr


@pytest.fixture(scope="module")
def speech_llm_run(tone_runs, tmp_path_factory):
    """A run of a speech LLM with LoRA that keeps its three best checkpoints by error rate; 4 steps."""
    folder = tmp_path_factory.mktemp("speech_llm")
    overrides = (
        "model.family=speech_llm",
        "model.llm={hidden_size: 32, num_layers: 1, num_heads: 2, num_kv_heads: 2, intermediate_size: 64}",
        "model.lora={r: 4, alpha: 4, target_modules: [q_proj, v_proj]}",
        "model.adapter.hidden_size=32",
        "model.freeze=[encoder]",
        "data.tasks=[{task: asr}]",
        f"data.cmvn_path={_cmvn(folder / 'am.mvn')}",
    )
    config = tone_runs.file(
        folder / "train.yaml",
        max_steps=4,
        checkpoint_interval=1,
        keep_best=3,
        average_best=2,
        zero_stage=1,
        dtype="bfloat16",
        validation_error_rate="wer",
        tensorboard=True,
    )
    sets = [part for override in overrides for part in ("--set", override)]
    done = tone_runs.train(config, folder / "exp", *sets, "--device", "cpu")
    assert done.stdout == ""
    return folder / "exp"


def test_the_run_folder(speech_llm_run):
    events = [json.loads(line) for line in (speech_llm_run / "train.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["event"] == "step"] == [1, 2, 3, 4]
    rates = [event["error_rate"] for event in events if event["event"] == "validation"]
    assert len(rates) == 4 and all(rate >= 0 for rate in rates)
    assert list((speech_llm_run / "tensorboard").glob("events*"))
    record = json.loads((speech_llm_run / "run.json").read_text())
    assert {"command", "commit", "versions", "seed", "data_lists"} <= set(record)
    assert load_yaml(speech_llm_run / "config.yaml", RunConfig).training.average_best == 2
    assert len(json.loads((speech_llm_run / "final" / "run.json").read_text())["averaged_steps"]) == 2


def test_the_final_model_decodes(speech_llm_run, tone_corpus):
    import soundfile
    import torch

    from mooer.decode.recognizer import DecodeConfig, Recognizer

    recognizer = Recognizer.from_model_dir(speech_llm_run, DecodeConfig(beam_size=1, max_new_tokens=3))
    waveform = torch.from_numpy(soundfile.read(tone_corpus / "dev0.wav", dtype="float32")[0])
    (result,) = recognizer.recognize([("dev0", waveform)])
    assert result.id == "dev0" and isinstance(result.answer.text, str)


@pytest.mark.parametrize("form", ["safetensors", "int8", "released"])
def test_export(speech_llm_run, tmp_path, form):
    from mooer.models.released import open_model

    used = export_run(speech_llm_run, tmp_path / "model", form=form, count=2, by="best")
    assert len(used) == 2
    assert open_model(tmp_path / "model", "asr").config.family == "speech_llm"


def test_more_checkpoints_than_there_are(speech_llm_run, tmp_path):
    with pytest.raises(PathError, match="9 were asked for"):
        export_run(speech_llm_run, tmp_path / "model", count=9)
    assert not (tmp_path / "model").exists()


def test_the_curve_does_not_depend_on_the_zero_stage(tone_runs, tmp_path):
    for stage in (0, 1, 2):
        config = _config(tone_runs, tmp_path, zero_stage=stage, max_steps=5)
        run_training(config, tmp_path / str(stage))
    first = tone_runs.losses(tmp_path / "0")
    assert len(first) == 5
    for stage in ("1", "2"):
        assert tone_runs.losses(tmp_path / stage) == pytest.approx(first, rel=2e-5)


def test_the_plan_is_what_comes(tone_runs, tmp_path):
    run = _config(tone_runs, tmp_path, max_epochs=2)
    plan = plan_run(run, 1).splitlines()
    run_training(run, tmp_path / "exp")
    steps = len(tone_runs.losses(tmp_path / "exp"))
    assert plan[-1].split()[2:4] == [str(steps), "steps,"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [(("--plan", "--resume"), "trains nothing"), (("--ranks", "2"), "belongs to --plan"), ((), "--output_dir is needed")],
)
def test_options_of_the_plan(tone_runs, tmp_path, extra, message):
    config = tone_runs.file(tmp_path / "train.yaml")
    done = CliRunner().invoke(
        train_command, ["--config", str(config), *(("--output_dir", "x") if "--ranks" in extra else ()), *extra]
    )
    assert done.exit_code == 2
    assert message in done.stderr


def test_patience_ends_a_run_and_is_remembered(tone_runs, tmp_path):
    """With a learning rate near nothing no validation is better: the third is the second in vain."""
    still = {"optimizer": {"learning_rate": 1e-30}, "checkpoint_interval": 1, "validation_interval": 1, "patience": 2}
    run_training(_config(tone_runs, tmp_path, max_steps=2, **still), tmp_path / "exp")
    run_training(_config(tone_runs, tmp_path, max_steps=20, **still), tmp_path / "exp", resume=True)
    assert list(tone_runs.losses(tmp_path / "exp")) == [1, 2, 3]
    assert (tmp_path / "exp" / "final" / "model.safetensors").exists()


def test_a_run_in_parts_is_the_run(tone_runs, tmp_path):
    """max_steps may grow on resuming, as long as the learning rate's course is fixed."""
    parts = {"schedule": {"warmup_steps": 2, "total_steps": 6}}
    run_training(_config(tone_runs, tmp_path, max_steps=6, **parts), tmp_path / "whole")
    for steps in (1, 4, 6):
        run_training(_config(tone_runs, tmp_path, max_steps=steps, **parts), tmp_path / "parts", resume=True)
    assert tone_runs.losses(tmp_path / "parts") == pytest.approx(tone_runs.losses(tmp_path / "whole"), rel=2e-5)


def test_uneven_and_damaged_shards_on_two_ranks(tone_runs, tone_corpus, tmp_path):
    """7 shards, one cut off and one empty, 2 ranks with 3 workers each: all ends together, nobody is lost without a name."""
    utterances = read_data_list(tone_corpus / "train.list")
    make_shards(utterances, tmp_path, PackOptions(num_utts_per_shard=4))
    shards = sorted(tmp_path.glob("*.tar"))
    assert len(shards) == 7
    shards[2].write_bytes(shards[2].read_bytes()[:30000])
    shards[5].write_bytes(b"")
    config = tone_runs.file(tmp_path / "train.yaml", max_epochs=1)
    data = ("--set", f"data.train_list={tmp_path / 'data.list'}", "--set", "data.num_workers=3")
    done = tone_runs.train(config, tmp_path / "exp", *data, ranks=2)
    seen = [
        name
        for rank in (0, 1)
        for ids in tone_runs.utterance_ids(tmp_path / "exp", rank).values()
        for batch in ids
        for name in batch or ()
    ]
    whole = [item.id for number, item in enumerate(utterances) if number // 4 not in (2, 5)]
    assert len(seen) == len(set(seen))
    assert set(whole) <= set(seen) <= {item.id for item in utterances}
    skipped = [json.loads(line) for line in (tmp_path / "exp" / "skipped.jsonl").read_text().splitlines()]
    assert {str(shards[2]), str(shards[5])} <= {line["id"] for line in skipped}
    assert {line["reason"] for line in skipped if line["id"].endswith(".tar")} == {"damaged_shard"}
    assert "skipped as damaged_shard" in done.stderr


def test_two_launchers_are_one_run(tone_runs, tmp_path):
    """As on two machines: the steps are those of one process with two micro-batches each."""
    run_training(_config(tone_runs, tmp_path, max_epochs=1, accumulation=2), tmp_path / "one")
    config = tone_runs.file(tmp_path / "train.yaml", max_epochs=1)
    tone_runs.train_on_nodes(config, tmp_path / "two", "--device", "cpu", nodes=2)
    losses = tone_runs.losses(tmp_path / "one")
    assert len(losses) > 2
    assert tone_runs.losses(tmp_path / "two") == pytest.approx(losses, rel=2e-5)
    assert tone_runs.utterance_ids(tmp_path / "two", rank=0) != tone_runs.utterance_ids(tmp_path / "two", rank=1)
    assert (tmp_path / "two" / "final" / "model.safetensors").is_file()


def test_more_ranks_than_batches(tone_runs, tmp_path):
    """One batch an epoch for two ranks: the second takes part with nothing of its own."""
    config = tone_runs.file(tmp_path / "train.yaml", zero_stage=2, max_epochs=3)
    everything = ("data.max_batch_frames=1000000", "data.num_buckets=1")
    run_ranks(train_rank.__file__, [2], config, tmp_path / "two", *everything)
    run_training(load_yaml(config, RunConfig, everything), tmp_path / "one")
    assert len(tone_runs.losses(tmp_path / "one")) == 3
    assert tone_runs.losses(tmp_path / "two") == pytest.approx(tone_runs.losses(tmp_path / "one"), rel=2e-5)
    assert set(map(str, tone_runs.utterance_ids(tmp_path / "two", rank=1).values())) == {"[None]"}


def test_a_loss_that_is_not_finite_stops_the_run(tone_runs, tmp_path):
    config = tone_runs.file(tmp_path / "train.yaml", optimizer={"learning_rate": 1e30}, checkpoint_interval=1)
    report = _refusal(config, tmp_path / "exp", status=1).strip().splitlines()[-1]
    assert "training stopped at step 2, epoch 0" in report
    assert "rank 0 has" in report and "train" in report and "last losses: " in report and "learning rate" in report
    last = json.loads((tmp_path / "exp" / "train.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "stop"
    assert not (tmp_path / "exp" / "final").exists()
    assert [path.name for path in (tmp_path / "exp" / "checkpoints").iterdir()] == ["step_1"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.max_step=3", "did you mean 'max_steps'"),
        ("data.train_list=absent.list", "absent.list"),
        ("model.tokenizer_path=absent", "absent"),
        ("model.encoder_path=absent.pth", "absent.pth"),
        ("training.optimizer.part_learning_rates={adapter: 0.1}", "adapter"),
    ],
)
def test_wrong_input_writes_nothing(tone_runs, tmp_path, override, message):
    with pytest.raises(MooerError, match=message) as error:
        run_training(_config(tone_runs, tmp_path, override), tmp_path / "exp")
    assert error.value.exit_status == 2
    assert not (tmp_path / "exp").exists()


def test_a_frozen_encoder_runs_in_the_first_epoch_only(tone_runs, tmp_path, caplog):
    overrides = (
        "model.family=speech_llm",
        "model.llm={hidden_size: 32, num_layers: 1, num_heads: 2, num_kv_heads: 2, intermediate_size: 64}",
        "model.adapter.hidden_size=32",
        "model.freeze=[encoder]",
    )
    config = _config(tone_runs, tmp_path, *overrides, max_epochs=2)
    run_training(config, tmp_path / "plain")
    losses = tone_runs.losses(tmp_path / "plain")
    config = _config(tone_runs, tmp_path, *overrides, max_epochs=2, encoder_cache=str(tmp_path / "cache"))
    caplog.set_level("INFO")
    for name, computed in (("first", 27 + 6), ("again", 0)):
        caplog.clear()
        run_training(config, tmp_path / name)
        assert tone_runs.losses(tmp_path / name) == pytest.approx(losses, rel=1e-5)
        assert f"the encoder ran for {computed} utterances" in caplog.text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.freeze=[]", "whose encoder is frozen"),
        ("data.augment.speeds=[0.9, 1.0]", "data.augment changes"),
        ("training.zero_stage=3", "zero_stage 3"),
    ],
)
def test_an_encoder_cache_that_cannot_be_is_refused(tone_runs, tmp_path, override, message):
    llm = "model.llm={hidden_size: 32, num_layers: 1, num_heads: 2, num_kv_heads: 2, intermediate_size: 64}"
    with pytest.raises(MooerError, match=message):
        _config(
            *(tone_runs, tmp_path, "model.family=speech_llm", llm, "model.freeze=[encoder]", override), encoder_cache="cache"
        )


def test_wrong_commands(tone_runs, tmp_path):
    config = tone_runs.file(tmp_path / "train.yaml")
    assert "--resume" in _refusal(config, tmp_path / "exp", "--resum", status=2)
    assert "did you mean 'max_steps'" in _refusal(config, tmp_path / "exp", "--set", "training.max_step=3", status=2)
    assert not (tmp_path / "exp").exists()


def test_nothing_to_learn_is_said(tone_runs, tone_corpus, tmp_path):
    """Every utterance has more labels than frames."""
    lines = [json.loads(line) for line in (tone_corpus / "train.list").read_text().splitlines()]
    for line in lines:
        line["labels"]["text"] = "one two three four " * 40
    (tmp_path / "train.list").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(MooerError, match=r"not one utterance.*too_long_for_ctc.*27"):
        run_training(_config(tone_runs, tmp_path, f"data.train_list={tmp_path / 'train.list'}"), tmp_path / "exp")
    assert not (tmp_path / "exp" / "final").exists()
