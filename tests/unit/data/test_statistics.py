"""CMVN and feature archives: right, and the same with any number of workers."""

import json
import pickle

import kaldiio
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mooer.audio.io import load_audio
from mooer.cli import compute_cmvn as cmvn_command
from mooer.cli import dump_feats as dump_command
from mooer.common.errors import AudioError
from mooer.data import statistics
from mooer.data.archives import read_matrix, write_archive
from mooer.data.directory import read_data_dir
from mooer.data.lists import read_data_list
from mooer.features.cmvn import read_cmvn
from mooer.features.fbank import fbank

from .conftest import SECONDS


def run(command, *options):
    return CliRunner().invoke(command.main, [str(option) for option in options], catch_exceptions=False)


def all_frames(data_dir):
    return [fbank(load_audio(data_dir / "wav" / f"utt{number:02d}.wav")) for number in range(len(SECONDS))]


def test_cmvn_is_mean_and_deviation(data_dir, tmp_path):
    done = run(cmvn_command, "--data_dir", data_dir, "--output_file", tmp_path / "am.mvn")
    assert done.exit_code == 0, done.output
    cmvn = read_cmvn(tmp_path / "am.mvn")
    frames = torch.cat(all_frames(data_dir)).double()
    assert torch.allclose(cmvn.shift.double(), -frames.mean(0).repeat(7), atol=1e-5)
    assert torch.allclose(cmvn.scale.double(), 1 / frames.std(0, unbiased=False).repeat(7), rtol=1e-5)


def test_cmvn_as_sums_of_povey_frames(data_dir, tmp_path):
    source = ("--data_dir", data_dir, "--format", "json", "--output_file")
    assert run(cmvn_command, *source, tmp_path / "povey", "--window", "povey").exit_code == 0
    frames = torch.cat([fbank(load_audio(path), window="povey") for path in sorted((data_dir / "wav").iterdir())]).double()
    record = json.loads((tmp_path / "povey").read_text())
    assert record["frame_num"] == len(frames)
    assert np.allclose(record["mean_stat"], frames.sum(0), rtol=1e-9)
    assert np.allclose(record["var_stat"], frames.square().sum(0), rtol=1e-9)
    assert run(cmvn_command, *source, tmp_path / "hamming").exit_code == 0
    assert not np.allclose(json.loads((tmp_path / "hamming").read_text())["mean_stat"], record["mean_stat"], rtol=1e-3)
    refused = run(cmvn_command, *source, tmp_path / "none", "--lfr_m", 7)
    assert (refused.exit_code, (tmp_path / "none").exists()) == (2, False)
    assert "--lfr_m belongs to --format am_mvn" in refused.output


def test_cmvn_is_the_same_with_any_number_of_workers(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "CHUNK", 2)
    for workers in (1, 3):
        run(cmvn_command, "--data_dir", data_dir, "--output_file", tmp_path / f"{workers}", "--num_workers", workers)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "3").read_bytes()


def test_cmvn_of_shards_and_features(data_dir, shards, tmp_path):
    assert run(dump_command, "--data_list", shards, "--output_dir", tmp_path / "dump").exit_code == 0
    sources = {"a": ("--data_dir", data_dir), "b": ("--data_list", shards), "c": ("--data_dir", tmp_path / "dump")}
    for name, source in sources.items():
        assert run(cmvn_command, *source, "--output_file", tmp_path / name).exit_code == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


def test_unusable_recordings_are_named(data_dir, tmp_path):
    (data_dir / "wav" / "utt03.wav").write_bytes(b"")
    done = run(cmvn_command, "--data_dir", data_dir, "--output_file", tmp_path / "am.mvn")
    assert done.exit_code == 1
    assert "utt03: empty" in done.output
    read_cmvn(tmp_path / "am.mvn")
    for path in (data_dir / "wav").iterdir():
        path.unlink()
    assert run(cmvn_command, "--data_dir", data_dir, "--output_file", tmp_path / "none").exit_code == 2
    assert not (tmp_path / "none").exists()


