"""Lists and shards from the command line: nothing lost in silence, the same bytes each time."""

import json
import tarfile

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from mooer.audio.io import load_audio
from mooer.cli.make_list import main
from mooer.data.lists import read_data_list
from mooer.data.packing import encode_audio
from mooer.data.reader import AudioReader

from .conftest import SECONDS, write_data_dir


def make(data, output, *options):
    arguments = ["--data_dir", str(data), "--output_dir", str(output), *options]
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.suffix != ".index"}


@pytest.mark.parametrize("options", [(), ("--format", "raw"), ("--audio_format", "flac"), ("--format", "raw", "--resample")])
def test_same_bytes_with_any_number_of_workers_and_again(data_dir, tmp_path, options):
    done = [
        make(data_dir, tmp_path / name, "--num_utts_per_shard", "4", "--num_workers", workers, *options)
        for name, workers in (("a", "1"), ("b", "3"), ("a", "2"))
    ]
    assert [run.exit_code for run in done] == [0, 0, 0], done[0].output
    assert content(tmp_path / "a") == content(tmp_path / "b")
    utterances = read_data_list(tmp_path / "a" / "data.list")
    assert [item.id for item in utterances] == [f"utt{number:02d}" for number in range(len(SECONDS))]
    assert [item.num_samples for item in utterances] == [int(length * 16000) for length in SECONDS]
    assert utterances[1].labels == {"text": "词 1", "en": "word 1"}
    assert utterances[2].labels == {"text": "词 2"}


def test_fewer_shards_than_before(data_dir, tmp_path):
    make(data_dir, tmp_path / "out", "--num_utts_per_shard", "2")
    read_data_list(tmp_path / "out" / "data.list")  # leaves index files
    (tmp_path / "out" / "mine.tar").write_bytes(b"not ours")
    make(data_dir, tmp_path / "out", "--num_utts_per_shard", "8")
    kept = sorted(path.name for path in (tmp_path / "out").glob("*.tar"))
    assert kept == ["mine.tar", "shards_000000000.tar", "shards_000000001.tar"]
    assert len(read_data_list(tmp_path / "out" / "data.list")) == len(SECONDS)


def test_lists_can_be_moved(data_dir, tmp_path, monkeypatch):
    make(data_dir, tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    monkeypatch.chdir("/")
    assert len(read_data_list(tmp_path / "elsewhere" / "data.list")) == len(SECONDS)


def test_failures_are_listed_and_the_rest_is_written(data_dir, tmp_path):
    wav = data_dir / "wav"
    (wav / "utt01.wav").unlink()
    (wav / "utt02.wav").write_bytes((wav / "utt02.wav").read_bytes()[:1000])
    lines = (data_dir / "text").read_text().splitlines()
    lines[3] = "utt03"
    (data_dir / "text").write_text("\n".join([*lines, "utt99 nobody"]) + "\n")
    (data_dir / "text.en").unlink()
    scp = (data_dir / "wav.scp").read_text().replace("wav/utt04.wav", "touch owned |")
    (data_dir / "wav.scp").write_text(scp)
    for output_format in ("raw", "shard"):
        done = make(data_dir, tmp_path / output_format, "--format", output_format, "--num_utts_per_shard", "3")
        assert done.exit_code == 1
        failed = [json.loads(line) for line in (tmp_path / output_format / "failed.jsonl").read_text().splitlines()]
        assert {item["id"]: item["reason"] for item in failed} == {
            "utt01": "missing", "utt02": "truncated", "utt03": "empty_text", "utt04": "unsupported", "utt99": "no_audio",
        }  # fmt: skip
        assert len(read_data_list(tmp_path / output_format / "data.list")) == len(SECONDS) - 4
    assert not (data_dir / "owned").exists()


def test_a_repaired_directory_leaves_no_old_failures(data_dir, tmp_path):
    path = data_dir / "wav" / "utt01.wav"
    sound = path.read_bytes()
    path.unlink()
    assert make(data_dir, tmp_path / "out").exit_code == 1
    path.write_bytes(sound)
    assert make(data_dir, tmp_path / "out").exit_code == 0
    assert not (tmp_path / "out" / "failed.jsonl").exists()


def test_all_fail(data_dir, tmp_path):
    for path in (data_dir / "wav").iterdir():
        path.unlink()
    assert make(data_dir, tmp_path / "out").exit_code == 1
    assert read_data_list(tmp_path / "out" / "data.list") == []


def test_broken_tables_are_refused_before_anything_is_written(data_dir, tmp_path):
    with (data_dir / "wav.scp").open("a") as stream:
        stream.write("utt00 again.wav\n")
    done = make(data_dir, tmp_path / "out")
    assert done.exit_code == 2
    assert f"{data_dir}/wav.scp:{len(SECONDS) + 1}: " in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [("--labels", "fr"), ("--format", "raw", "--keep_audio"), ("--keep_audio", "--resample")])
