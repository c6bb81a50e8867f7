"""Training of vocoders by mooer-train: a mel distance that falls, a folder that speaks, resumption, what is refused."""

import json

import numpy as np
import pytest
import soundfile
import torch
import yaml
from click.testing import CliRunner

from mooer.cli.export import main as export
from mooer.cli.train import main
from mooer.data.archives import write_archive
from mooer.models.vocoder import load_vocoder, read_vocoder_config
from mooer.models.vocoder_losses import LogMel

RATE, SAMPLES, WIDTH, VOICE = 22_050, 256, 20, 4
NETWORK = {
    "upsample_rates": [8, 8],
    "upsample_kernel_sizes": [16, 16],
    "upsample_initial_channel": 16,
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3]],
    "input_num_mels": WIDTH,
    "cond_channels": VOICE,
}
DISCRIMINATORS = {"periods": [3], "num_scales": 1, "shrinking": 8}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Folder with train.list and dev.list: buzzing tones of many pitches, with their mel spectrograms as latents."""
    folder = tmp_path_factory.mktemp("tones")
    draw = np.random.default_rng(0)
    log_mel = LogMel(RATE, WIDTH)
    entries = {}
    for number in range(10):
        pitch = np.repeat(draw.uniform(100, 400, size=6), RATE // 6)
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        wave = (0.2 * np.sin(phase) + 0.1 * np.sin(3 * phase) + 0.003 * draw.standard_normal(len(phase))).astype(np.float32)
        soundfile.write(folder / f"t{number}.wav", wave, RATE)
        whole = len(wave) // SAMPLES * SAMPLES
        entries[f"t{number}"] = log_mel(torch.from_numpy(wave[None, :whole]))[0].T.numpy()
    offsets = write_archive(folder / "latents.ark", entries.items())
    voices = write_archive(folder / "voices.ark", [("v", np.eye(1, VOICE))])
    lines = [
        {"id": key, "audio": f"{key}.wav", "feats": f"latents.ark:{offset}", "labels": {"voice": f"voices.ark:{voices['v']}"}}
        for key, offset in offsets.items()
    ]
    for name, some in (("train", lines[:8]), ("dev", lines[8:])):
        (folder / f"{name}.list").write_text("".join(json.dumps(line) + "\n" for line in some))
    return folder


def write_config(corpus, path, discriminators=DISCRIMINATORS, **training):
    config = {
        "model": {"family": "vocoder", "network": NETWORK, "discriminators": discriminators},
        "data": {
            "input": "latents",
            "train_list": str(corpus / "train.list"),
            "dev_list": str(corpus / "dev.list"),
            "stretch_latents": 8,
            "batch_size": 8,
            "num_workers": 0,
        },
        "training": {
            "max_epochs": 30,
            "checkpoint_interval": 1000,
            "log_interval": 1,
            "num_threads": 1,
            "tensorboard": False,
            "clip_norm": 1000.0,
            "optimizer": {"learning_rate": 0.002, "betas": [0.8, 0.99]},
            "schedule": {"warmup_steps": 0, "name": "constant"},
            **training,
        },
    }
    path.write_text(yaml.safe_dump(config))
    return path


def train(config, output_dir, *options):
    done = CliRunner().invoke(main, ["--config", str(config), "--output_dir", str(output_dir), "--device", "cpu", *options])
    assert done.exit_code == 0, done.stderr
    return done


def events(output_dir, kind):
    lines = (output_dir / "train.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def distance(vocoder, corpus):
    """How far the log mel spectrograms of what is spoken are from those of a recording that was not trained on."""
    log_mel = LogMel(RATE)
    wave = torch.from_numpy(soundfile.read(corpus / "t9.wav", dtype="float32")[0])
    wave = wave[: len(wave) // SAMPLES * SAMPLES][None]
    latents = LogMel(RATE, WIDTH)(wave).transpose(1, 2)
    made, _ = vocoder(latents, torch.tensor([latents.shape[1]]), torch.eye(1, VOICE))
    return float((log_mel(made) - log_mel(wave)).abs().mean())


def test_training_brings_the_spectrograms_together(corpus, tmp_path):
    config = write_config(corpus, tmp_path / "train.yaml", discriminators=None)
    train(config, tmp_path / "exp")
    losses = [event["loss"] for event in events(tmp_path / "exp", "step")]
    assert len(losses) == 120
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:10])
    final = tmp_path / "exp/final"
    vocoder = load_vocoder(final / "vocoder.safetensors", read_vocoder_config(final / "config.json"))
    assert vocoder.config.samples_of_a_latent == SAMPLES
    torch.manual_seed(0)
    train(config, tmp_path / "first", "--set", "training.max_steps=1")
    first = load_vocoder(tmp_path / "first/final/vocoder.safetensors", vocoder.config)
    assert distance(vocoder, corpus) < 0.65 * distance(first, corpus)
    (validation,) = events(tmp_path / "exp", "validation")
    assert 0 < validation["loss"] < 2.0  # the distance itself, without weights and discriminators
    done = CliRunner().invoke(
        export, ["--run_dir", str(tmp_path / "exp"), "--output_dir", str(tmp_path / "r"), "--format", "released"]
    )
    assert done.exit_code == 0, done.stderr
    released = load_vocoder(tmp_path / "r/vocoder.pt", read_vocoder_config(tmp_path / "r/config.json"))
    assert all(torch.equal(tensor, vocoder.state_dict()[name]) for name, tensor in released.state_dict().items())


def test_a_resumed_run_ends_with_the_same_weights(corpus, tmp_path):
    config = write_config(corpus, tmp_path / "train.yaml", max_epochs=4, checkpoint_interval=3)
    train(config, tmp_path / "whole")
    train(config, tmp_path / "halves", "--set", "training.max_epochs=2")
    train(config, tmp_path / "halves", "--resume")
    whole, halves = (load_vocoder(tmp_path / name / "final/vocoder.safetensors").state_dict() for name in ("whole", "halves"))
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


def test_without_discriminators_and_on_from_a_generator(corpus, tmp_path):
    config = write_config(corpus, tmp_path / "train.yaml", discriminators=None, max_epochs=2)
    train(config, tmp_path / "one")
    path = tmp_path / "one/final/vocoder.safetensors"
    train(config, tmp_path / "two", "--set", f"model.path={path}", "--set", "training.optimizer.learning_rate=1e-12")
    one, two = (load_vocoder(tmp_path / name / "final/vocoder.safetensors") for name in ("one", "two"))
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)


def test_recordings_that_do_not_fit_are_counted(corpus, tmp_path):
    lines = (corpus / "train.list").read_text().splitlines()
    first, third = (json.loads(line) for line in lines[:2])
    for name in ("audio", "feats"):
        third[name] = str(corpus / third[name])
    third["labels"] = {}
    wrong = [third, {**third, "id": "mute", "feats": None}, {**third, "id": "long", "audio": str(corpus / "long.wav")}]
    soundfile.write(corpus / "long.wav", np.full(2 * RATE, 0.1), RATE)
    del wrong[1]["feats"]
    voiceless = {**third, "id": "odd", "labels": {"voice": f"{corpus}/latents.ark:{first['feats'].split(':')[1]}"}}
    (tmp_path / "train.list").write_text("".join(json.dumps(line) + "\n" for line in (*wrong, voiceless)))
    config = write_config(corpus, tmp_path / "train.yaml", discriminators=None, max_epochs=1)
    train(config, tmp_path / "exp", "--set", f"data.train_list={tmp_path}/train.list")
    (epoch,) = events(tmp_path / "exp", "epoch")
    assert epoch["skipped"] == {"no_latents": 1, "misaligned": 1, "unsupported": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data={input: text}", "model.family vocoder needs latents"),
        ("training.zero_stage=3", "zero_stage 0, 1 or 2"),
        ("training.dtype=bfloat16", "trained in float32"),
        ("training.validation_error_rate=cer", "writes no text"),
        ("model.network.upsample_rates=[8]", "as many values"),
        ("model.discriminators.shrinking=3", "shrinking"),
        ("data.stretch_latents=0", "stretch_latents"),
        ("model.path=gone.pt", "gone.pt does not exist"),
    ],
)
def test_a_wrong_configuration_is_refused(corpus, tmp_path, change, message):
    config = write_config(corpus, tmp_path / "train.yaml")
    done = CliRunner().invoke(main, ["--config", str(config), "--output_dir", str(tmp_path / "exp"), "--set", change])
    assert done.exit_code == 2, done.stderr
    assert message in done.stderr


def test_gradients_that_are_split_over_ranks(corpus, tmp_path):
    config = write_config(corpus, tmp_path / "train.yaml", max_steps=3)
    for stage in (0, 2):
        train(config, tmp_path / str(stage), "--set", f"training.zero_stage={stage}")
    plain, split = ([event["loss"] for event in events(tmp_path / name, "step")] for name in ("0", "2"))
    assert split == pytest.approx(plain, rel=1e-5)
