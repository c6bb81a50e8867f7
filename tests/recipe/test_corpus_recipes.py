"""The recipes of published corpora, end to end on miniature corpora in the published layouts, and their preparation alone."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch

from mooer.common.config import load_yaml
from mooer.models.weights import read_state
from mooer.train.config import RunConfig

from ..miniature_corpora import AISHELL_SIZES as SIZES
from ..miniature_corpora import build_aishell, build_librispeech

ROOT = Path(__file__).resolve().parents[2]
BUILD = {"aishell": build_aishell, "librispeech": build_librispeech}


def run_recipe(name, corpus, work_dir, *options):
    command = ["bash", ROOT / "egs" / name / "run.sh", "--data_dir", corpus, "--work_dir", work_dir]
    command += ["--num_workers", "1", "--vocab_size", "400", "--device", "cpu", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=work_dir, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done


def score(folder):
    return json.loads((folder / "score.json").read_text(encoding="utf-8"))


def read_ids(path):
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def aishell(tmp_path_factory):
    """A miniature AISHELL-1 that stages 0 to 2 have prepared, and what they said."""
    work_dir = tmp_path_factory.mktemp("aishell")
    done = run_recipe("aishell", build_aishell(work_dir), work_dir, "--conf", "mini", "--stage", "0", "--stop_stage", "2")
    return work_dir, done


@pytest.mark.slow
def test_aishell_data_is_the_corpus(aishell):
    work_dir, done = aishell
    assert "train: 12 utterances; left out: no_transcript 1" in done.stderr
    left_out = (work_dir / "data/train/failed.jsonl").read_text(encoding="utf-8")
    assert json.loads(left_out)["id"] == "BAC009S0100W0999"
    assert {name: len(read_ids(work_dir / "data" / name / "wav.scp")) for name in SIZES} == SIZES
    first = (work_dir / "data/train/text").read_text(encoding="utf-8").splitlines()[0]
    assert first == "BAC009S0100W0121 而对楼市成交抑制作用最大的限购"
    again = run_recipe("aishell", work_dir / "data_aishell", work_dir, "--conf", "mini", "--stage", "0", "--stop_stage", "2")
    assert again.stderr.count("says that this is done already") == 3


@pytest.mark.slow
def test_aishell_from_training_to_score(aishell):
    work_dir, _ = aishell
    done = run_recipe("aishell", work_dir / "data_aishell", work_dir, "--conf", "mini", "--stage", "3")
    assert "Overall -> " in done.stdout
    check_aishell_score(work_dir / "exp/mini/test/cer")


@pytest.mark.slow
@pytest.mark.parametrize("conf", ["mooer_1.5b", "mooer_80k"])
def test_released_system_from_training_to_score(aishell, golden, conf):
    """The configurations for the released system as they are, on a tiny checkpoint in the released layout."""
    work_dir, _ = aishell
    pretrained = work_dir / "pretrained_models"
    shutil.rmtree(pretrained, ignore_errors=True)
    encoder_dir = pretrained / "paraformer_encoder"
    encoder_dir.mkdir(parents=True)
    shutil.copy(golden / "am.mvn", encoder_dir)
    shutil.copy(golden / "model" / "paraformer-encoder.pth", encoder_dir)
    llm = "Qwen2-7B-Instruct" if conf == "mooer_80k" else "Qwen2-1.5B-Instruct"
    shutil.copytree(golden / "model" / "llm", pretrained / llm)
    shutil.copytree(golden / "model" / "lora_bin", pretrained / "asr" / "lora_weights")
    shutil.copy(golden / "model" / "adapter_project.pt", pretrained / "asr")
    options = ("--conf", conf, "--stage", "3", "--changes", "training.max_epochs=1 data.num_workers=1")
    run_recipe("aishell", work_dir / "data_aishell", work_dir, *options)
    exp = work_dir / "exp" / conf
    check_aishell_score(exp / "test/cer")
    before, after = (lora_state(folder) for folder in (golden / "model" / "lora_safetensors", exp / "final" / "lora"))
    if conf == "mooer_80k":
        torch.testing.assert_close(after, before, rtol=0, atol=1e-3)  # the rate has not warmed up
        assert not any(torch.equal(before[name], after[name]) for name in before)
    else:
        assert all(64 in matrix.shape for matrix in after.values())


@pytest.mark.slow
def test_aishell_conformer_from_dictionary_to_score(aishell):
    work_dir, _ = aishell
    encoder = {"output_size": 32, "attention_heads": 2, "linear_units": 48, "num_blocks": 1}
    changes = [f"model.encoder.{name}={value}" for name, value in encoder.items()]
    changes += ["model.decoder.num_blocks=1", "model.decoder.linear_units=48", "data.num_workers=0", "training.max_epochs=1"]
    options = ("--conf", "conformer", "--stage", "1", "--changes", " ".join(changes))
    done = run_recipe("aishell", work_dir / "data_aishell", work_dir, *options)
    assert "data/dev/text: " in done.stderr  # characters that the dictionary lacks
    check_aishell_score(work_dir / "exp/conformer/test/cer")


def lora_state(folder):
    return read_state(folder / "adapter_model.safetensors")


def check_aishell_score(folder):
    values = score(folder)
    assert (values["metric"], values["utterances"], values["missing"]) == ("cer", SIZES["test"], [])
    assert values["n"] == 15 + 11 + 8 + 6


@pytest.mark.parametrize("name", ["aishell", "librispeech"])
@pytest.mark.parametrize("size", ["7b", "1.5b"])
def test_configurations_are_the_released_system(name, size):
    config = load_yaml(ROOT / "egs" / name / "conf" / f"mooer_{size}.yaml", RunConfig)
    assert (config.model.lora.r, config.model.lora.alpha, config.model.lora.dropout) == (64, 16, 0.05)
    assert config.model.freeze == ["encoder"]
    assert config.model.adapter.downsample_rate == 2
    assert size.upper() in config.model.llm.path
    training = config.training
    assert (training.zero_stage, training.dtype, training.accumulation) == (2, "bfloat16", 2)
    assert (training.optimizer.learning_rate, training.schedule.warmup_steps) == (1e-4, 1000)


@pytest.mark.slow
def test_librispeech_from_corpus_to_scores(tmp_path):
    corpus = build_librispeech(tmp_path)
    parts = ("--train_parts", "train-clean-100", "--dev_parts", "dev-clean")
    done = run_recipe("librispeech", corpus, tmp_path, "--conf", "mini", "--stage", "0", *parts)
    assert done.stdout.count("Overall -> ") == 2
    assert len(read_ids(tmp_path / "data/train/text")) == SIZES["train"]
    for part in ("test-clean", "test-other"):
        values = score(tmp_path / "exp/mini" / part / "wer")
        assert (values["metric"], values["utterances"], values["missing"]) == ("wer", SIZES["test"], [])


@pytest.mark.parametrize("name", ["aishell", "librispeech"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stge", "0"], "unknown option --stge"),
        (["--stage", "zero"], "--stage takes a whole number"),
        (["--conf", "mini.yaml", "--stage", "0"], "there is no conf/mini.yaml.yaml"),
        (["--stage", "0", "--data_dir", "nowhere"], "nowhere does not exist"),
    ],
)
def test_wrong_options_stop_a_recipe(name, options, message, tmp_path):
    command = ["bash", ROOT / "egs" / name / "run.sh", "--work_dir", tmp_path, *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "data").exists()


def prepare(name, *options):
    script = ROOT / "egs" / name / "local" / f"prepare_{name}.py"
    return subprocess.run([sys.executable, script, *map(str, options)], capture_output=True, text=True, timeout=60)


def break_nothing_there(corpus):
    for path in corpus.iterdir():
        path.rename(corpus.parent / path.name)


def break_aishell_packed(corpus):
    for path in (corpus / "wav" / "dev").rglob("*.wav"):
        path.unlink()
    (corpus / "wav" / "S0724.tar.gz").touch()


def break_aishell_duplicate(corpus):
    file = corpus / "transcript" / "aishell_transcript_v0.8.txt"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join([*lines, lines[0]]), encoding="utf-8")


def break_librispeech_recording(corpus):
    next((corpus / "dev-clean").rglob("*-0001.flac")).unlink()


def break_librispeech_part(corpus):
    (corpus / "dev-clean").rename(corpus / "dev")


@pytest.mark.parametrize(
    ("name", "harm", "message"),
    [
        ("aishell", break_nothing_there, "does not hold AISHELL-1"),
        ("aishell", break_aishell_packed, "the archives of the speakers are not unpacked"),
        ("aishell", break_aishell_duplicate, "aishell_transcript_v0.8.txt:21: id 'BAC009S0100W0121' is a duplicate"),
        ("librispeech", break_nothing_there, "train-clean-100 does not exist"),
        ("librispeech", break_librispeech_recording, "-0001 has no recording"),
        ("librispeech", break_librispeech_part, "dev-clean does not exist"),
    ],
)
def test_preparation_names_what_is_wrong_with_a_corpus(name, harm, message, tmp_path):
    corpus = BUILD[name](tmp_path)
    harm(corpus)
    sets = [] if name == "aishell" else ["--set", "train=train-clean-100", "--set", "dev=dev-clean"]
    done = prepare(name, "--corpus_dir", corpus, "--output_dir", tmp_path / "out", *sets)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr


def test_librispeech_sets_are_made_of_parts(tmp_path):
    corpus = build_librispeech(tmp_path)
    options = ["--corpus_dir", corpus.parent, "--output_dir", tmp_path / "out"]
    assert prepare("librispeech", *options, "--set", "test=test-clean,test-other", "--set", "dev-clean").returncode == 0
    ids = read_ids(tmp_path / "out/test/text")
    assert ids == sorted(ids) == read_ids(tmp_path / "out/test/wav.scp")
    assert len(ids) == 2 * SIZES["test"]
    assert (tmp_path / "out/test/utt2spk").read_text(encoding="utf-8").splitlines()[0] == "104-121123-0000 104"
    assert len(read_ids(tmp_path / "out/dev-clean/text")) == SIZES["dev"]
    assert prepare("librispeech", *options, "--set", "a,b").returncode == 2


def run_script(*command):
    return subprocess.run(["bash", *map(str, command)], capture_output=True, text=True, timeout=60)


@pytest.mark.skipif(shutil.which("curl") is None, reason="downloads are made by curl, which this machine does not have")
def test_download_is_checked_and_not_repeated(tmp_path):
    source, target = tmp_path / "source", tmp_path / "deep" / "target"
    source.write_bytes(b"corpus")
    md5 = hashlib.md5(b"corpus").hexdigest()
    fetch = ROOT / "tools" / "fetch.sh"
    wrong = run_script(fetch, source.as_uri(), "0" * 32, target)
    assert wrong.returncode == 1
    assert "another MD5 sum" in wrong.stderr
    assert not target.exists()
    target.with_name("target.part").unlink()
    assert run_script(fetch, source.as_uri(), md5, target).returncode == 0
    assert target.read_bytes() == b"corpus"
    source.unlink()
    assert run_script(fetch, source.as_uri(), md5, target).returncode == 0
    gone = run_script(fetch, source.as_uri(), md5, tmp_path / "other")
    assert gone.returncode == 1
    assert "--data_dir" in gone.stderr


def test_aishell_is_unpacked_archive_in_archive(tmp_path):
    corpus = build_aishell(tmp_path / "source")
    for speaker in list((corpus / "wav").glob("*/*")):
        with tarfile.open(corpus / "wav" / f"{speaker.name}.tar.gz", "w:gz") as archive:
            archive.add(speaker, arcname=f"{speaker.parent.name}/{speaker.name}")
        shutil.rmtree(speaker)
    with tarfile.open(tmp_path / "data_aishell.tgz", "w:gz") as archive:
        archive.add(corpus, arcname="data_aishell")
    unpack = ROOT / "egs" / "aishell" / "local" / "unpack.sh"
    for _ in range(2):
        assert run_script(unpack, tmp_path / "data_aishell.tgz", tmp_path / "out").returncode == 0
    assert len(list((tmp_path / "out/data_aishell/wav").glob("*/*/*.wav"))) == sum(SIZES.values()) + 1
    assert not list((tmp_path / "out").rglob("*.tar.gz"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["data_aishell"]


def test_librispeech_parts_are_unpacked_side_by_side(tmp_path):
    corpus = build_librispeech(tmp_path / "source")
    unpack = ROOT / "egs" / "librispeech" / "local" / "unpack.sh"
    for part in ("dev-clean", "test-other", "test-other"):
        with tarfile.open(tmp_path / f"{part}.tar.gz", "w:gz") as archive:
            archive.add(corpus / part, arcname=f"LibriSpeech/{part}")
        assert run_script(unpack, tmp_path / f"{part}.tar.gz", tmp_path / "out").returncode == 0
    assert sorted(path.name for path in (tmp_path / "out/LibriSpeech").iterdir()) == ["dev-clean", "test-other"]
    assert len(list((tmp_path / "out").rglob("*.flac"))) == 2 * SIZES["dev"]
