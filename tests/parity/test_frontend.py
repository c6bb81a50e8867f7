"""The front end against the tensors of the reference implementation, and the resampler against torchaudio."""

import pytest
import torch
from safetensors.torch import load_file

from mooer.audio.io import load_audio
from mooer.audio.resample import resample
from mooer.common.torchaudio_compat import ensure_torchaudio
from mooer.features.cmvn import read_cmvn
from mooer.features.fbank import fbank
from mooer.features.frontend import Frontend
from mooer.features.lfr import apply_lfr

FBANK_TOLERANCE = 3e-3
CMVN_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def tensors(golden):
    return load_file(golden / "frontend.safetensors")


@pytest.fixture(scope="module")
def frontend(golden):
    return Frontend(cmvn=read_cmvn(golden / "am.mvn"))


def assert_close(actual, expected, tolerance):
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0.0)


@pytest.mark.parametrize("index", range(3))
def test_read_and_compute_as_the_reference(golden, tensors, frontend, index):
    waveform = load_audio(golden / "wav" / f"utt{index}.wav")
    assert torch.equal(waveform, tensors[f"wav_{index}"].float() / 32768)
    assert_close(fbank(waveform), tensors[f"fbank_{index}"], FBANK_TOLERANCE)
    assert torch.equal(apply_lfr(tensors[f"fbank_{index}"]), tensors[f"lfr_{index}"])
    assert_close(frontend(waveform), tensors[f"cmvn_{index}"], CMVN_TOLERANCE)
    assert_close(frontend.from_fbank(tensors[f"fbank_{index}"]), tensors[f"cmvn_{index}"], 1e-6)


def test_several_recordings_at_once_are_the_reference_too(tensors, frontend):
    frames, lengths = frontend.padded([tensors[f"wav_{index}"].float() / 32768 for index in range(3)])
    assert lengths.tolist() == [8, 40, 102]
    for index, length in enumerate(lengths):
        assert_close(frames[index, :length], tensors[f"cmvn_{index}"], CMVN_TOLERANCE)
        assert not frames[index, length:].any()


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14])
def test_lfr_at_the_edges(tensors, length):
    assert torch.equal(apply_lfr(tensors[f"lfr_edge_in_{length}"]), tensors[f"lfr_edge_out_{length}"])


def test_silence_and_a_constant(tensors):
    assert_close(fbank(torch.zeros(1600)), tensors["fbank_silence"], 1e-5)
    assert_close(fbank(torch.full((1600,), 0.25)), tensors["fbank_dc"], 0.05)


def test_am_mvn_file(golden, tensors):
    cmvn = read_cmvn(golden / "am.mvn")
    assert torch.equal(cmvn.shift, tensors["am_mvn.shift"])
    assert torch.equal(cmvn.scale, tensors["am_mvn.scale"])


def test_real_speech_as_torchaudio_computes_it(shared_data):
    ensure_torchaudio()
    import torchaudio.compliance.kaldi as kaldi

    waveform = load_audio(shared_data / "utterances" / "librispeech-1995-1837-0001.wav")
    expected = kaldi.fbank(waveform[None] * 32768, num_mel_bins=80, dither=0.0, window_type="hamming")
    assert_close(fbank(waveform), expected, FBANK_TOLERANCE)


@pytest.mark.parametrize("rate", [8000, 11025, 14400, 17600, 22050, 24000, 32000, 44100, 48000, 96000])
def test_resampling_is_torchaudio_s(rate):
    ensure_torchaudio()
    import torchaudio

    waveform = torch.randn(2, rate // 3 + 7, generator=torch.Generator().manual_seed(rate)) * 0.1
    expected = torchaudio.transforms.Resample(rate, 16000)(waveform)
    assert_close(resample(waveform, rate, 16000), expected, 1e-6)


def test_cut_mono_stereo_and_rate_of_a_real_file(shared_data):
    """jfk.flac is stereo at 44.1 kHz: each channel is resampled, then they are averaged."""
    ensure_torchaudio()
    import soundfile
    import torchaudio

    path = shared_data / "utterances" / "jfk.flac"
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    expected = torchaudio.transforms.Resample(rate, 16000)(torch.from_numpy(samples.T.copy())).mean(0)
    assert rate == 44100
    assert samples.shape[1] == 2
    assert_close(load_audio(path), expected, 1e-6)
