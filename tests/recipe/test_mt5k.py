"""egs/mt5k from corpora to its table of results, on miniature corpora: stages, what is left out, reruns, wrong use."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mooer.data.lists import read_data_list, read_table
from mooer.score.wer import score_error_rate

from .. import miniature_corpora

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "egs" / "mt5k"
sys.path.append(str(RECIPE / "local"))

from results_table import GROUPS, read_scores  # noqa: E402

NUM_OWN = 6
MAX_ERROR_RATE = 5.0
MULTI_CN = ("aishell", "aidatatang", "magicdata", "primewords", "stcmds", "thchs30")
LIBRISPEECH_PARTS = ("train-clean-100", "train-clean-360", "train-other-500", "dev-clean", "test-clean", "test-other")
# Utterances to train on; LOST is the id of one more.
SIZES = {"aishell2": 3, "librispeech": 6, "multi_cn": 12 + 2 + 3 + 2 + 1 + 2, "wenetspeech": 2, "own": NUM_OWN}
LOST = "20170001P00002I0119"
TEMPLATE = "{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}"


def speak(folder):
    """A data directory of a few Mandarin test sentences, with their transcripts."""
    pytest.importorskip("espeakng_loader")
    script = ROOT / "egs" / "mini" / "local" / "synthesize.py"
    sizes = ("--num_train", "1", "--num_test", str(NUM_OWN), "--num_jobs", "1")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, script, "--output_dir", folder, *sizes], env=environment, capture_output=True, check=True)
    return folder / "test_zh"


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """All corpora of the recipe; one has lost a recording, which is beside them, and own has speech without transcripts."""
    folder = tmp_path_factory.mktemp("corpora")
    for name in (*MULTI_CN, "aishell2", "wenetspeech", "gigaspeech", "ccmt2019"):
        getattr(miniature_corpora, f"build_{name}")(folder / name)
    miniature_corpora.build_librispeech(folder / "librispeech", dict.fromkeys(LIBRISPEECH_PARTS, 2))
    miniature_corpora.build_fleurs(folder / "fleurs_zh")
    miniature_corpora.build_fleurs(folder / "fleurs_en", miniature_corpora.FLEURS_ENGLISH)
    for version in (1, 2):
        miniature_corpora.build_covost(folder / f"covost{version}", version)
    (folder / "own").mkdir()
    shutil.copy(speak(folder / "spoken") / "wav.scp", folder / "own")
    next(folder.rglob(f"{LOST}.wav")).rename(folder / "lost.wav")
    return folder


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    """A small random LLM that answers something to everything."""
    from mooer.common.torchaudio_compat import ensure_torchaudio

    ensure_torchaudio()
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from mooer.text.tokenizer import build_bpe_tokenizer

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("translator")
    tokenizer = build_bpe_tokenizer(["today is friday"], 300, [])
    tokenizer.chat_template = TEMPLATE
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=1, **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def options(corpora, translator):
    """The recipe's options for all stages."""
    bounds = "--max_characters_per_second inf --min_length_ratio 0 --max_length_ratio inf"
    flags = "--accept_flag max_new_tokens --accept_flag repetition"
    return [
        *("--corpora_dir", corpora, "--mixture", "mixture_mini", "--conf", "mini", "--vocab_size", 400),
        *("--label_model", "mini", "--label_options", "--beam_size 1"),
        *("--translation_model", translator, "--translation_options", f"--translation_beam_size 1 {bounds} {flags}"),
        *("--translated", "wenetspeech", "--num_workers", 1, "--beam_size", 1, "--device", "cpu"),
    ]


def run(work_dir, *options, status=0):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = ["bash", RECIPE / "run.sh", "--work_dir", work_dir, *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=work_dir.parent, timeout=600)
    assert done.returncode == status, done.stdout[-2000:] + done.stderr[-4000:]
    return done


