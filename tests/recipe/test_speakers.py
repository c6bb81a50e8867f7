"""egs/speakers from recordings to its rates, on made-up voices and a few steps of training."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from mooer.pipeline.diarization import Diarizer
from mooer.text.rttm import read_rttm

ROOT = Path(__file__).resolve().parents[2]
RATE = 16000
CHANGES = "training.max_steps=12 training.checkpoint_interval=12 training.schedule.warmup_steps=2 data.batch_size=8"


def write_voice(path, pitch, seconds, draw):
    """Pulses through a resonance of the voice's own, a little different every time."""
    wave = np.zeros(int(seconds * RATE))
    period = RATE / (pitch * draw.uniform(0.97, 1.03))
    wave[np.arange(0, len(wave), period).astype(int)] = 1.0
    ring = np.exp(-np.arange(400) / 60) * np.sin(2 * np.pi * 5 * pitch * np.arange(400) / RATE)
    wave = np.convolve(wave, ring)[: len(wave)] + 0.01 * draw.standard_normal(len(wave))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.5 * wave / np.abs(wave).max(), RATE)


def run(work_dir, *options, status=0):
    command = ["bash", ROOT / "egs" / "speakers" / "run.sh", "--work_dir", work_dir, *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=600)
    assert done.returncode == status, done.stdout[-2000:] + done.stderr[-4000:]
    return done


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a run of all stages, its options, and what it printed."""
    folder = tmp_path_factory.mktemp("speakers")
    draw = np.random.default_rng(0)
    for number in range(10):
        write_voice(folder / "corpus" / "train" / f"{100 + number}-1-0.wav", 80 + 25 * number, 4.0, draw)
    for number in range(5):
        for take in range(2):
            name = f"{200 + number}/{200 + number}-1-{take}.wav"
            write_voice(folder / "corpus" / "test" / name, 90 + 50 * number, 3.0, draw)
    options = ("--data_dir", folder / "corpus", "--num_dev_speakers", 5, "--changes", CHANGES)
    return folder / "work", options, run(folder / "work", *options)


@pytest.mark.slow
def test_rates_are_those_of_the_files(finished):
    work, _, done = finished
    exp = work / "exp" / "campplus_small"
    eer = json.loads((exp / "eer" / "score.json").read_text())
    assert (eer["targets"], eer["nontargets"], eer["missing"]) == (5, 40, [])
    assert f"EER {eer['percent']:.2f} %" in done.stdout
    for name in ("counted", "calibrated", "published"):
        der = json.loads((exp / f"der_{name}" / "score.json").read_text())
        assert len(der["recordings"]) == 12 and der["missing"] == []
        # Where speech is was told: all that can be wrong is who speaks, but for what lies in joined pauses.
        assert der["missed"] < 0.02 * der["speech"]
        assert der["confusion"] > 0
    counted = json.loads((exp / "der_counted" / "score.json").read_text())["recordings"]
    assert all(item["hypothesis_speakers"] <= item["speakers"] for item in counted.values())
    assert {item["hypothesis_speakers"] for item in counted.values()} >= {2, 3}


@pytest.mark.slow
def test_the_model_is_one_that_the_diarizer_opens(finished):
    work, _, _ = finished
    final = work / "exp" / "campplus_small" / "whitened"
    assert {path.name for path in final.iterdir()} == {"campplus_cn_common.bin", "config.yaml", "run.json", "clustering.yaml"}
    settings = yaml.safe_load((final / "clustering.yaml").read_text())
    assert settings["count"] == "likeness"
    assert Diarizer.from_folder(final).clustering.max_likeness == settings["max_likeness"]
    references = read_rttm(work / "data" / "test_conversations" / "rttm")
    assert {turn.speaker for turns in references.values() for turn in turns} <= {str(200 + number) for number in range(5)}


@pytest.mark.slow
def test_a_second_run_trains_nothing_again(finished):
    work, options, _ = finished
    weights = work / "exp" / "campplus_small" / "final" / "campplus_cn_common.bin"
    before = weights.read_bytes()
    done = run(work, *options, "--stop_stage", 3)
    assert "says that this is done already" in done.stderr
    assert weights.read_bytes() == before


@pytest.mark.slow
def test_missing_recordings_are_said_at_once(tmp_path):
    done = run(tmp_path, status=2)
    assert "--data_dir" in done.stderr
    assert "no_such does not exist" in run(tmp_path, "--data_dir", "no_such", status=2).stderr
