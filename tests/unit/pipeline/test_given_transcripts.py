"""The command on recordings that have transcripts: without a recogniser they are kept and translated."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from mooer.data.check import check_data_dir
from mooer.data.lists import iterate_data_list, read_table
from mooer.data.packing import PackOptions, make_shards
from mooer.data.utterance import AudioRef, Utterance
from mooer.pipeline.translation import TranslatorConfig
from mooer.pipeline.translator import open_translator

from .conftest import contents, run

# Random models write what they like.
OPEN = ("--min_characters_per_second", 0, "--min_length_ratio", 0, "--max_length_ratio", 1000)
OPEN += ("--accept_flag", "repetition", "--accept_flag", "max_new_tokens")
# Spaces and signs that a table may hold, but that a careless reader would change or take for a line end.
LINES = {
    "u0": "u0 今天星期五",
    "u1": "u1\ttab  and  spaces \t",
    "u2": "u2 an end\u2028of a\x85line",
    "u3": "u3 today, \u3000FRIDAY!",
    "u4": "u4 ...",
    "u5": "u5   school",
    "u6": "u6 去 学校",
    "u7": "u7 " + "words " * 60 + "too many",
    "u8": "u8 a\tb",
    "u9": "u9 nine",
}


@pytest.fixture(scope="module")
def spoken(noise, tmp_path_factory):
    """A data directory with transcripts, and translations that nobody asked for; the last line has no end."""
    folder = tmp_path_factory.mktemp("spoken") / "data"
    shutil.copytree(noise, folder)
    (folder / "text").write_text("\n".join(LINES[name] for name in sorted(LINES, reverse=True)), encoding="utf-8")
    (folder / "text.en").write_text("u0 an old translation\n")
    return folder


@pytest.fixture(scope="module")
def translation(translation_models):
    """Options of the translation."""
    return ("--translation_model", translation_models["t5"], "--target_language", "en", "--translation_beam_size", 1)


@pytest.fixture(scope="module")
def options(spoken, translation):
    return ("--data_dir", spoken, *translation, *OPEN, "--part_size", 3)


@pytest.fixture(scope="module")
def whole(options, tmp_path_factory):
    """The result of an uninterrupted job in one process."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    result = run(*options, "--output_dir", folder)
    assert result.exit_code == 0, result.stderr
    return folder


def make_dir(folder, noise, text, names=("u0", "u1")):
    """A data directory of some recordings of noise."""
    folder.mkdir()
    (folder / "wav.scp").write_text("".join(f"{name} {noise}/{name}.wav\n" for name in names))
    (folder / "text").write_text(text)
    return folder


def test_transcripts_are_kept_to_the_byte(whole, lines_of):
    kept = [line["id"] for line in lines_of(whole / "kept.jsonl")]
    rejected = {line["id"]: line["reasons"] for line in lines_of(whole / "rejected.jsonl")}
    assert set(kept) | set(rejected) == set(LINES)
    assert rejected["u4"] == ["empty_text"]
    assert "characters_per_second" in rejected["u7"]
    assert len(kept) >= 6
    assert (whole / "text").read_bytes() == "".join(LINES[name] + "\n" for name in sorted(kept)).encode()
    assert check_data_dir(whole).faults == []


def test_translations_are_those_of_the_model(whole, spoken, translation_models, lines_of):
    translator = open_translator(TranslatorConfig(model_dir=translation_models["t5"], target_language="en", beam_size=1))
    kept = lines_of(whole / "kept.jsonl")
    texts = read_table(spoken / "text")
    for line in kept:
        assert line["text"] == texts[line["id"]]
        (answer,) = translator.translate([line["text"]])
        assert line["translation"] == answer.text
    assert read_table(whole / "text.en") == {line["id"]: line["translation"] for line in sorted(kept, key=lambda x: x["id"])}


def test_lengths_are_known_and_what_no_recogniser_said_is_left_out(whole, noise, lines_of):
    lines = [*lines_of(whole / "kept.jsonl"), *lines_of(whole / "rejected.jsonl")]
    assert all("confidence" not in line and "flags" not in line and "second_text" not in line for line in lines)
    for line in lines:
        assert line["seconds"] == round(soundfile.info(noise / f"{line['id']}.wav").duration, 3)
    report = json.loads((whole / "report.json").read_text())
    counts = {name: summary["count"] for name, summary in report["measures"].items()}
    words = len(LINES) - 1
    assert counts["confidence"] == counts["disagreement"] == 0
    assert counts["characters_per_second"] == words
    assert report["settings"]["recognition"] is report["settings"]["second"] is None
    assert {name: stage["model"]["kind"] for name, stage in report["models"].items()} == {
        "transcripts": "given",
        "translation": "seq2seq",
    }
    assert (whole / "report.png").read_bytes().startswith(b"\x89PNG")


