"""The command on recordings of noise, with small random models."""

import json
import math
import shutil

import pytest

from mooer.data.check import check_data_dir
from mooer.data.lists import read_table

from .conftest import contents, run

# Random models are sure of nothing.
OPEN = ("--min_confidence", 0, "--max_characters_per_second", 1000, "--min_characters_per_second", 0)
OPEN += ("--accept_flag", "repetition", "--accept_flag", "max_new_tokens")


@pytest.fixture(scope="module")
def options(recognisers, translation_models, noise):
    """Options of a job with all stages."""
    models = ("--model_dir", recognisers["ctc"], "--second_model_dir", recognisers["llm"], "--second_beam_size", 1)
    translation = ("--translation_model", translation_models["t5"], "--target_language", "en", "--translation_beam_size", 1)
    wide = ("--max_disagreement", 1, "--min_length_ratio", 0, "--max_length_ratio", 1000)
    return ("--data_dir", noise, *models, *translation, *OPEN, *wide, "--part_size", 2)


@pytest.fixture(scope="module")
def whole(options, tmp_path_factory):
    """The result of an uninterrupted job in one process."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    result = run(*options, "--output_dir", folder)
    assert result.exit_code == 0, result.stderr
    return folder


def test_the_result_is_a_data_directory(whole, lines_of):
    assert check_data_dir(whole).faults == []
    kept, rejected = lines_of(whole / "kept.jsonl"), lines_of(whole / "rejected.jsonl")
    assert {line["id"] for line in [*kept, *rejected]} == {f"u{index}" for index in range(10)}
    assert kept
    for name, key in (("text", "text"), ("text.en", "translation")):
        table = read_table(whole / name)
        assert table == {line["id"]: line[key] for line in kept}
        assert list(table) == sorted(table)
    assert list(read_table(whole / "utt2spk")) == list(read_table(whole / "wav.scp")) == sorted(line["id"] for line in kept)
    assert not (whole / "failed.jsonl").exists()
    assert all(line["reasons"] for line in rejected)


def test_the_report_adds_up(whole, lines_of):
    report = json.loads((whole / "report.json").read_text())
    kept, rejected = lines_of(whole / "kept.jsonl"), lines_of(whole / "rejected.jsonl")
    assert report["utterances"] == {"kept": len(kept), "rejected": len(rejected), "failed": 0}
    assert report["hours"]["kept"] == pytest.approx(sum(line["seconds"] for line in kept) / 3600, abs=1e-6)
    assert sum(report["rejected_by_reason"].values()) == sum(len(line["reasons"]) for line in rejected)
    for name, summary in report["measures"].items():
        values = [line[name] for line in [*kept, *rejected] if name in line]
        assert (summary["count"], summary["max"]) == (len(values), max(values))
        assert summary["mean"] == pytest.approx(math.fsum(values) / len(values), abs=1e-5)
    assert report["normalizer"] == {"name": "mooer-v1", "version": 1}
    assert list(report["models"]) == ["recognition", "second", "translation"]
    assert [stage["model"].get("kind", stage["model"].get("family")) for stage in report["models"].values()] == [
        "ctc",
        "speech_llm",
        "seq2seq",
    ]
    for stage in report["models"].values():
        assert all(len(checksum) == 64 for checksum in stage["model"]["weights_sha256"].values())
    assert report["settings"]["recognition"]["dtype"] == "float32"
    assert (whole / "report.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("num_shards", [3, 7])
def test_shards_make_the_same(options, whole, tmp_path, num_shards):
    shards = [("--num_shards", num_shards, "--shard", shard) for shard in range(num_shards)]
    for number, shard in enumerate(reversed(shards)):
        early = run(*options, "--output_dir", tmp_path / "out", "--merge")
        assert early.exit_code == 2
        assert "parts of stage recognition are not there yet" in early.stderr
        assert not (tmp_path / "out" / "text").exists()
        assert run(*options, "--output_dir", tmp_path / "out", *shard, "--batch_size", 1 + number).exit_code == 0
    assert run(*options, "--output_dir", tmp_path / "out", "--merge").exit_code == 0
    assert contents(tmp_path / "out") == contents(whole)


def test_going_on_makes_what_is_missing_and_nothing_else(options, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "out")
    parts = tmp_path / "out" / "parts"
    missing = [
        parts / "recognition" / "000003.jsonl",
        parts / "second" / "000001.jsonl",
        parts / "translation" / "000004.jsonl",
    ]
    for path in missing:
        path.unlink()
    (parts / "recognition" / ".000003.jsonl.x.tmp").write_text("cut o")
    for name in ("report.json", "text", "kept.jsonl"):
        (tmp_path / "out" / name).unlink()
    old = {path: path.stat().st_mtime_ns for path in parts.rglob("*.jsonl")}
    assert run(*options, "--output_dir", tmp_path / "out").exit_code == 0
    assert contents(tmp_path / "out") == contents(whole)
    assert {path: path.stat().st_mtime_ns for path in old} == old


def test_judging_again_needs_no_model(options, whole, tmp_path, lines_of):
    shutil.copytree(whole, tmp_path / "out")
    values = sorted(line["confidence"] for line in lines_of(whole / "kept.jsonl"))
    bound = values[len(values) // 2]
    result = run(*options, "--output_dir", tmp_path / "out", "--merge", "--min_confidence", bound)
    assert result.exit_code == 0, result.stderr
    kept, rejected = lines_of(tmp_path / "out" / "kept.jsonl"), lines_of(tmp_path / "out" / "rejected.jsonl")
    assert [line["confidence"] for line in kept] == [
        line["confidence"] for line in lines_of(whole / "kept.jsonl") if line["confidence"] >= bound
    ]
    assert sum("low_confidence" in line["reasons"] for line in rejected) == sum(value < bound for value in values)
    assert check_data_dir(tmp_path / "out").faults == []
    assert run(*options, "--output_dir", tmp_path / "out", "--merge").exit_code == 0
    assert contents(tmp_path / "out") == contents(whole)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("--part_size", 3), "part_size was 2, is 3"),
        (("--dtype", "bfloat16"), "recognition.dtype"),
        (("--translation_beam_size", 2), "translation.beam_size was 1, is 2"),
        (("--second_beam_size", 3), "second.beam_size was 1, is 3"),
        (("--target_language", "zh"), "translation.target_language"),
    ],
)
def test_other_settings_are_refused(options, whole, tmp_path, extra, message):
    before = contents(whole)
    result = run(*options, "--output_dir", whole, *extra)
    assert result.exit_code == 2
    assert message in result.stderr
    assert contents(whole) == before


def test_other_data_and_other_weights_are_refused(options, whole, noise, recognisers, tmp_path):
    shutil.copytree(noise, tmp_path / "data")
    result = run(*options, "--output_dir", whole, "--data_dir", tmp_path / "data")
    assert result.exit_code == 2
    assert "data.sha256" in result.stderr
    shutil.copytree(whole, tmp_path / "out")
    record = tmp_path / "out" / "parts" / "recognition" / "model.json"
    record.write_text(record.read_text().replace('safetensors": "', 'safetensors": "0'))
    result = run(*options, "--output_dir", tmp_path / "out")
    assert result.exit_code == 2
    assert "results of another model: weights_sha256" in result.stderr


def test_failures_are_named_and_leave_the_others_alone(options, whole, noise, tmp_path, lines_of):
    data = tmp_path / "data"
    data.mkdir()
    table = {name: str(noise / path) for name, path in read_table(noise / "wav.scp").items()}
    (data / "short.wav").write_bytes((noise / "u3.wav").read_bytes()[: 44 + 600])
    table |= {"a_gone": "gone.wav", "b_command": "sox x.wav - |", "c_cut": "short.wav"}
    (data / "wav.scp").write_text("".join(f"{name} {path}\n" for name, path in table.items()))
    result = run(*options, "--output_dir", tmp_path / "out", "--data_dir", data)
    assert result.exit_code == 1
    failed = {line["id"]: line["reason"] for line in lines_of(tmp_path / "out" / "failed.jsonl")}
    assert failed == {"a_gone": "missing", "b_command": "unsupported", "c_cut": "truncated"}
    assert "3 utterances failed" in result.stderr
    assert {line["id"]: line for line in lines_of(tmp_path / "out" / "kept.jsonl")} == {
        line["id"]: line for line in lines_of(whole / "kept.jsonl")
    }
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["failed_by_reason"] == dict.fromkeys(("missing", "unsupported", "truncated"), 1)
    named = [record for record in lines_of(tmp_path / "out" / "parts" / "second" / "000005.jsonl")[1:] if record is not None]
    assert named == []  # what the first recogniser could not read is not given to the second


def test_failures_are_named_on_stderr_by_every_kind_of_run(recognisers, noise, tmp_path):
    (tmp_path / "wav.scp").write_text(f"gone gone.wav\nu3 {noise}/u3.wav\n")
    options = ("--data_dir", tmp_path, "--model_dir", recognisers["ctc"], *OPEN, "--output_dir", tmp_path / "out")
    for extra in (("--num_shards", 2, "--shard", 0), ("--num_shards", 2, "--shard", 0), ("--merge",), ()):
        result = run(*options, *extra)
        assert (result.exit_code, result.stderr.count("gone failed (missing)")) == (1, 1)


def test_nothing_kept_is_no_success(recognisers, noise, tmp_path, lines_of):
    options = ("--data_dir", noise, "--model_dir", recognisers["ctc"], "--min_confidence", 1)
    result = run(*options, "--output_dir", tmp_path / "out")
    assert result.exit_code == 1
    assert "nothing was kept" in result.stderr
    assert len(lines_of(tmp_path / "out" / "rejected.jsonl")) == 10


def test_a_recogniser_that_translates(recognisers, noise, tmp_path, lines_of):
    options = ("--data_dir", noise, "--model_dir", recognisers["llm"], "--task", "mtl", "--target_language", "zh")
    result = run(*options, *OPEN, "--beam_size", 1, "--output_dir", tmp_path / "out")
    assert result.exit_code == 1  # a random model does not write two lines
    rejected = lines_of(tmp_path / "out" / "rejected.jsonl")
    assert all("empty_translation" in line["reasons"] or "empty_text" in line["reasons"] for line in rejected)
    instruction = json.loads((tmp_path / "out" / "report.json").read_text())["models"]["recognition"]["model"]["instruction"]
    assert instruction == "Transcribe and translate speech to chinese text. "


def test_a_folder_of_somebody_else_is_left_alone(recognisers, noise, tmp_path):
    shutil.copytree(noise, tmp_path / "data")
    before = (tmp_path / "data" / "wav.scp").read_text()
    options = ("--data_dir", tmp_path / "data", "--model_dir", recognisers["ctc"], *OPEN)
    result = run(*options, "--output_dir", tmp_path / "data")
    assert result.exit_code == 2
    assert "wav.scp, utt2spk that are not of this command" in result.stderr
    assert (tmp_path / "data" / "wav.scp").read_text() == before
    assert not (tmp_path / "data" / "parts").exists()
    result = run(*options, "--output_dir", tmp_path / "data" / "u3.wav")
    assert (result.exit_code, "not a folder" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ((), "exactly one"),
        (("--data_dir", "NOISE", "--data_list", "x"), "exactly one"),
        (("--data_dir", "nowhere"), "nowhere"),
        (("--data_dir", "NOISE", "--max_disagreement", 0.2), "--second_model_dir"),
        (("--data_dir", "NOISE", "--second_beam_size", 2), "--second_model_dir"),
        (("--data_dir", "NOISE", "--translation_beam_size", 2), "--translation_model"),
        (("--data_dir", "NOISE", "--source_language", "zh"), "--translation_model"),
        (("--data_dir", "NOISE", "--target_language", "zh"), "--target_language"),
        (("--data_dir", "NOISE", "--task", "mtl"), "--target_language"),
        (("--data_dir", "NOISE", "--max_length_ratio", 3), "--max_length_ratio"),
        (("--data_dir", "NOISE", "--translation_model", "x", "--task", "mtl", "--target_language", "en"), "excludes"),
        (("--data_dir", "NOISE", "--shard", 0), "--num_shards"),
        (("--data_dir", "NOISE", "--num_shards", 2, "--shard", 2), "shard 2 of 2"),
        (("--data_dir", "NOISE", "--num_shards", 2, "--shard", 1, "--merge"), "--merge"),
        (("--data_dir", "NOISE", "--min_confidence", 1.5), "min_confidence"),
        (("--data_dir", "NOISE", "--normalizer", "nice"), "nice"),
        (("--data_dir", "NOISE", "--beam_size", 2), "family ctc"),
        (("--data_dir", "NOISE", "--translation_model", "nowhere", "--target_language", "en"), "nowhere"),
    ],
)
def test_wrong_options(recognisers, noise, tmp_path, extra, message):
    places = [noise if item == "NOISE" else item for item in extra]
    result = run("--model_dir", recognisers["ctc"], "--output_dir", tmp_path / "out", *places)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_without_matplotlib_nothing_is_begun(recognisers, noise, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    result = run("--data_dir", noise, "--model_dir", recognisers["ctc"], "--output_dir", tmp_path / "out")
    assert result.exit_code == 2
    assert "mooer[report]" in result.stderr
    assert not (tmp_path / "out").exists()
