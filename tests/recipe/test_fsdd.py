"""egs/fsdd from recordings to its table, with a few steps of training: every stage's output fits the one before."""

import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import jiwer
import pytest

from mooer.data.lists import read_table

ROOT = Path(__file__).resolve().parents[2]
TRAIN_SPEAKERS, TEST_SPEAKER, NEW_SPEAKER = ("george", "nicolas"), "theo", "lucas"
NUM_SYNTHETIC = 4
CHANGES = (
    "training.max_steps=30 training.checkpoint_interval=30 training.validation_interval=30 training.log_interval=1"
    " training.schedule.warmup_steps=5 model.encoder.num_blocks=2"
)
WORDS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
DIGITS = dict(zip(WORDS, "零一二三四五六七八九", strict=True))


def run(work_dir, *options, status=0):
    command = ["bash", ROOT / "egs" / "fsdd" / "run.sh", "--work_dir", work_dir, *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=600)
    assert done.returncode == status, done.stdout[-2000:] + done.stderr[-4000:]
    return done


def copy_recordings(source, speakers, indices, place):
    for speaker in speakers:
        for digit in range(10):
            for index in indices:
                name = f"{digit}_{speaker}_{index}.wav"
                (place / speaker).mkdir(parents=True, exist_ok=True)
                shutil.copy(source / speaker / name, place / speaker / name)
    return place


@pytest.fixture(scope="module")
def finished(tmp_path_factory, shared_data):
    """Options of a run of all stages on a few recordings, its folder, and what it said."""
    folder = tmp_path_factory.mktemp("fsdd")
    source = shared_data / "fsdd"
    known = copy_recordings(source, (*TRAIN_SPEAKERS, TEST_SPEAKER), range(9), folder / "known")
    new = copy_recordings(source, (NEW_SPEAKER,), range(3), folder / "new")
    # The public repository has all recordings in one folder.
    for path in list((new / NEW_SPEAKER).iterdir()):
        path.rename(new / path.name)
    sizes = ("--num_train", 200, "--num_test", 4, "--num_synthetic", NUM_SYNTHETIC)
    sizes += ("--num_processes", 1, "--num_workers", 1, "--beam_size", 1)
    options = ("--data_dir", known, "--test_dir", new, "--test_speaker", TEST_SPEAKER, *sizes, "--changes", CHANGES)
    done = run(folder / "work", *options)
    return options, folder / "work" / "exp" / f"without_{TEST_SPEAKER}", done


@pytest.mark.slow
def test_data_directories_agree_with_themselves(finished):
    _, folder, _ = finished
    speakers = {"train": set(TRAIN_SPEAKERS), "dev": set(TRAIN_SPEAKERS), "test": {TEST_SPEAKER}, "further": {NEW_SPEAKER}}
    for name, expected in speakers.items():
        tables = {table: read_table(folder / "data" / name / table) for table in ("wav.scp", "text", "text.zh", "utt2spk")}
        assert len({tuple(table) for table in tables.values()}) == 1
        said = Counter(tables["utt2spk"].values())
        synthetic = sum(count for speaker, count in said.items() if speaker.startswith("espeak-"))
        assert {speaker for speaker in said if not speaker.startswith("espeak-")} == expected
        assert 60 < synthetic < 140 if name == "train" else synthetic == 0
        assert len(set(said)) == len(expected) + (NUM_SYNTHETIC if name == "train" else 0)
        for identity, text in tables["text"].items():
            assert "".join(DIGITS[word] for word in text.split()) == tables["text.zh"][identity]


@pytest.mark.slow
@pytest.mark.parametrize("conf", ["encoder_ctc", "mooer"])
def test_training_lowers_the_loss(finished, conf):
    _, folder, _ = finished
    events = [json.loads(line) for line in (folder / "exp" / conf / "train.jsonl").read_text().splitlines()]
    losses = [event["loss"] for event in events if event["event"] == "step"]
    assert len(losses) == 30
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


@pytest.mark.slow
def test_the_table_counts_what_was_decoded(finished):
    _, folder, done = finished
    decoded = folder / "exp" / "mooer" / "decode"
    results = json.loads((decoded / "results.json").read_text())["results"]
    assert set(results) == {"dev", "test", "further"}
    assert (decoded / "results.md").read_text() in done.stdout
    for name, systems in results.items():
        references = read_table(folder / "data" / name / "text")
        assert set(systems) == {"ctc", "asr", "ast", "mtl", "silence"}
        for system in ("ctc", "asr"):
            hypotheses = read_table(decoded / system / "1best_recog" / "text", allow_empty=True)
            rate = jiwer.wer(list(references.values()), [hypotheses[identity] for identity in references])
            assert systems[system]["wer"] == pytest.approx(100 * rate, abs=0.01)


@pytest.mark.slow
def test_a_rerun_does_nothing_again(finished):
    options, folder, _ = finished
    weights = folder / "exp" / "mooer" / "final" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    done = run(folder.parents[1], *options, "--stop_stage", 3)
    assert done.stderr.count("says that this is done already") == 5
    assert weights.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--test_speker", "theo"], "unknown option --test_speker"),
        (["--conf", "moer"], "there is no conf/moer.yaml"),
        (["--test_dir", "nowhere"], "folder nowhere does not exist"),
        (["--test_speaker", "nobody", "--stage", "0"], "no recording of speaker 'nobody'"),
    ],
)
def test_wrong_options_stop_the_recipe(options, message, tmp_path, shared_data):
    done = run(tmp_path, "--data_dir", shared_data / "fsdd", *options, status=2)
    assert message in done.stderr


@pytest.mark.slow
def test_experts_from_a_dense_model(finished):
    """The three trainings that end with a mixture of experts, its table and its picture."""
    options, folder, _ = finished
    few = CHANGES.replace("=30", "=3")
    done = run(folder.parents[1], *options, "--conf", "conformer_moe", "--changes", few)
    results = json.loads((folder / "exp" / "conformer_moe" / "decode" / "results.json").read_text())["results"]
    assert results.keys() == {"dev", "test", "further"}
    assert all(systems.keys() == {"ctc_greedy", "ctc_prefix_beam"} for systems in results.values())
    assert "| Conformer, CTC prefix beam |" in done.stdout
    use = json.loads((folder / "exp" / "conformer_moe" / "expert_use.json").read_text())
    assert [len(row) for row in use["frames"]] == [8, 8] and len({sum(row) for row in use["frames"]}) == 1
    assert use["active_parameters"] < use["parameters"]
    assert (folder / "exp" / "conformer_moe" / "expert_use.png").is_file()