def test_wrong_options(data_dir, tmp_path, options):
    assert make(data_dir, tmp_path / "out", *options).exit_code == 2
    assert not (tmp_path / "out").exists()


def test_labels_are_chosen(data_dir, tmp_path):
    done = make(data_dir, tmp_path / "out", "--labels", "en", "--format", "raw")
    assert done.exit_code == 1  # every second utterance has no translation
    found = read_data_list(tmp_path / "out" / "data.list")
    assert [item.labels for item in found] == [{"en": f"word {number}"} for number in range(1, len(SECONDS), 2)]


@pytest.mark.parametrize("options", [("--format", "raw"), ("--format", "raw", "--resample"), ("--format", "shard")])
def test_segments(data_dir, tmp_path, options):
    (data_dir / "segments").write_text("a utt04 0.2 0.7\nb utt04 0.7 1.6\nc utt11 0 2\nd utt99 0 1\n")
    (data_dir / "text").write_text("a one\nb two\nc three\nd four\n")
    (data_dir / "text.en").unlink()
    assert make(data_dir, tmp_path / "out", *options).exit_code == 1
    found = read_data_list(tmp_path / "out" / "data.list")
    assert [(item.id, item.num_samples) for item in found] == [("a", 8000), ("b", 14400), ("c", 32000)]
    whole = load_audio(data_dir / "wav" / "utt04.wav")
    assert torch.equal(AudioReader().read(found[0].audio), whole[3200:11200])
    assert json.loads((tmp_path / "out" / "failed.jsonl").read_text())["id"] == "d"


def test_kept_audio_is_the_original(data_dir, tmp_path):
    assert make(data_dir, tmp_path / "out", "--keep_audio").exit_code == 0
    with tarfile.open(tmp_path / "out" / "shards_000000000.tar") as archive:
        assert archive.extractfile("utt03.wav").read() == (data_dir / "wav" / "utt03.wav").read_bytes()
    (data_dir / "segments").write_text("utt00 utt00 0 0.2\n")
    assert make(data_dir, tmp_path / "out", "--keep_audio").exit_code == 2


def test_any_rate_becomes_16_khz(tmp_path):
    data = write_data_dir(tmp_path / "data", [1.0], rate=44100)
    assert make(data, tmp_path / "out").exit_code == 0
    found = read_data_list(tmp_path / "out" / "data.list")
    assert found[0].num_samples == 16000
    stored = AudioReader().read(found[0].audio)
    assert (stored - load_audio(data / "wav" / "utt00.wav")).abs().max() <= 0.5 / 32768


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
def test_16_bit_samples_keep_their_values(tmp_path, audio_format):
    samples = np.array([-32768, -1, 0, 1, 32767] * 100, np.int16)
    stored = load_audio(encode_audio(torch.from_numpy(samples / np.float32(32768)), audio_format))
    assert torch.equal(stored, torch.from_numpy(samples / np.float32(32768)))


def test_ids_that_leave_the_folder_are_refused(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    soundfile.write(data / "a.wav", np.zeros(8000), 16000)
    (data / "wav.scp").write_text("../../up a.wav\n")
    (data / "text").write_text("../../up word\n")
    for options in ((), ("--format", "raw", "--resample")):
        assert make(data, tmp_path / "deep" / "out", *options).exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
