"""egs/hsk from recordings to its table, with a few steps of training, on words whose syllables are tones of their own."""

import json
import os
import subprocess
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile

from mooer.data.lists import read_table, write_table

pytest.importorskip("pypinyin")

ROOT = Path(__file__).resolve().parents[2]
CHARACTERS = "天地人山水火木金"
CHANGES = (
    "training.max_steps=30 training.checkpoint_interval=30 training.validation_interval=30 training.log_interval=1"
    " training.schedule.warmup_steps=5 model.encoder.num_blocks=2"
)
OPTIONS = ("--num_processes", 1, "--num_workers", 1, "--beam_size", 1, "--changes", CHANGES)


def run(work_dir, *options, status=0, **environment):
    command = ["bash", ROOT / "egs" / "hsk" / "run.sh", "--work_dir", work_dir, *map(str, options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == status, done.stdout[-2000:] + done.stderr[-4000:]
    return done


def record(path, word):
    """A tone of 0.25 s a character, 0.15 s of faint noise around them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(5512) / 22050
    tones = [0.4 * np.sin(2 * np.pi * (300 + 250 * CHARACTERS.index(character)) * time) for character in word]
    samples = np.concatenate([np.zeros(3307), *tones, np.zeros(3307)])
    noise = np.random.default_rng(len(word)).standard_normal(len(samples))
    soundfile.write(path, samples + 0.001 * noise, 22050, format="MP3")


def build(folder, words):
    """Recordings of words in the recipe's layout."""
    for number, word in enumerate(words):
        record(folder / "mp3" / f"hsk{number:05d}.mp3", word)
    write_table(folder / "words.txt", {f"hsk{number:05d}": word for number, word in enumerate(words)})
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Options of a run of all stages, its folder, and what it said."""
    folder = tmp_path_factory.mktemp("hsk")
    known = build(folder / "known", [first + second for first in CHARACTERS for second in CHARACTERS])
    # The further folder has ids that the others have too.
    new = build(folder / "new", [first + second + first for first in CHARACTERS for second in CHARACTERS[:3]])
    options = ("--data_dir", known, "--test_dir", new, *OPTIONS)
    return options, folder / "work", run(folder / "work", *options)


@pytest.mark.slow
def test_no_transcript_of_the_test_is_trained_on(finished):
    _, folder, _ = finished
    texts = {name: read_table(folder / "data" / name / "text") for name in ("train", "dev", "test")}
    words = {name: set(texts[name].values()) for name in ("dev", "test")}
    assert len(texts["dev"]) + len(texts["test"]) < 30
    assert not words["dev"] & words["test"]
    # Training strings are made of whole words of two syllables.
    trained = set()
    for text in texts["train"].values():
        syllables = text.split()
        trained |= {" ".join(syllables[place : place + 2]) for place in range(0, len(syllables), 2)}
    assert not trained & (words["dev"] | words["test"])
    assert len(trained) + len(words["dev"]) + len(words["test"]) == 64


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
    assert "further: 24 words, 72 syllables, 0 of them in no training word" in done.stdout
    for name, systems in results.items():
        references = read_table(folder / "data" / name / "text")
        assert set(systems) == {"ctc", "asr", "silence"}
        for system, figures in systems.items():
            hypotheses = read_table(decoded / system / "1best_recog" / "text", allow_empty=True)
            rate = jiwer.wer(list(references.values()), [hypotheses[identity] for identity in references])
            assert figures["toned"] == pytest.approx(100 * rate, abs=0.01)


@pytest.mark.slow
def test_a_rerun_does_nothing_again(finished):
    options, folder, _ = finished
    weights = folder / "exp" / "mooer" / "final" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    done = run(folder, *options, "--stop_stage", 3)
    assert done.stderr.count("says that this is done already") == 5
    assert weights.stat().st_mtime_ns == before


@pytest.mark.slow
def test_the_download_is_brought_into_the_layout(tmp_path):
    repository = tmp_path / "audio-cmn"
    for word in ("天地", "人"):
        record(repository / "64k" / "hsk" / f"cmn-{word}.mp3", word)
    record(repository / "64k" / "hsk" / "cmn-天_地_.mp3", "天地")
    record(repository / "18k-abr" / "hsk" / "cmn-火.mp3", "火")
    git = ["git", "-C", repository, "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "recordings"]):
        subprocess.run([*git, *arguments], check=True)
    environment = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{repository}.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/hugolpz/audio-cmn.git",
    }
    done = run(tmp_path / "work", "--stop_stage", -1, **environment)
    assert "1 recordings are of no single word and left out: cmn-天_地_.mp3" in done.stderr
    arranged = tmp_path / "work" / "downloads" / "hsk"
    assert read_table(arranged / "words.txt") == {"hsk00000": "人", "hsk00001": "天地"}
    copied = (arranged / "mp3" / "hsk00001.mp3").read_bytes()
    assert copied == (repository / "64k" / "hsk" / "cmn-天地.mp3").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--test_dri", "x"], "unknown option --test_dri"),
        (["--conf", "moer"], "there is no conf/moer.yaml"),
        (["--data_dir", "nowhere"], "folder nowhere does not exist"),
    ],
)
def test_wrong_options_stop_the_recipe(options, message, tmp_path):
    done = run(tmp_path / "work", *options, status=2)
    assert message in done.stderr
    assert not (tmp_path / "work").exists()
