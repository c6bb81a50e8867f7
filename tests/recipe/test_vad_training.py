"""Whole training runs of a small FSMN-VAD: what is learnt, what is refused; a run can be spread, resumed and exported."""

import json

import numpy as np
import pytest
import soundfile
import yaml
from click.testing import CliRunner

from mooer.audio.io import load_audio
from mooer.cli.train import main as train_command
from mooer.common.config import load_yaml
from mooer.common.errors import ConfigError
from mooer.data.statistics import compute_cmvn, find_utterances
from mooer.features.cmvn import write_cmvn
from mooer.pipeline.vad_dir import read_detector
from mooer.pipeline.voice_activity import find_speech
from mooer.train.config import RunConfig
from mooer.train.export import export_run
from mooer.train.plan import plan_run

from .same_curve import SameCurve, run

pytestmark = pytest.mark.slow

RATE = 16000
ENCODER = {"input_affine_dim": 16, "fsmn_layers": 2, "linear_dim": 24, "proj_dim": 12, "output_affine_dim": 16, "output_dim": 2}


def _recording(rng):
    """Four seconds of noise with a buzz in one or two stretches, and where that is."""
    wave = 0.01 * rng.standard_normal(4 * RATE)
    stretches, start = [], 0.2
    for _ in range(1 + int(rng.integers(2))):
        start += rng.uniform(0.1, 0.5)
        end = start + rng.uniform(0.5, 0.9)
        place = slice(int(start * RATE), int(end * RATE))
        phase = 2 * np.pi * rng.uniform(110, 180) * np.arange(place.stop - place.start) / RATE
        wave[place] += 0.05 * sum(np.sin(part * phase) for part in range(1, 9))
        stretches.append((start, end))
        start = end + 0.6
    return wave.astype(np.float32), stretches


@pytest.fixture(scope="module")
def buzzes(tmp_path_factory):
    """Folder with train.list, dev.list, am.mvn; returns it."""
    folder, rng = tmp_path_factory.mktemp("buzzes"), np.random.default_rng(0)
    for name, count in (("train", 30), ("dev", 6)):
        lines = []
        for number in range(count):
            wave, stretches = _recording(rng)
            path = folder / f"{name}{number}.wav"
            soundfile.write(path, wave, RATE)
            label = " ".join(f"{start:.3f}-{end:.3f}" for start, end in stretches)
            lines.append({"id": path.stem, "audio": str(path), "num_samples": len(wave), "labels": {"speech": label}})
        (folder / f"{name}.list").write_text("".join(json.dumps(line) + "\n" for line in lines))
    utterances, _ = find_utterances(None, str(folder / "train.list"))
    write_cmvn(folder / "am.mvn", compute_cmvn(utterances, lfr_m=5).cmvn)
    return folder


@pytest.fixture
def training_file(buzzes, tmp_path):
    """Writes a training file; the arguments override values of its sections by dotted names."""

    def write(**changes):
        data = {f"{name}_list": str(buzzes / f"{name}.list") for name in ("train", "dev")}
        config = {
            "model": {"family": "fsmn_vad", "encoder": ENCODER},
            "data": data | {"cmvn_path": str(buzzes / "am.mvn"), "max_batch_frames": 2000, "num_workers": 0},
            "training": {"max_steps": 60, "log_interval": 1, "tensorboard": False, "checkpoint_interval": 20, "num_threads": 1},
        }
        config["data"]["frontend"] = {"lfr_m": 5, "lfr_n": 1}
        config["training"] |= {"optimizer": {"learning_rate": 5e-3}, "schedule": {"warmup_steps": 5, "total_steps": 60}}
        for section, values in changes.items():
            config[section] |= values
        (tmp_path / "vad.yaml").write_text(yaml.safe_dump(config))
        return tmp_path / "vad.yaml"

    return write


def _dev_stretches(folder):
    for line in (folder / "dev.list").read_text().splitlines():
        entry = json.loads(line)
        yield load_audio(entry["audio"]), [tuple(map(float, word.split("-"))) for word in entry["labels"]["speech"].split()]


def test_the_trained_network_finds_what_it_was_shown(training_file, buzzes, tmp_path):
    """The directory of the run opens and finds every buzz of the other set."""
    run(training_file(), tmp_path / "exp")
    detector = read_detector(tmp_path / "exp" / "final")
    for waveform, stretches in _dev_stretches(buzzes):
        found = find_speech(detector, waveform, _sharp(detector.options))
        assert len(found) == len(stretches)
        for segment, (start, end) in zip(found, stretches, strict=True):
            assert abs(segment.start_ms / 1000 - start) < 0.1 and abs(segment.end_ms / 1000 - end) < 0.1


def _sharp(options):
    """Segments without the widening that speech needs."""
    import dataclasses

    narrow = {"do_extend": 0, "max_end_silence_time": 200, "window_size_ms": 100}
    return dataclasses.replace(options, **narrow, sil_to_speech_time_thres=50, speech_to_sil_time_thres=50)


class TestSameCurve(SameCurve):
    """Of a FSMN-VAD."""


def test_plan_averaging_and_further_training(training_file, tone_runs, tmp_path):
    config = training_file(training={"max_steps": 6, "checkpoint_interval": 2, "keep_best": 2})
    assert "encoder" in plan_run(load_yaml(config, RunConfig), 1)
    run(config, tmp_path / "exp")
    export_run(tmp_path / "exp", tmp_path / "mean", count=2, by="best")
    with pytest.raises(ConfigError, match="not as int8"):
        export_run(tmp_path / "exp", tmp_path / "small", form="int8")
    assert not (tmp_path / "small").exists()
    assert len(json.loads((tmp_path / "mean" / "run.json").read_text())["averaged_steps"]) == 2
    again = training_file(model={"encoder": None, "path": str(tmp_path / "mean")}, training={"max_steps": 1})
    run(again, tmp_path / "further")
    record = json.loads((tmp_path / "further" / "run.json").read_text())
    assert list(record["weights_sha256"]) == [str(tmp_path / "mean" / "model.pt")]
    assert tone_runs.losses(tmp_path / "further")[1] < tone_runs.losses(tmp_path / "exp")[1]


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("data", {"frontend": {}}, "lfr_m: 5"),
        ("data", {"frontend": {"lfr_m": 3, "lfr_n": 1}, "cmvn_path": "am.mvn"}, "frames of 240 values, the network reads 400"),
        ("data", {"frontend": {"lfr_m": 5, "lfr_n": 1, "window": "povey"}}, "by hamming windows"),
        ("data", {"cmvn_path": None}, "data.cmvn_path"),
        ("data", {"tasks": [{"task": "ast"}]}, "remove data.tasks"),
        ("data", {"augment": {"speeds": [0.9, 1.1]}}, "away from its label"),
        ("training", {"validation_error_rate": "wer"}, "writes no text"),
        ("training", {"encoder_cache": "cache"}, "speech_llm"),
    ],
)
def test_what_such_a_network_cannot_be_told(training_file, section, values, message):
    done = CliRunner().invoke(train_command, ["--config", str(training_file(**{section: values})), "--plan"])
    assert done.exit_code == 2
    assert message in done.stderr
