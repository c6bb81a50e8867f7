"""egs/mini: the packaged model on unseen sentences and voices, and the whole recipe from nothing to its scores."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "egs" / "mini"
NUM_TEST = 16

# What the recipe promises, in percent and BLEU points.
MAX_ERROR_RATE = 5.0
MIN_BLEU = 80.0
MAX_MULTITASK_GAP = 3.0
# What is changed of its training: five sevenths of the steps, in batches with less padding, are enough to reach that.
LLM_STEPS = {"max_steps": 1000, "validation_interval": 1000, "checkpoint_interval": 1000, "encoder_cache": "exp/encoder_cache"}
LLM_BATCHES = {"max_batch_frames": 3000, "max_batch_tokens": 460, "num_token_buckets": 4}
# Of word times at the median, in milliseconds.
MAX_TIME_DIFFERENCE = 120.0


def run_python(script, *arguments):
    """A script of the recipe, with mooer importable."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(RECIPE / "local" / script), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Data directories of a few test utterances in each language."""
    pytest.importorskip("espeakng_loader")
    folder = tmp_path_factory.mktemp("mini_speech")
    run_python("synthesize.py", "--output_dir", folder, "--num_train", 2, "--num_test", NUM_TEST)
    return folder


@pytest.fixture(scope="module")
def waveforms(speech):
    """Ids and samples of the test utterances of both languages, and one much longer recording."""
    import torch

    from mooer.audio.io import load_audio
    from mooer.data.lists import read_table

    paths = {**read_table(speech / "test_en" / "wav.scp"), **read_table(speech / "test_zh" / "wav.scp")}
    loaded = {name: load_audio(path) for name, path in paths.items()}
    longest = torch.cat(list(itertools.islice(loaded.values(), 8)))
    return {**loaded, "long": longest}


@pytest.fixture(scope="module")
def recognize(waveforms):
    """A function from names, batch size and task to the results by name; models are opened once."""
    from mooer.decode.recognizer import DecodeConfig, Recognizer

    opened = {}

    def results(names, batch_size, task="asr", beam_size=1):
        key = (batch_size, task, beam_size)
        if key not in opened:
            config = DecodeConfig(task=task, target_language="zh", beam_size=beam_size, batch_size=batch_size, device="cpu")
            opened[key] = Recognizer.from_model_dir("mini", config)
        found = list(opened[key].recognize([(name, waveforms[name]) for name in names]))
        assert [item.id for item in found] == list(names)
        return {item.id: (item.answer.text, item.answer.translation, item.answer.tokens) for item in found}

    return results


def test_sentences_and_voices_of_the_test_sets_are_unseen(monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPE / "local"))
    synthesize = pytest.importorskip("synthesize")
    trained = [spoken for lang in ("en", "zh") for spoken in synthesize.plan("train", lang, 3000, 1)]
    tested = [spoken for lang in ("en", "zh") for spoken in synthesize.plan("test", lang, 200, 1)]
    for language in ("en", "zh"):
        assert not {s.texts[language] for s in trained} & {s.texts[language] for s in tested}
    assert not {s.voice for s in trained} & {s.voice for s in tested}
    assert len({s.texts["en"] for s in tested}) == 200


def test_translation_is_one_to_one(monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPE / "local"))
    from grammar import sentences

    pairs = set(itertools.islice(sentences(3, held_out=False), 4000))
    assert len({pair.english for pair in pairs}) == len({pair.chinese for pair in pairs}) == len(pairs)


def test_synthesis_can_be_interrupted_and_spread(speech, tmp_path):
    arguments = ("--num_train", 2, "--num_test", NUM_TEST, "--num_jobs", 1)
    run_python("synthesize.py", "--output_dir", tmp_path, *arguments)
    (tmp_path / "test_zh" / "parts" / "0000.json").unlink()
    kept = tmp_path / "test_en" / "wav"
    before = {path.name: path.stat().st_mtime_ns for path in kept.iterdir()}
    next((tmp_path / "test_zh" / "wav").iterdir()).write_bytes(b"cut off")
    run_python("synthesize.py", "--output_dir", tmp_path, *arguments)
    assert {path.name: path.stat().st_mtime_ns for path in kept.iterdir()} == before
    for name in ("train", "dev", "test_en", "test_zh"):
        assert (tmp_path / name / "ctm").read_text() == (speech / name / "ctm").read_text()
        one = {path.name: path.read_bytes() for path in (tmp_path / name / "wav").iterdir()}
        assert one == {path.name: path.read_bytes() for path in (speech / name / "wav").iterdir()}


def test_every_word_has_its_time(speech):
    """Also where speed varies, as in the training set: one after the other, up to the end of the recording."""
    from mooer.audio.info import audio_info
    from mooer.data.lists import read_table
    from mooer.score.timing import read_times

    for name in ("train", "test_en", "test_zh"):
        texts, paths, times = (
            read_table(speech / name / "text"),
            read_table(speech / name / "wav.scp"),
            read_times(speech / name / "ctm"),
        )
        assert list(times) == list(texts)
        for identity, words in times.items():
            joiner = " " if identity.startswith("en") else ""
            assert joiner.join(word.text for word in words) == texts[identity]
            assert words[0].start == 0
            assert all(abs(one.end - other.start) < 1.5 for one, other in itertools.pairwise(words))
            assert all(word.end - word.start >= 40 for word in words)
            seconds = audio_info(paths[identity]).seconds
            assert 0.75 * seconds < words[-1].end / 1000 <= seconds + 0.01


