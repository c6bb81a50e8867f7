"""egs/mini_s2st: how its speech is made, and every stage after the other on a miniature."""

import json
import os
import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest
import yaml

from mooer.data.lists import read_data_list, read_table
from mooer.models.audio_tokens import AudioTokenConfig

pytest.importorskip("espeakng_loader")

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "egs" / "mini_s2st"
UNIT = AudioTokenConfig().samples_of_a_token
NUM_TRAIN, NUM_TEST = 40, 8
WIDTH = 64
# What is changed of the recipe's training files.
SHORT = {"log_interval": 1, "checkpoint_interval": 1000, "validation_interval": 1000}
CHANGES = {
    "encoder_ctc": {"model.encoder": {"output_size": 32, "linear_units": 64, "num_blocks": 1}, "training": {"max_steps": 5}},
    "mooer": {
        "model.llm": {"hidden_size": WIDTH, "num_layers": 2, "intermediate_size": 128},
        "training": {"max_steps": 60},
        "training.schedule": {"warmup_steps": 5},
    },
    "vocoder_mel": {"training": {"max_steps": 4}},
    "vocoder": {"training": {"max_steps": 2}},
}
NETWORK = {"upsample_initial_channel": 16, "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1]]}


@pytest.fixture
def speak_pairs(monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPE / "local"))
    return pytest.importorskip("speak_pairs")


@pytest.mark.parametrize(("length", "wanted"), [(1, 1), (1024, 1), (1535, 1), (1537, 2), (5000, 5)])
def test_a_word_lasts_whole_tokens(speak_pairs, length, wanted):
    samples = np.sin(np.arange(length) / 40).astype(np.float32)
    stretched = speak_pairs.stretch(samples, 1024)
    assert len(stretched) == wanted * 1024
    assert (stretched[0], stretched[-1]) == (samples[0], samples[-1])


def write_confs(folder):
    """The recipe's training files with the changes, in `folder`."""
    shutil.copytree(RECIPE / "conf", folder)
    for name, changes in CHANGES.items():
        config = yaml.safe_load((folder / f"{name}.yaml").read_text())
        if name.startswith("vocoder"):
            config["model"]["network"] |= NETWORK | {"input_num_mels": WIDTH}
            config["data"] |= {"batch_size": 4}
        config["training"] |= SHORT
        for place, values in changes.items():
            section = config
            for key in place.split("."):
                section = section[key]
            section |= values
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))


def run(folder, *options, status=0):
    given = ["--work_dir", folder, "--conf_dir", folder / "conf", "--num_processes", 1, "--num_workers", 1]
    given += ["--num_train", NUM_TRAIN, "--num_test", NUM_TEST, "--num_audio_tokens", 20, *options]
    command = ["bash", str(RECIPE / "run.sh"), *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=600)
    assert done.returncode == status, done.stdout[-2000:] + done.stderr[-4000:]
    return done


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder of a run of all stages, and what it printed."""
    folder = tmp_path_factory.mktemp("mini_s2st")
    write_confs(folder / "conf")
    return folder, run(folder).stdout


@pytest.mark.slow
def test_a_target_for_each_utterance(finished):
    """Sources and targets have the same ids; a token lasts as long as a latent, and words begin with a token."""
    folder, _ = finished
    for name, count in (("train", NUM_TRAIN), ("dev", NUM_TEST // 4), ("test", NUM_TEST)):
        source, target = folder / "data" / name, folder / "data" / f"{name}_target"
        assert list(read_table(source / "wav.scp")) == list(read_table(target / "wav.scp"))
        assert read_table(source / "text.en") == read_table(target / "text")
        tokens = read_table(source / "text.audio")
        assert len(tokens) == count
        for key, path in read_table(target / "wav.scp").items():
            with wave.open(path) as stream:
                assert (stream.getframerate(), stream.getnframes()) == (22_050, UNIT * len(tokens[key].split()))
        starts = [float(line.split()[2]) * 22_050 / UNIT for line in (target / "ctm").read_text().splitlines()]
        assert np.abs(np.array(starts) - np.round(starts)).max() < 0.05
    assert not set(read_table(folder / "data/train/text.en").values()) & set(read_table(folder / "data/test/text.en").values())


@pytest.mark.slow
def test_latents_of_all_sets(finished):
    folder, _ = finished
    for name in ("train", "dev", "test"):
        ids = [utterance.id for utterance in read_data_list(folder / f"dump/latents_{name}/data.list")]
        assert ids == list(read_table(folder / "data" / name / "text.audio"))
    for name in ("vocoder_mel", "vocoder"):
        events = [json.loads(line) for line in (folder / "exp" / name / "train.jsonl").read_text().splitlines()]
        assert not any(event.get("skipped") for event in events)


@pytest.mark.slow
def test_the_table_and_the_pictures(finished):
    """A recogniser understands the reference; after so few steps the rest must only be there."""
    folder, printed = finished
    results = json.loads((folder / "exp/decode/results.json").read_text())["results"]
    assert results.keys() == {"test_target", "wav_copy", "wav_speech", "text"}
    assert results["test_target"]["bleu"] > 80
    assert printed.count("\n|") >= 5 and "copy synthesis" in printed
    spoken = read_table(folder / "exp/decode/wav_speech/wav.scp")
    assert spoken and len(spoken) <= NUM_TEST
    pictures = sorted((folder / "exp/decode/pictures").iterdir())
    assert [path.suffix for path in pictures] == [".png"] * min(3, len(spoken))


@pytest.mark.slow
def test_nothing_is_done_twice(finished):
    folder, _ = finished
    files = [*(folder / "data").rglob("wav.scp"), *(folder / "dump").rglob("*.ark"), *(folder / "exp").rglob("*.safetensors")]
    before = {path: path.stat().st_mtime_ns for path in files}
    run(folder, "--stop_stage", 4)
    assert before == {path: path.stat().st_mtime_ns for path in files}