def test_shards_make_the_same(options, whole, tmp_path):
    for shard in (2, 0, 1):
        early = run(*options, "--output_dir", tmp_path / "out", "--merge")
        assert (early.exit_code, "parts of stage transcripts" in early.stderr) == (2, True)
        done = run(*options, "--output_dir", tmp_path / "out", "--num_shards", 3, "--shard", shard, "--batch_size", 1 + shard)
        assert done.exit_code == 0, done.stderr
    assert run(*options, "--output_dir", tmp_path / "out", "--merge").exit_code == 0
    assert contents(tmp_path / "out") == contents(whole)


def test_going_on_makes_what_is_missing_and_nothing_else(options, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "out")
    parts = tmp_path / "out" / "parts"
    for name in ("transcripts/000002.jsonl", "translation/000000.jsonl"):
        (parts / name).unlink()
    (tmp_path / "out" / "report.json").unlink()
    old = {path: path.stat().st_mtime_ns for path in parts.rglob("*.jsonl")}
    assert run(*options, "--output_dir", tmp_path / "out").exit_code == 0
    assert contents(tmp_path / "out") == contents(whole)
    assert {path: path.stat().st_mtime_ns for path in old} == old


def test_other_transcripts_and_a_recogniser_are_refused(options, whole, spoken, recognisers, tmp_path):
    before = contents(whole)
    shutil.copytree(spoken, tmp_path / "data")
    arguments = (*options, "--output_dir", whole, "--data_dir", tmp_path / "data")
    recordings = {name: spoken / path for name, path in read_table(spoken / "wav.scp").items()}
    (tmp_path / "data" / "wav.scp").write_text("".join(f"{name} {path}\n" for name, path in recordings.items()))
    assert run(*arguments).exit_code == 0  # the same utterances with the same transcripts
    text = tmp_path / "data" / "text"
    text.write_bytes(text.read_bytes().replace(b"nine", b"ten"))
    for extra, message in (((), "data.sha256"), (("--model_dir", recognisers["ctc"]), "recognition was null")):
        result = run(*arguments, *extra)
        assert (result.exit_code, message in result.stderr) == (2, True)
    assert contents(whole) == before


def test_what_lacks_transcript_or_recording_fails_by_name(translation, noise, tmp_path, lines_of):
    data = make_dir(
        tmp_path / "data", noise, "u0 school\nu2 \u3000\nstray friday\ngone friday\nshort today\n", ("u0", "u1", "u2")
    )
    soundfile.write(data / "short.wav", np.zeros(399), 16000)
    with (data / "wav.scp").open("a") as stream:
        stream.write("gone gone.wav\nshort short.wav\n")
    result = run("--data_dir", data, *translation, *OPEN, "--output_dir", tmp_path / "out")
    assert result.exit_code == 1
    assert "5 utterances failed" in result.stderr
    assert "transcripts: u1 failed (no_label)" in result.stderr
    failed = {line["id"]: line["reason"] for line in lines_of(tmp_path / "out" / "failed.jsonl")}
    assert failed == {"u1": "no_label", "u2": "empty_text", "stray": "no_audio", "gone": "missing", "short": "too_short"}
    assert (tmp_path / "out" / "text").read_text() == "u0 school\n"