def test_packaged_model_hears_unseen_voices(speech, recognize):
    from mooer.data.lists import read_table
    from mooer.score.wer import score_error_rate

    for language, metric in (("en", "wer"), ("zh", "cer")):
        references = read_table(speech / f"test_{language}" / "text")
        hypotheses = {name: text for name, (text, _, _) in recognize(list(references), 32).items()}
        report = score_error_rate(references, hypotheses, metric)
        assert report.counts.percent <= MAX_ERROR_RATE


def test_packaged_model_translates(speech, recognize):
    from mooer.data.lists import read_table
    from mooer.score.bleu import score_bleu

    references = read_table(speech / "test_en" / "text.zh")
    for task, column in (("ast", 0), ("mtl", 1)):
        hypotheses = {name: result[column] or "" for name, result in recognize(list(references), 32, task).items()}
        assert score_bleu(references, hypotheses, "zh").score >= MIN_BLEU


def test_packaged_model_is_small():
    folder = ROOT / "mooer" / "pretrained" / "mini"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 4_000_000


@pytest.mark.parametrize(("task", "beam_size"), [("asr", 1), ("asr", 4), ("mtl", 1)])
def test_texts_do_not_depend_on_the_batch(waveforms, recognize, task, beam_size):
    names = list(waveforms)
    alone = recognize(names, 1, task, beam_size)
    for batch_size in (2, 5, 16):
        assert recognize(names, batch_size, task, beam_size) == alone
    assert recognize([names[0], "long", names[1]], 16, task, beam_size) == {
        name: alone[name] for name in (names[0], "long", names[1])
    }


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_texts_do_not_depend_on_order_or_company(waveforms, recognize, data):
    names = data.draw(st.lists(st.sampled_from(sorted(waveforms)), unique=True, min_size=1))
    batch_size = data.draw(st.sampled_from((2, 5, 16)))
    alone = recognize(sorted(waveforms), 1)
    assert recognize(names, batch_size) == {name: alone[name] for name in names}


def test_an_unknown_option_stops_the_recipe(tmp_path):
    command = ["bash", str(RECIPE / "run.sh"), "--work_dir", str(tmp_path), "--num_trian", "5"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "num_trian" in done.stderr
    assert list(tmp_path.iterdir()) == []


def write_shorter_confs(folder):
    """The recipe's training files, but for fewer steps of the LLM, for which the encoder runs in the first epoch only."""
    shutil.copytree(RECIPE / "conf", folder)
    config = yaml.safe_load((folder / "mooer.yaml").read_text())
    config["training"] |= LLM_STEPS
    config["data"] |= LLM_BATCHES
    (folder / "mooer.yaml").write_text(yaml.safe_dump(config))
    return folder


def run_recipe(folder, *options):
    """The recipe in a folder; what an earlier run left there is used."""
    options = ("--conf_dir", str(folder / "conf"), "--num_test", "100", *options)
    command = ["bash", str(RECIPE / "run.sh"), "--work_dir", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def retrained(tmp_path_factory):
    """The folder of a whole run from nothing."""
    pytest.importorskip("espeakng_loader")
    folder = tmp_path_factory.mktemp("retrained")
    write_shorter_confs(folder / "conf")
    run_recipe(folder)
    return folder


def results_of(folder, conf):
    return json.loads((folder / "exp" / conf / "decode" / "results.json").read_text())["results"]


@pytest.mark.slow
def test_the_recipe_retrained_reaches_its_scores(retrained):
    results = results_of(retrained, "mooer")
    asr, ast, mtl, silence = (results[system] for system in ("asr", "ast", "mtl", "silence"))
    for figure in ("en.wer", "zh.cer"):
        assert asr[figure] <= MAX_ERROR_RATE
        assert abs(mtl[figure] - asr[figure]) <= MAX_MULTITASK_GAP
        assert silence[figure] >= 50
    for figure in ("en-zh.bleu", "zh-en.bleu"):
        assert ast[figure] >= MIN_BLEU
        assert abs(mtl[figure] - ast[figure]) <= MAX_MULTITASK_GAP


@pytest.mark.slow
def test_a_paraformer_in_the_place_of_the_llm(retrained):
    """It goes on from the encoder that is there."""
    run_recipe(retrained, "--conf", "paraformer")
    results = results_of(retrained, "paraformer")
    assert results.keys() == {"ctc", "paraformer"}
    for figure in ("en.wer", "zh.cer"):
        assert results["paraformer"][figure] <= MAX_ERROR_RATE
    for figure in ("en.start_p50", "en.end_p50", "zh.start_p50", "zh.end_p50"):
        assert results["paraformer"][figure] <= MAX_TIME_DIFFERENCE
