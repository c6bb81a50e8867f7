"""egs/long_audio as a user calls it: a miniature of all its stages, and what it refuses."""

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "egs" / "long_audio"


def run(*arguments):
    return subprocess.run(["bash", str(RECIPE / "run.sh"), *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("options", [("--num_sentence", "5"), ("--asr_dir", "nowhere"), ("--minutes", "many")])
def test_wrong_options_stop_the_recipe(tmp_path, options):
    done = run("--work_dir", tmp_path / "work", *options)
    assert done.returncode == 2
    assert options[0].strip("-") in done.stderr or options[1] in done.stderr
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_a_miniature_from_nothing_to_its_table(tmp_path):
    """Far too little to learn more than a bit: every stage does its part, and a second call does nothing again."""
    pytest.importorskip("espeakng_loader")
    small = ["--num_sentences", 40, "--num_joined", 40, "--num_paragraphs", 200, "--num_conversations", 1, "--minutes", 1]
    options = [*small, "--num_processes", 1, "--changes", "training.max_steps=60 training.schedule.warmup_steps=10"]
    done = run("--work_dir", tmp_path, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "exp" / "transcribed" / "results.json").read_text())["results"]
    assert results["en"]["missed"] < 30 and results["zh"]["missed"] < 30
    assert results["text.en"]["marks"] > 15
    assert results["en"]["error_rate"] > 0
    again = run("--work_dir", tmp_path, *options, "--stop_stage", 3)
    assert again.returncode == 0 and again.stderr.count("done already") == 8