def test_recordings_are_decoded_for_a_second_recogniser_alone(translation, recognisers, tmp_path, lines_of):
    data = make_dir(tmp_path / "data", tmp_path, "u0 school\n", ())
    soundfile.write(data / "u0.flac", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    whole = (data / "u0.flac").read_bytes()
    (data / "u0.flac").write_bytes(whole[: len(whole) // 4] + bytes(len(whole) - len(whole) // 4))
    (data / "wav.scp").write_text("u0 u0.flac\n")
    assert run("--data_dir", data, *translation, *OPEN, "--output_dir", tmp_path / "alone").exit_code == 0
    assert lines_of(tmp_path / "alone" / "kept.jsonl")[0]["seconds"] == 1.0
    second = ("--second_model_dir", recognisers["ctc"])
    assert run("--data_dir", data, *translation, *OPEN, *second, "--output_dir", tmp_path / "two").exit_code == 1
    (failure,) = lines_of(tmp_path / "two" / "failed.jsonl")
    assert failure["message"].startswith("second: ")


def test_a_second_recogniser_checks_the_transcripts(translation, recognisers, noise, tmp_path, lines_of):
    data = make_dir(tmp_path / "data", noise, "u0 school\nu1 school\n")
    arguments = ("--data_dir", data, *translation, *OPEN, "--max_characters_per_second", 1000)
    arguments += ("--second_model_dir", recognisers["ctc"])
    assert run(*arguments, "--max_disagreement", 1, "--output_dir", tmp_path / "first").exit_code == 0
    heard = {line["id"]: line["second_text"] for line in lines_of(tmp_path / "first" / "kept.jsonl")}
    assert heard["u1"]
    (data / "text").write_text(f"u0 school\nu1 {heard['u1']}\n")
    assert run(*arguments, "--max_disagreement", 0, "--output_dir", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "text").read_text() == f"u1 {heard['u1']}\n"
    assert lines_of(tmp_path / "out" / "kept.jsonl")[0]["disagreement"] == 0
    (rejected,) = lines_of(tmp_path / "out" / "rejected.jsonl")
    assert (rejected["id"], rejected["reasons"]) == ("u0", ["disagreement"])
    assert rejected["disagreement"] > 0


def test_a_list_keeps_its_transcripts(translation, noise, tmp_path, lines_of):
    labels = {"u0": {"text": "school ", "en": "old"}, "u1": {"en": "old"}, "u2": {"text": "two\nlines"}, "u3": {"text": " "}}
    lines = [{"id": name, "audio": f"{noise}/{name}.wav", "labels": texts} for name, texts in labels.items()]
    (tmp_path / "data.list").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = run("--data_list", tmp_path / "data.list", *translation, *OPEN, "--output_dir", tmp_path / "out")
    assert result.exit_code == 1
    failed = {line["id"]: line["reason"] for line in lines_of(tmp_path / "out" / "failed.jsonl")}
    assert failed == {"u1": "no_label", "u2": "bad_label", "u3": "empty_text"}
    (found,) = iterate_data_list(tmp_path / "out" / "data.list")
    assert found.labels == {"text": "school ", "en": lines_of(tmp_path / "out" / "kept.jsonl")[0]["translation"]}


def test_shards_of_recordings_keep_their_transcripts(translation, noise, tmp_path):
    texts = {"u1": "school", "u0": "今天星期五"}
    utterances = [Utterance(name, AudioRef(f"{noise}/{name}.wav"), labels={"text": text}) for name, text in texts.items()]
    make_shards(utterances, tmp_path / "dump", PackOptions())
    arguments = ("--data_list", tmp_path / "dump" / "data.list", *translation, *OPEN)
    result = run(*arguments, "--output_dir", tmp_path / "out")
    assert result.exit_code == 0, (tmp_path / "out" / "rejected.jsonl").read_text()
    assert (tmp_path / "out" / "text").read_text(encoding="utf-8") == "u0 今天星期五\nu1 school\n"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ((), "give --translation_model and --target_language, or a recogniser (--model_dir)"),
        (("--target_language", "en"), "give --translation_model"),
        (("--second_model_dir", "x"), "give --translation_model"),
        (("--translation_model", "x"), "--target_language"),
        (("--min_confidence", 0.5), "--min_confidence means nothing without --model_dir"),
        (("--beam_size", 2), "--beam_size means nothing without --model_dir"),
        (("--task", "mtl", "--target_language", "en"), "--task means nothing without --model_dir"),
        (("--translation_model", "x", "--target_language", "en", "--max_disagreement", 0), "without --second_model_dir"),
        (("--translation_model", "x", "--target_language", "en", "--data_dir", "BARE"), "has no transcripts"),
        (("--translation_model", "x", "--target_language", "en", "--data_dir", "nowhere"), "nowhere does not exist"),
    ],
)
def test_wrong_options(spoken, noise, tmp_path, extra, message):
    places = [noise if item == "BARE" else item for item in extra]
    result = run("--data_dir", spoken, "--output_dir", tmp_path / "out", *places)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()