def test_exactly_one_source(data_dir, shards, tmp_path):
    for source in ((), ("--data_dir", data_dir, "--data_list", shards)):
        assert run(cmvn_command, *source, "--output_file", tmp_path / "am.mvn").exit_code == 2


def test_dumped_features(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "UTTERANCES_PER_ARCHIVE", 4)
    for workers in (1, 2):
        done = run(dump_command, "--data_dir", data_dir, "--output_dir", tmp_path / f"{workers}", "--num_workers", workers)
        assert done.exit_code == 0, done.output
    out = tmp_path / "1"
    for path in out.glob("*.ark"):
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes()
    matrices = kaldiio.load_scp(str(out / "feats.scp"))
    utterances = read_data_list(out / "data.list")
    lengths = dict(line.split() for line in (out / "utt2num_frames").read_text().splitlines())
    for utterance, frames in zip(utterances, all_frames(data_dir), strict=True):
        assert np.array_equal(matrices[utterance.id], frames.numpy())
        assert torch.equal(read_matrix(utterance.feats), frames)
        assert int(lengths[utterance.id]) == utterance.num_frames == len(frames)
    assert utterances[1].labels == {"text": "词 1", "en": "word 1"}


def test_dumped_features_have_the_window_asked_for(data_dir, tmp_path):
    done = run(dump_command, "--data_dir", data_dir, "--output_dir", tmp_path / "out", "--window", "povey")
    assert done.exit_code == 0, done.output
    first = read_data_list(tmp_path / "out" / "data.list")[0]
    assert torch.equal(read_matrix(first.feats), fbank(load_audio(data_dir / "wav" / "utt00.wav"), window="povey"))


def test_fewer_archives_than_before(data_dir, tmp_path, monkeypatch):
    utterances = read_data_dir(data_dir).utterances
    monkeypatch.setattr(statistics, "UTTERANCES_PER_ARCHIVE", 2)
    statistics.dump_feats(utterances, tmp_path / "out")
    monkeypatch.setattr(statistics, "UTTERANCES_PER_ARCHIVE", 10)
    statistics.dump_feats(utterances, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.ark")) == ["feats_000000.ark", "feats_000001.ark"]


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_archives_run_nothing(tmp_path):
    owned = tmp_path / "owned"
    path = tmp_path / "evil.ark"
    path.write_bytes(b"PKL" + pickle.dumps(Evil(str(owned))))
    for reference in (f"{path}:0", str(path), f"touch {owned} |", f"| touch {owned}"):
        with pytest.raises(AudioError):
            read_matrix(reference)
    assert not owned.exists()


@pytest.mark.parametrize("cut", [3, 10, 14, 100])
def test_truncated_archives(tmp_path, cut):
    offsets = write_archive(tmp_path / "a.ark", [("utt", np.ones((20, 4), np.float32))])
    whole = (tmp_path / "a.ark").read_bytes()
    (tmp_path / "a.ark").write_bytes(whole[: offsets["utt"] + cut])
    with pytest.raises(AudioError) as caught:
        read_matrix(f"{tmp_path}/a.ark:{offsets['utt']}")
    assert caught.value.reason in ("truncated", "unreadable")


def test_forged_sizes_in_archives(tmp_path):
    offsets = write_archive(tmp_path / "a.ark", [("utt", np.ones((20, 4), np.float32))])
    content = bytearray((tmp_path / "a.ark").read_bytes())
    start = offsets["utt"] + len(b"\0BFM \4")
    content[start : start + 4] = (0x7FFFFFFF).to_bytes(4, "little")
    content[start + 5 : start + 9] = (0x7FFFFFFF).to_bytes(4, "little")
    (tmp_path / "a.ark").write_bytes(content)
    with pytest.raises(AudioError):
        read_matrix(f"{tmp_path}/a.ark:{offsets['utt']}")


def test_values_that_are_not_finite(tmp_path):
    offsets = write_archive(tmp_path / "a.ark", [("utt", np.full((3, 4), np.inf, np.float32))])
    with pytest.raises(AudioError) as caught:
        read_matrix(f"{tmp_path}/a.ark:{offsets['utt']}")
    assert caught.value.reason == "not_finite"
