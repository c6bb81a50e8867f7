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
        (["--metric", "cer", "--collar", "0.5"], "--collar belongs to der"),
        (["--metric", "cer", "--skip_overlap"], "--skip_overlap belongs to der"),
        (["--metric", "der", "--normalizer", "none"], "--normalizer belongs to cer, wer, mer, bleu"),
        (["--metric", "eer", "--compare", "hyp"], "--compare belongs to cer, wer, mer"),
        (["--metric", "der", "--collar", "-1"], "-1"),
        (["--metric", "der"], "ref:1"),
        (["--metric", "eer"], "ref:1"),
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


@pytest.fixture
def speakers(tmp_path):
    line = "SPEAKER {} 1 {} {} <NA> <NA> {} <NA> <NA>\n"
    reference = line.format("a", 0, 4, "A") + line.format("a", 4, 6, "B") + line.format("b", 0, 2, "A")
    (tmp_path / "ref").write_text(reference)
    (tmp_path / "hyp").write_text(line.format("a", 0, 10, "spk0") + line.format("z", 0, 1, "spk0"))
    return tmp_path


def test_der_as_json(speakers):
    values = json.loads(run(speakers, "--metric", "der", "--json").stdout)
    expected = {"metric": "der", "speech": 10.5, "missed": 1.5, "false_alarm": 0.0, "confusion": 3.5, "percent": 47.619}
    assert values.items() >= expected.items()
    assert values["recordings"]["a"]["mapping"] == {"B": "spk0"}
    assert (values["missing"], values["extra"]) == (["b"], ["z"])


def test_der_report_and_its_options(speakers):
    result = run(speakers, "--metric", "der", "--collar", "0", "--skip_overlap", "--output_dir", str(speakers / "out"))
    assert "Overall -> 50.00 % of 12.000 s: missed 2.000 s, false alarm 0.000 s, confusion 4.000 s" in result.stdout
    assert "missing: 1 references without a hypothesis, counted as all missed: b" in result.stdout
    assert "extra: 1 hypotheses without a reference, not counted: z" in result.stdout
    assert "a -> 40.00 % of 10.000 s" in result.stdout
    assert "collar:0s-each-side|overlap:skipped" in result.stdout
    assert (speakers / "out" / "report.txt").read_text(encoding="utf-8") == result.stdout
    assert not (speakers / "out" / "alignments.txt").exists()
    assert "worst recordings" not in run(speakers, "--metric", "der", "--top", "0").stdout


def test_eer(tmp_path):
    (tmp_path / "ref").write_text("a b target\nc d target\na c nontarget\na d nontarget\n")
    (tmp_path / "hyp").write_text("a b 0.9\nc d 0.3\na c 0.4\nb d 0.5\n")
    values = json.loads(run(tmp_path, "--metric", "eer", "--json").stdout)
    assert values.items() >= {"metric": "eer", "n": 4, "missing": ["a d"], "extra": ["b d"], "percent": 50.0}.items()
    assert "EER 50.00 % over 2 target and 2 nontarget trials" in run(tmp_path, "--metric", "eer").stdout


def test_marks_and_speech_are_scored_too(tmp_path):
    (tmp_path / "ref").write_text("a yes, no.\n", encoding="utf-8")
    (tmp_path / "hyp").write_text("a yes no.\n", encoding="utf-8")
    values = json.loads(run(tmp_path, "--metric", "punctuation", "--json").stdout)
    assert (values["right"], values["missed"], values["precision"]) == (1, 1, 100.0)
    (tmp_path / "ref").write_text("a 0.000-1.000\nb -\n")
    (tmp_path / "hyp").write_text("a 0.200-1.000 2.000-2.300\n")
    values = json.loads(run(tmp_path, "--metric", "vad", "--json").stdout)
    assert (values["metric"], values["percent"], values["missing"]) == ("vad", 50.0, ["b"])
    collared = json.loads(run(tmp_path, "--metric", "vad", "--collar", "0.3", "--json").stdout)
    assert (collared["missed"], collared["false_alarm"]) == (0.0, 0.3)
    assert run(tmp_path, "--metric", "punctuation", "--collar", "0.3").exit_code == 2
