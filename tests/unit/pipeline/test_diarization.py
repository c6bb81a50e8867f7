import copy
import logging
import sys

import numpy as np
import pytest
import torch

from mooer.common.errors import AudioError, ConfigError, DataError
from mooer.models.published_folder import write_published_folder
from mooer.models.speaker import Campplus, CampplusConfig, published_speaker_model
from mooer.pipeline import diarization
from mooer.pipeline.diarization import DiarizationConfig, Diarizer, cut_windows
from mooer.pipeline.speaker_clustering import ClusteringConfig
from mooer.pipeline.speaker_turns import Turn

SIZES = {"embedding_size": 24, "growth_rate": 4, "bn_size": 2, "init_channels": 16}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Campplus(CampplusConfig(**SIZES)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def diarizer(model):
    return Diarizer(model, DiarizationConfig(batch_size=5))


def noise(samples, seed=0):
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 0.1


def voice(seconds, rate):
    """A buzz whose pitch even an untrained network hears."""
    time = torch.arange(int(16000 * seconds)) / 16000
    return (torch.sin(2 * torch.pi * rate * time) > 0.9).float() * 0.5 + 0.01 * noise(len(time))


def test_a_batch_gives_what_each_gives_alone(diarizer):
    waveforms = [noise(length, seed) for seed, length in enumerate((24000, 24000, 8000, 720, 30000, 24000, 16001))]
    together = diarizer.embed(waveforms)
    alone = np.concatenate([diarizer.embed([waveform]) for waveform in waveforms])
    np.testing.assert_allclose(together, alone, atol=2e-6)


def test_half_precision(diarizer, model):
    waveforms = [noise(length, seed) for seed, length in enumerate((24000, 8000, 30000))]
    half = Diarizer(copy.deepcopy(model), DiarizationConfig(dtype="bfloat16")).embed(waveforms)
    exact = diarizer.embed(waveforms)
    cosines = (half * exact).sum(axis=1) / np.linalg.norm(half, axis=1) / np.linalg.norm(exact, axis=1)
    assert 0.999 < cosines.min() < cosines.max() < 1.0
    assert half.dtype == np.float32


@pytest.mark.parametrize(("seconds", "chosen"), [([1.2, 0.9], "bfloat16"), ([1.0, 0.9], "float32")])
def test_fast_is_what_gains_enough(monkeypatch, caplog, model, seconds, chosen):
    remaining = iter(seconds)
    monkeypatch.setattr(diarization, "least_seconds", lambda *_: next(remaining))
    caplog.set_level(logging.INFO)
    fast = Diarizer(copy.deepcopy(model), DiarizationConfig(dtype="fast", device="cpu"))
    assert fast.config.dtype == chosen  # so that run.json says it
    assert f"dtype fast is {chosen} here for voices; bfloat16 is {seconds[0] / seconds[1]:.1f} times as fast" in caplog.text
    same = Diarizer(copy.deepcopy(model), DiarizationConfig(dtype=chosen))
    np.testing.assert_array_equal(fast.embed([noise(24000)]), same.embed([noise(24000)]))


def test_fast_measures(model):
    assert Diarizer(copy.deepcopy(model), DiarizationConfig(dtype="fast", device="cpu")).config.dtype in ("float32", "bfloat16")


def test_two_voices(diarizer):
    waveform = torch.cat([voice(4, 90), torch.zeros(16000), voice(3, 310), voice(4, 90)])
    turns = diarizer(waveform, [(0, 4000), (5000, 12000)], 2)
    assert [turn.speaker for turn in turns] == [0, 1, 0]
    assert [(turns[0].start, turns[0].end), turns[1].start, turns[2].end] == [(0, 4000), 5000, 12000]
    assert abs(turns[1].end - 8000) < 750


def test_a_short_segment_and_an_end_after_the_recording_s(diarizer):
    assert diarizer(noise(8000), [(100, 160), (300, 700)]) == [Turn(100, 160, 0), Turn(300, 500, 0)]


@pytest.mark.parametrize("number", [None, 1, 2])
def test_no_speech(diarizer, number):
    assert diarizer(noise(8000), [], number) == []


@pytest.mark.parametrize("segments", [[(0, 500), (400, 900)], [(300, 300)], [(500, 400)], [(1000, 1500)], [(-10, 400)]])
def test_segments_that_are_refused(diarizer, segments):
    with pytest.raises(DataError, match="ms must begin"):
        diarizer(noise(16000), segments)


def test_settings_and_samples_that_are_refused(diarizer, model):
    with pytest.raises(ConfigError, match="batch_size"):
        DiarizationConfig(batch_size=0)
    with pytest.raises(ConfigError, match="dtype 'int4' is unknown"):
        DiarizationConfig(dtype="int4")
    with pytest.raises(ConfigError, match="number of speakers must be at least 1"):
        diarizer(noise(16000), [(0, 500)], 0)
    with pytest.raises(AudioError, match="not finite"):
        diarizer(noise(16000) * float("nan"), [(0, 500)])


def test_the_missing_extra_is_known_before_the_work(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    small = Diarizer(model, DiarizationConfig(clustering=ClusteringConfig(min_windows=2, spectral_below=3)))
    monkeypatch.setattr(small, "embed", None)
    with pytest.raises(ConfigError, match=r"mooer\[speakers\]"):
        small(noise(160_000), [(0, 10_000)])


def test_a_folder_may_say_how_its_embeddings_are_grouped(model, tmp_path):
    write_published_folder(tmp_path / "model", published_speaker_model(model, CampplusConfig(**SIZES), {}))
    assert Diarizer.from_folder(tmp_path / "model").clustering == ClusteringConfig()
    (tmp_path / "model" / "clustering.yaml").write_text("merge_cosine: 0.5\n")
    assert Diarizer.from_folder(tmp_path / "model").clustering == ClusteringConfig(merge_cosine=0.5)
    given = DiarizationConfig(clustering=ClusteringConfig(min_kept=9))
    assert Diarizer.from_folder(tmp_path / "model", given).clustering == given.clustering
    (tmp_path / "model" / "clustering.yaml").write_text("merge_cosin: 0.5\n")
    with pytest.raises(ConfigError, match="merge_cosin"):
        Diarizer.from_folder(tmp_path / "model")


def test_windows_and_their_samples():
    waveform = torch.arange(80000.0)
    windows, pieces = cut_windows(waveform, [(0, 1000), (2000, 4000)])
    assert [(window.start, window.end) for window in windows] == [(0.0, 1.0), (2.0, 3.5), (2.5, 4.0)]
    assert torch.equal(pieces[0], torch.cat([waveform[:16000], torch.zeros(8000)]))
    assert torch.equal(pieces[1], waveform[32000:56000]) and torch.equal(pieces[2], waveform[40000:64000])
