"""The HiFi-GAN generator against the reference's waveforms, in each form of its weights, in a batch and alone."""

import json

import pytest
import torch
from safetensors.torch import load_file

from mooer.common.errors import ConfigError, PathError, WeightsError
from mooer.models.vocoder import Vocoder, VocoderConfig, load_vocoder, read_vocoder_config, write_vocoder
from mooer.models.weights import own_tensors

FORMS = ("hifigan_generator.pt", "hifigan_generator.safetensors", "hifigan_generator_weightnorm_removed.safetensors")
ATOL = 1e-5


@pytest.fixture(scope="module")
def folder(golden):
    return golden / "s2st"


@pytest.fixture(scope="module")
def tensors(folder):
    return load_file(folder / "hifigan_io.safetensors")


@pytest.mark.parametrize("form", FORMS)
def test_waveforms(folder, tensors, form):
    vocoder = load_vocoder(folder / form)
    latents, lengths = tensors["latent"], torch.tensor([11])
    waves, wave_lengths = vocoder(latents, lengths, tensors["speaker_embedding"][:, :, 0])
    assert wave_lengths.tolist() == [352] == [11 * vocoder.config.samples_of_a_latent]
    for name in ("wave", "wave_with_weight_norm"):
        torch.testing.assert_close(waves, tensors[name][0], rtol=0, atol=ATOL)
    for voices in (None, torch.zeros(1, 12)):
        silent, _ = vocoder(latents, lengths, voices)
        torch.testing.assert_close(silent, tensors["wave_zero_speaker"][0], rtol=0, atol=ATOL)


@pytest.mark.parametrize("form", FORMS)
def test_sizes_are_read_off_the_tensors(folder, form):
    assert load_vocoder(folder / form).config == read_vocoder_config(folder / "hifigan_config_tiny.json")


def test_a_batch_gives_what_each_gives_alone(folder):
    vocoder = load_vocoder(folder / FORMS[0])
    draw = torch.Generator().manual_seed(1)
    lengths = torch.tensor([9, 1, 5, 8])
    latents, voices = torch.randn(4, 9, 24, generator=draw), torch.randn(4, 12, generator=draw)
    waves, wave_lengths = vocoder(latents, lengths, voices)
    for row, (length, wave_length) in enumerate(zip(lengths, wave_lengths, strict=True)):
        alone, _ = vocoder(latents[row : row + 1, :length], lengths[row : row + 1], voices[row : row + 1])
        torch.testing.assert_close(waves[row, :wave_length], alone[0], rtol=0, atol=1e-6)
        assert not waves[row, wave_length:].any()


def test_full_size(folder):
    published = json.loads((folder / "hifigan_fullsize_keys.json").read_text(encoding="utf-8"))
    config = read_vocoder_config(folder / "hifigan_config_released.json")
    assert config == VocoderConfig()
    assert config.samples_of_a_latent == 1024
    with torch.device("meta"):
        vocoder = Vocoder(config)
    shapes = {name: list(tensor.shape) for name, tensor in own_tensors(vocoder).items()}
    assert shapes == published["after_weight_norm_removal"]
    assert len(shapes) == 166


def test_written_and_read_again(folder, tensors, tmp_path):
    vocoder = load_vocoder(folder / FORMS[0])
    write_vocoder(tmp_path / "vocoder.safetensors", vocoder)
    again = load_vocoder(tmp_path / "vocoder.safetensors")
    arguments = (tensors["latent"], torch.tensor([11]))
    assert torch.equal(again(*arguments)[0], vocoder(*arguments)[0])


def test_torch_s_newer_names_of_weight_norm(folder, tensors, tmp_path):
    newer = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    state = load_file(folder / FORMS[1])
    for old, new in newer.items():
        state = {name.replace(old, new): tensor for name, tensor in state.items()}
    torch.save({"generator": state}, tmp_path / "newer.pt")
    waves, _ = load_vocoder(tmp_path / "newer.pt")(tensors["latent"], torch.tensor([11]), tensors["speaker_embedding"][:, :, 0])
    torch.testing.assert_close(waves, tensors["wave"][0], rtol=0, atol=ATOL)


def test_refusals(folder, tmp_path):
    with pytest.raises(PathError, match="vocoder"):
        load_vocoder(tmp_path / "gone.pt")
    with pytest.raises(WeightsError, match="no HiFi-GAN generator"):
        load_vocoder(folder / "speaker_encoder_reduced.safetensors")
    state = load_file(folder / FORMS[1])
    torch.save({"generator": {name: state[name] for name in state if name != "ups.0.weight_g"}}, tmp_path / "half.pt")
    with pytest.raises(WeightsError, match=r"ups\.0\.weight_g"):
        load_vocoder(tmp_path / "half.pt")
    with pytest.raises(WeightsError, match="another shape"):
        load_vocoder(folder / FORMS[0], VocoderConfig(**{**vars(load_vocoder(folder / FORMS[0]).config), "cond_channels": 7}))
    torch.save({"generator": print}, tmp_path / "code.pt")
    with pytest.raises(WeightsError, match="nothing in it was run"):
        load_vocoder(tmp_path / "code.pt")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"upsample_rates": [8]}, "as many values"),
        ({"upsample_kernel_sizes": [15, 16, 4, 4]}, "cannot upsample"),
        ({"upsample_initial_channel": 8}, "halved"),
        ({"resblock_kernel_sizes": [3, 7, 10]}, "odd"),
        ({"resblock_kernel_sizes": [3]}, "as many values"),
        ({"resblock": "2"}, "resblock"),
        ({"cond_channels": -1}, "cond_channels"),
        ({"upsample_rate": [8]}, "unknown key 'upsample_rate'"),
    ],
)
def test_impossible_configurations(tmp_path, wrong, message):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(wrong))
    with pytest.raises(ConfigError, match=message):
        read_vocoder_config(path)