@pytest.fixture(scope="module")
def finished(options, tmp_path_factory):
    """The folder in which all stages are done, and what they said: stage 0, which left something out, and the others."""
    work_dir = tmp_path_factory.mktemp("mt5k") / "work"
    prepared = run(work_dir, *options, "--stop_stage", 0, status=1)
    return work_dir, prepared, run(work_dir, *options, "--stage", 1)


@pytest.mark.slow
def test_what_a_corpus_lacks_is_named_and_the_others_are_prepared(finished):
    work_dir, prepared, _ = finished
    assert "1 left out (missing_audio 1), the rest is written" in prepared.stderr
    assert "of stcmds/train something was left out, see above; if you agree, go on with --stage 1" in prepared.stderr
    assert LOST in (work_dir / "data/stcmds/train/failed.jsonl").read_text(encoding="utf-8")
    assert (work_dir / "data/thchs30/.train.prepared").is_file()
    assert (work_dir / "data/wenetspeech/.train_l.prepared").is_file()
    assert not (work_dir / "data/stcmds/.train.prepared").exists()


@pytest.mark.slow
def test_own_recordings_are_labelled_truthfully(finished, corpora):
    work_dir, _, _ = finished
    references = read_table(corpora / "spoken" / "test_zh" / "text")
    labels = read_table(work_dir / "data/own/train.labelled/text")
    assert labels.keys() == references.keys()
    assert score_error_rate(references, labels, "cer").counts.percent <= MAX_ERROR_RATE
    assert read_table(work_dir / "data/own/train.labelled/text.en").keys() == labels.keys()


@pytest.mark.slow
def test_transcripts_of_a_corpus_are_kept_and_translated(finished):
    work_dir, _, _ = finished
    given, labelled = work_dir / "data/wenetspeech/train_l", work_dir / "data/wenetspeech/train_l.labelled"
    assert (labelled / "text").read_bytes() == (given / "text").read_bytes()
    assert read_table(labelled / "text.en").keys() == read_table(given / "text").keys()


@pytest.mark.slow
def test_lists_have_all_sets_of_a_corpus(finished):
    work_dir, _, _ = finished
    lists = {name: read_data_list(work_dir / "dump" / name / "data.list") for name in (*SIZES, "dev")}
    assert {name: len(found) for name, found in lists.items()} == SIZES | {"dev": 3 + 2}
    kinds = {name: set().union(*(item.labels for item in found)) for name, found in lists.items()}
    assert kinds == {name: {"text", "en"} if name in ("wenetspeech", "own") else {"text"} for name in lists}
    joined = {item.id for item in lists["multi_cn"]}
    assert joined == set().union(*(read_table(work_dir / "data" / name / "train" / "text") for name in MULTI_CN))


@pytest.mark.slow
def test_the_mixture_is_told(finished):
    _, _, done = finished
    rows = [line.split() for line in done.stderr.splitlines()]
    told = {row[0]: (int(row[3]), float(row[4])) for row in rows if len(row) == 7 and row[0] in SIZES}
    weights = {"librispeech": 0.5, "own": 2.0}
    assert told == {name: (size, weights.get(name, 1.0)) for name, size in SIZES.items()}


@pytest.mark.slow
def test_every_test_set_has_its_score_in_the_table(finished):
    work_dir, _, done = finished
    results = work_dir / "exp/mini/results"
    scores = read_scores(results)
    assert set(scores) == {test_set for group in GROUPS for test_set in group.test_sets}
    assert all(score.missing == 0 for score in scores.values())
    assert (results / "table.md").read_text(encoding="utf-8") == done.stdout
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines() if line.startswith("|")]
    column = {name: cells[-1] for _, name, *cells in rows}
    assert column["test set"] == "mini"
    averages = [cells[-1] for cells in rows if cells[1] == "**average**"]
    for group, average in zip(GROUPS, averages, strict=True):
        values = [scores[test_set].value for test_set in group.test_sets]
        assert [column[test_set] for test_set in group.test_sets] == [f"{value:.{group.digits}f}" for value in values]
        assert average == f"**{sum(values) / len(values):.{group.digits}f}**"


