"""mooer-score from the outside: JSON, files, and wrong input."""

import json

import pytest
from click.testing import CliRunner

from mooer.cli.score import main


@pytest.fixture
def files(tmp_path):
    (tmp_path / "ref").write_text("a 今天很好\nb hello world\nc 没有\n", encoding="utf-8")
    (tmp_path / "hyp").write_text("a 今天好\nb HELLO WORD\nz x\n", encoding="utf-8")
    return tmp_path


def run(files, *options, hyp="hyp"):
    return CliRunner().invoke(main, ["--ref", str(files / "ref"), "--hyp", str(files / hyp), *options])


def test_json_is_one_object_on_stdout(files):
    values = json.loads(run(files, "--metric", "mer", "--json").stdout)
    expected = {"metric": "mer", "n": 8, "correct": 4, "substitutions": 1, "deletions": 3, "insertions": 0}
    assert values.items() >= expected.items()
    assert values["percent"] == 50.0
    assert values["missing"] == ["c"]
    assert values["extra"] == ["z"]


def test_report_and_files(files):
    result = run(files, "--metric", "cer", "--output_dir", str(files / "out"))
    assert result.exit_code == 0
    assert "WORLD -> WORD" in result.stdout
    assert (files / "out" / "report.txt").read_text(encoding="utf-8") == result.stdout
    assert (files / "out" / "alignments.txt").read_text(encoding="utf-8").count("utt: ") == 3
    score = json.loads((files / "out" / "score.json").read_text(encoding="utf-8"))
    assert score["deletions"] == 3
    assert score["run"]["versions"]["mooer"]


def test_top_0_is_the_summary_alone(files):
    assert "substitutions (" not in run(files, "--metric", "cer", "--top", "0").stdout
    assert "Overall -> " in run(files, "--metric", "cer", "--top", "0").stdout


def test_bleu_and_a_second_system(files):
    values = json.loads(run(files, "--metric", "bleu", "--target-language", "zh", "--json").stdout)
    assert "tok:zh" in values["signature"]
    result = run(files, "--metric", "cer", "--compare", str(files / "ref"))
    assert "compare: 0.00 - 50.00 = -50.00" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metric", "cer", "--normalizer", "compute_wer"], "allowed: compute-wer"),
        (["--metric", "ter"], "ter"),
        (["--metric", "cer", "--normaliser", "none"], "normalizer"),
        (["--metric", "cer", "--compare", "nowhere"], "nowhere does not exist"),
        (["--metric", "bleu", "--compare", "hyp"], "--compare works on error rates"),
    ],
)
def test_wrong_options_exit_with_2_and_write_nothing(files, options, message):
    result = run(files, *options, "--output_dir", str(files / "out"))
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (files / "out").exists()


def test_faulty_files_exit_with_2(files):
    (files / "twice").write_text("a x\na y\n", encoding="utf-8")
    result = run(files, "--metric", "cer", hyp="twice")
    assert result.exit_code == 2
    assert "twice:2" in result.stderr
    assert run(files, "--metric", "cer", hyp="absent").exit_code == 2
