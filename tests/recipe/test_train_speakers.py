"""Training runs of a speaker model on made-up voices: a loss that falls, a folder that the diarizer opens, resumption."""

import json

import numpy as np
import pytest
import soundfile
import torch
import yaml
from click.testing import CliRunner

from mooer.cli.train import main
from mooer.models.speaker import load_speaker_model
from mooer.pipeline.diarization import Diarizer

RATE = 16000
SMALL = {"feat_dim": 16, "embedding_size": 8, "growth_rate": 4, "bn_size": 1, "init_channels": 8}


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """Folder with train.list: three voices, pulses of 90, 150 and 250 a second, two recordings of each."""
    folder = tmp_path_factory.mktemp("voices")
    draw = np.random.default_rng(0)
    lines = []
    for speaker, pitch in (("low", 90), ("middle", 150), ("high", 250)):
        for number in range(2):
            wave = 0.02 * draw.standard_normal(3 * RATE)
            wave[:: RATE // pitch] += 0.7
            path = folder / f"{speaker}{number}.wav"
            soundfile.write(path, wave, RATE)
            entry = {"id": path.stem, "audio": str(path), "num_samples": len(wave), "labels": {"speaker": speaker}}
            lines.append(json.dumps(entry) + "\n")
    (folder / "train.list").write_text("".join(lines))
    return folder


def write_config(voices, path, **training):
    config = {
        "model": {"family": "speaker", "network": SMALL | {"head_channels": 4, "block_layers": [1, 1, 1]}},
        "data": {
            "input": "voices",
            "train_list": str(voices / "train.list"),
            "dev_list": str(voices / "train.list"),
            "crop_seconds": [0.5, 0.8],
            "num_mel_bins": 16,
            "batch_size": 8,
            "num_workers": 0,
        },
        "training": {
            "max_epochs": 8,
            "checkpoint_interval": 6,
            "log_interval": 1,
            "num_threads": 1,
            "tensorboard": False,
            "optimizer": {"learning_rate": 0.01},
            "schedule": {"warmup_steps": 2},
            **training,
        },
    }
    path.write_text(yaml.safe_dump(config))
    return path


def train(config, output_dir, *options, status=0):
    done = CliRunner().invoke(main, ["--config", str(config), "--output_dir", str(output_dir), "--device", "cpu", *options])
    assert done.exit_code == status, done.stderr
    return done


def events(output_dir, kind):
    lines = (output_dir / "train.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def test_training_makes_a_folder_that_tells_speakers_apart(voices, tmp_path):
    train(write_config(voices, tmp_path / "train.yaml", max_epochs=40), tmp_path / "exp")
    losses = [event["loss"] for event in events(tmp_path / "exp", "step")]
    assert len(losses) == 120
    assert np.mean(losses[-12:]) < 0.5 * np.mean(losses[:12])
    final = tmp_path / "exp" / "final"
    published = yaml.safe_load((final / "config.yaml").read_text())
    assert published["model"] == "CAMPPlus"
    assert published["model_conf"].items() >= (SMALL | {"head_channels": 4, "block_layers": [1, 1, 1]}).items()
    assert json.loads((final / "run.json").read_text())["step"] == 120
    diarize = Diarizer.from_folder(final)
    waveforms = [torch.from_numpy(soundfile.read(voices / f"{name}0.wav", dtype="float32")[0]) for name in ("low", "high")]
    embeddings = diarize.embed([*waveforms, waveforms[0][:RATE]])
    directions = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    assert directions[0] @ directions[2] > directions[1] @ directions[2]
    # The export is of the evaluation mode: the norms' running means, not those of a batch.
    assert not load_speaker_model(final).training


def test_a_resumed_run_ends_with_the_same_weights(voices, tmp_path):
    config = write_config(voices, tmp_path / "train.yaml")
    train(config, tmp_path / "whole")
    constant = ("--set", "training.schedule.total_steps=24")
    train(config, tmp_path / "halves", *constant, "--set", "training.max_epochs=4")
    train(config, tmp_path / "halves", *constant, "--resume")
    whole, halves = (load_speaker_model(tmp_path / name / "final").state_dict() for name in ("whole", "halves"))
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


def test_the_plan_counts_classes_at_each_speed(voices, tmp_path):
    config = write_config(voices, tmp_path / "train.yaml")
    done = CliRunner().invoke(main, ["--config", str(config), "--plan"])
    assert done.exit_code == 0, done.stderr
    assert "directions                72" in done.stdout  # 3 speakers at 3 speeds, 8 values each


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model={family: ctc}", "data.input is voices; model.family ctc needs audio"),
        ("data.input=words", "input is 'words'; allowed: 'audio', 'text', 'voices'"),
        ("model.network.feat_dim=24", "data.num_mel_bins is 16"),
        ("training.validation_error_rate=cer", "writes no text"),
        ("data.speeds=[1.0,1.0]", "speeds must be different"),
        ("data.crop_seconds=[2.0,1.0]", "crop_seconds must be two growing values"),
        ("data.surroundings.noise_share=2", "noise_share must lie between 0 and 1"),
        ("model.loss.margin=2", "margin must be at least 0"),
    ],
)
def test_a_wrong_configuration_is_refused(voices, tmp_path, change, message):
    config = write_config(voices, tmp_path / "train.yaml")
    done = CliRunner().invoke(main, ["--config", str(config), "--output_dir", str(tmp_path / "exp"), "--set", change])
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "exp").exists()