@pytest.mark.slow
def test_a_rerun_prepares_and_packs_only_what_has_changed(finished, options, corpora, tmp_path):
    work_dir = shutil.copytree(finished[0], tmp_path / "work", symlinks=True)
    written = [*work_dir.rglob("*.tar"), *work_dir.rglob("report.json"), *work_dir.rglob("wav.scp")]
    before = {path: path.stat().st_mtime_ns for path in written if "stcmds" not in path.parts}
    assert len(before) > 40
    recording = next(corpora.rglob(f"{LOST}.txt")).with_suffix(".wav")
    shutil.copy(corpora / "lost.wav", recording)
    done = run(work_dir, *options, "--stop_stage", 2)
    recording.unlink()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert done.stderr.count("says that this is done already") == 26 + 2 + 1 + 11
    assert not (work_dir / "data/stcmds/train/failed.jsonl").exists()
    lists = read_data_list(work_dir / "dump/multi_cn/data.list")
    assert len(lists) == SIZES["multi_cn"] + 1


@pytest.mark.slow
def test_transcript_and_translation_at_once(finished, options, tmp_path):
    work_dir = tmp_path / "work"
    shutil.copytree(finished[0] / "data", work_dir / "data", symlinks=True)
    shutil.copytree(ROOT / "mooer" / "pretrained" / "mini", work_dir / "exp/mini/final")
    done = run(work_dir, *options, "--stage", 4, "--translation_task", "mtl", "--test_sets", "ccmt2019 thchs30")
    results = work_dir / "exp/mini/results"
    assert (results / "ccmt2019/1best_recog/text.ast").is_file()
    assert not (results / "thchs30/1best_recog/text.ast").exists()
    assert set(read_scores(results)) == {"ccmt2019", "thchs30"}
    assert "- mini: no result for aishell1, " in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--test_sets", "aishell1 aishel2"], "aishel2 is no test set"),
        (["--dev_sets", "aishell2"], "--dev_sets takes CORPUS/SET, found 'aishell2'"),
        (["--corpora_dir", "nowhere"], "folder nowhere does not exist"),
        (["--conf", "moer_7b"], "there is no conf/moer_7b.yaml"),
        (["--mixture", "all"], "there is no conf/all.yaml"),
        (["--mixture", "mini"], "conf/mini.yaml has no list dump/CORPUS/data.list"),
        (["--translated", "aishel2"], "aishel2 is no corpus to train on"),
        (["--translation_model", "nowhere"], "folder nowhere does not exist"),
        (["--translation_task", "asr"], "--translation_task takes ast or mtl, found 'asr'"),
        (["--label_options", "--beam_size 1"], "mean nothing without --label_model"),
        (["--translation_options", "--source_language zh"], "means nothing without --translation_model"),
        (["--stag", "1"], "unknown option --stag"),
    ],
)
def test_wrong_use_is_refused(options, message, tmp_path):
    (tmp_path / "corpora").mkdir()
    done = run(tmp_path / "work", *options, status=2)
    assert message in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["corpora"]


def test_missing_corpora_and_labels_are_refused(tmp_path):
    names = (*MULTI_CN, "aishell2", "librispeech", "wenetspeech", "own", "gigaspeech", "fleurs_zh", "fleurs_en", "covost1")
    for name in (*names, "covost2", "ccmt2019"):
        (tmp_path / "corpora" / name).mkdir(parents=True)
    assert "corpora/own has no text; name a recogniser" in run(tmp_path / "work", status=2).stderr
    (tmp_path / "corpora" / "wenetspeech").rmdir()
    assert "folder corpora/wenetspeech does not exist" in run(tmp_path / "work", status=2).stderr
    assert not (tmp_path / "work").exists()
