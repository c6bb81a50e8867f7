"""Pieces of a recording are what `load_audio` gives at once, whatever the form."""

import math

import numpy as np
import pytest
import soundfile
import torch

from mooer.audio import stream as module
from mooer.audio.io import RawPcm, load_audio
from mooer.audio.limits import AudioLimits
from mooer.audio.stream import stream_audio
from mooer.common.errors import AudioError


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_SAMPLES", 5000)


def noise(seconds, rate, channels=1):
    samples = np.random.default_rng(rate).normal(scale=0.1, size=(round(seconds * rate), channels))
    return samples[:, 0] if channels == 1 else samples


def whole(source, **options):
    pieces = list(stream_audio(source, **options))
    return torch.cat(pieces), pieces


@pytest.mark.parametrize(("name", "rate", "channels"), [("a.wav", 48000, 2), ("b.flac", 44100, 1), ("c.ogg", 16000, 8)])
def test_files(tmp_path, small_blocks, name, rate, channels):
    path = tmp_path / name
    soundfile.write(path, noise(2.3, rate, channels), rate)
    found, pieces = whole(path)
    assert torch.equal(found, load_audio(path))
    if path.suffix == ".wav":
        assert len(pieces) > 10
    assert torch.equal(whole(path.read_bytes())[0], found)


def test_a_part(tmp_path, small_blocks):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(2.0, 8000), 8000)
    assert torch.equal(whole(path, start=0.7, end=1.9)[0], load_audio(path, start=0.7, end=1.9))


@pytest.mark.parametrize("dtype", ["float64", "int16", "uint8"])
def test_arrays(small_blocks, dtype):
    scale = {"float64": 1, "int16": 32768, "uint8": 127}[dtype]
    samples = (noise(1.5, 22050, 2) * scale + (128 if dtype == "uint8" else 0)).astype(dtype)
    assert torch.equal(whole(samples, sample_rate=22050)[0], load_audio(samples, sample_rate=22050))


def test_raw_samples_in_bytes_and_in_a_file(tmp_path, small_blocks):
    data = (noise(1.0, 16000) * 32768).astype("<i2").tobytes()
    (tmp_path / "raw").write_bytes(data)
    wanted = load_audio(RawPcm(data=data))
    assert torch.equal(whole(RawPcm(data=data))[0], wanted)
    assert torch.equal(whole(RawPcm(data=tmp_path / "raw"))[0], wanted)
    assert torch.equal(load_audio(RawPcm(data=tmp_path / "raw")), wanted)


def reason_of(source, **options):
    with pytest.raises(AudioError) as caught:
        whole(source, **options)
    return caught.value.reason


def test_what_is_wrong_is_found(tmp_path, small_blocks):
    samples = noise(1.0, 16000).astype(np.float32)
    samples[12345] = math.nan
    soundfile.write(tmp_path / "nan.wav", samples, 16000, subtype="FLOAT")
    assert reason_of(tmp_path / "nan.wav") == "not_finite"
    assert reason_of(tmp_path / "none.wav") == "missing"
    assert reason_of(np.zeros(0), sample_rate=16000) == "empty"
    assert reason_of(np.zeros(10)) == "unsupported"
    assert reason_of(RawPcm(data=b"123")) == "truncated"
    assert reason_of(np.zeros(32000), sample_rate=16000, limits=AudioLimits(max_seconds=1)) == "too_long"


def test_a_wav_that_promises_more_than_it_has(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(1.0, 16000), 16000)
    path.write_bytes(path.read_bytes()[:-1000])
    assert reason_of(path) == "truncated"
