"""The vocoder's speaker encoder against the reference's mels and embeddings, in a batch and alone."""

import json

import pytest
import torch
from safetensors.torch import load_file

from mooer.audio.io import load_audio
from mooer.common.errors import PathError, WeightsError
from mooer.models.speaker_resnet import SpeakerResnet, SpeakerResnetConfig, load_speaker_resnet
from mooer.models.weights import own_tensors

ATOL = 1e-4


@pytest.fixture(scope="module")
def folder(golden):
    return golden / "s2st"


@pytest.fixture(scope="module")
def tensors(folder):
    return load_file(folder / "speaker_encoder_io.safetensors")


@pytest.fixture(scope="module", params=["pt", "safetensors"])
def encoder(folder, request):
    return load_speaker_resnet(folder / f"speaker_encoder_reduced.{request.param}")


@pytest.fixture(scope="module")
def waveforms(golden):
    return [load_audio(golden / "wav" / f"utt{index}.wav") for index in range(3)]


@pytest.mark.parametrize("index", [0, 1])
def test_embeddings(encoder, tensors, waveforms, index):
    batch = (waveforms[index][None], torch.tensor([len(waveforms[index])]))
    mels, frames = encoder.mels(*batch)
    assert frames.tolist() == [mels.shape[2]]
    torch.testing.assert_close(mels, tensors[f"utt{index}.mel"], rtol=1e-3, atol=1e-8)
    torch.testing.assert_close(encoder(*batch), tensors[f"utt{index}.embedding_raw"], rtol=0, atol=ATOL)
    torch.testing.assert_close(encoder.voices(*batch), tensors[f"utt{index}.embedding_l2"], rtol=0, atol=ATOL)


def test_a_prompt_of_another_rate(encoder, tensors):
    waveform = load_audio(tensors["prompt24k"][0].numpy(), sample_rate=24_000)
    torch.testing.assert_close(waveform[None], tensors["prompt24k_resampled_16k"], rtol=0, atol=ATOL)
    voice = encoder.voices(waveform[None], torch.tensor([len(waveform)]))
    torch.testing.assert_close(voice[:, :, None], tensors["prompt24k_embedding"], rtol=0, atol=ATOL)


def test_a_batch_gives_what_each_gives_alone(encoder, waveforms):
    shortest = encoder.config.shortest_samples
    items = [waveforms[0], waveforms[1][:16_001], waveforms[2][:20_000], waveforms[2][:shortest], waveforms[1][:5000]]
    lengths = torch.tensor([len(item) for item in items])
    together = encoder(torch.nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=3.0), lengths)
    alone = torch.cat([encoder(item[None], length[None]) for item, length in zip(items, lengths, strict=True)])
    torch.testing.assert_close(together, alone, rtol=0, atol=2e-5)


def test_full_size(folder):
    published = json.loads((folder / "speaker_encoder_fullsize_keys.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        encoder = SpeakerResnet(SpeakerResnetConfig())
    found = {
        name: {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
        for name, tensor in own_tensors(encoder).items()
    }
    assert found == published["tensors"]
    assert len(found) == published["num_tensors"] == 295


def test_a_new_encoder_has_the_reference_s_front_end(encoder):
    new = SpeakerResnet(encoder.config)
    for name in ("torch_spec.0.filter", "torch_spec.1.spectrogram.window", "torch_spec.1.mel_scale.fb"):
        torch.testing.assert_close(new.get_buffer(name), encoder.get_buffer(name), rtol=0, atol=1e-6)


def test_refusals(folder, tmp_path):
    with pytest.raises(PathError, match="speaker encoder"):
        load_speaker_resnet(tmp_path / "gone.pt")
    with pytest.raises(WeightsError, match="no ResNet speaker encoder"):
        load_speaker_resnet(folder / "hifigan_generator.safetensors")
    state = load_file(folder / "speaker_encoder_reduced.safetensors")
    torch.save({"speaker_encoder": {**state, "fc.bias": state["fc.bias"][1:]}}, tmp_path / "short.pt")
    with pytest.raises(WeightsError, match=r"fc\.bias"):
        load_speaker_resnet(tmp_path / "short.pt")
