"""Several data directories decoded by the packaged model: results, failures, what is not decoded again."""

import pytest
from click.testing import CliRunner
from decode_test_sets import main

from mooer.data.lists import read_table

from ...miniature_corpora import write_audio, write_text


@pytest.fixture
def speech(tmp_path):
    """A sound data directory with segments, and one with a recording that cannot be read."""
    for name in ("long", "b1", "b2"):
        write_audio(tmp_path / f"{name}.wav", 2.0)
    (tmp_path / "b2.wav").write_bytes(b"RIFF")
    write_text(tmp_path / "a" / "wav.scp", f"long {tmp_path}/long.wav")
    write_text(tmp_path / "a" / "segments", "a1 long 0 0.9", "a2 long 1 2")
    write_text(tmp_path / "b" / "wav.scp", f"b1 {tmp_path}/b1.wav", f"b2 {tmp_path}/b2.wav")
    return tmp_path


def decode(folder, *options):
    fixed = ["--output_dir", folder / "out", "--model_dir", "mini", "--device", "cpu", "--beam_size", 1]
    return CliRunner().invoke(main, [*map(str, (*fixed, *options))], catch_exceptions=False)


def test_sets_are_decoded_once(speech):
    sets = ["--set", f"one={speech}/a", "--set", f"two={speech}/b"]
    done = decode(speech, *sets)
    assert done.exit_code == 1
    assert "1 of two failed, the others are done" in done.stderr
    assert list(read_table(speech / "out/one/1best_recog/text", allow_empty=True)) == ["a1", "a2"]
    assert list(read_table(speech / "out/two/1best_recog/text", allow_empty=True)) == ["b1"]
    assert '"b2"' in (speech / "out/two/failed.jsonl").read_text(encoding="utf-8")
    before = {name: (speech / "out" / name / "run.json").stat().st_mtime_ns for name in ("one", "two")}

    write_audio(speech / "b2.wav", 1.0)
    assert decode(speech, *sets).exit_code == 0
    assert (speech / "out/one/run.json").stat().st_mtime_ns == before["one"]
    assert list(read_table(speech / "out/two/1best_recog/text", allow_empty=True)) == ["b1", "b2"]
    assert not (speech / "out/two/failed.jsonl").exists()

    assert decode(speech, *sets[:2], "--beam_size", 2).exit_code == 0
    assert (speech / "out/one/run.json").stat().st_mtime_ns > before["one"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{}/a", "must be NAME=DATA_DIR"),
        ("a/b={}/a", "must be NAME=DATA_DIR"),
        ("one={}/c", "data directory {}/c does not exist"),
        ("one={}/empty", "has no utterance that can be decoded"),
    ],
)
def test_sets_that_cannot_be_decoded_are_refused(speech, value, message):
    write_text(speech / "empty" / "wav.scp")
    done = decode(speech, "--set", value.format(speech))
    assert done.exit_code == 2
    assert message.format(speech) in done.stderr
    assert not (speech / "out").exists()
