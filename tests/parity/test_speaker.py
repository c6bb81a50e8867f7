"""CAM++ and its front end against the reference's tensors."""

import json
import zlib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mooer.audio.io import load_audio
from mooer.features.speaker_fbank import speaker_fbank
from mooer.models.speaker import Campplus, CampplusConfig, load_speaker_model
from mooer.models.speaker_embedder import SpeakerEmbedder
from mooer.models.weights import load_state

REDUCED = {"embedding_size": 48, "growth_rate": 4, "bn_size": 2, "init_channels": 16}


@pytest.fixture(scope="module")
def tensors(golden_paraformer):
    return load_file(golden_paraformer / "campplus_reduced.safetensors")


@pytest.fixture(scope="module")
def reduced(tensors):
    model = Campplus(CampplusConfig(**REDUCED)).eval().requires_grad_(False)
    state = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    load_state(model, state, "golden")
    return model


def embed(model, waveforms):
    frames = speaker_fbank(waveforms)
    lengths = torch.tensor([len(rows) for rows in frames])
    return model(torch.nn.utils.rnn.pad_sequence(frames, batch_first=True), lengths)


@pytest.mark.parametrize("index", range(3))
def test_features(tensors, index):
    torch.testing.assert_close(speaker_fbank([tensors[f"wav{index}"]])[0], tensors[f"feat{index}"], atol=1e-3, rtol=0)


@pytest.mark.parametrize("index", range(3))
def test_embedding(reduced, tensors, index):
    frames = tensors[f"feat{index}"]
    wanted = tensors[f"emb{index}"]
    for form in (reduced, SpeakerEmbedder(reduced)):
        torch.testing.assert_close(form(frames[None], torch.tensor([len(frames)]))[0], wanted, atol=1e-6, rtol=0)
        torch.testing.assert_close(embed(form, [tensors[f"wav{index}"]])[0], wanted, atol=1e-6, rtol=0)


def test_a_batch_gives_what_each_gives_alone_where_the_reference_does_not(reduced, tensors):
    alone = torch.stack([tensors[f"emb{index}"] for index in range(3)])
    for form in (reduced, SpeakerEmbedder(reduced)):
        together = embed(form, [tensors[f"wav{index}"] for index in range(3)])
        torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    assert (tensors["emb_padded_batch"][:2] - alone[:2]).abs().max() > 1e-4


def test_published_folder(golden_paraformer):
    expected = json.loads((golden_paraformer / "e2e" / "expected.json").read_text(encoding="utf-8"))["spk_alone"]
    model = load_speaker_model(golden_paraformer / "e2e" / "spk")
    for form in (model, SpeakerEmbedder(model)):
        embedding = embed(form, [load_audio(golden_paraformer / "e2e" / "short.wav")])
        torch.testing.assert_close(embedding, torch.tensor(expected), atol=1e-5, rtol=0)


def test_full_size_names_and_shapes(golden_paraformer):
    wanted = json.loads((golden_paraformer / "full_size_keys.json").read_text(encoding="utf-8"))["campplus"]
    with torch.device("meta"):
        model = Campplus(CampplusConfig())
    found = {
        name: [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")] for name, tensor in model.state_dict().items()
    }
    assert found == wanted["state_dict"]
    assert sum(parameter.numel() for parameter in model.parameters()) == wanted["n_params"]


def from_recipe(name, tensor, seed):
    """The weights of the golden files that hold none: normal numbers by the name, scaled by what the tensor is for."""
    if not tensor.is_floating_point():
        return tensor
    draws = np.random.RandomState(zlib.crc32(name.encode()) ^ seed).standard_normal(tuple(tensor.shape)).astype(np.float32)
    if name.endswith("running_var"):
        draws = 1 + 0.1 * np.abs(draws)
    elif name.endswith("running_mean"):
        draws = 0.1 * draws
    elif draws.ndim <= 1:
        draws = 1 + 0.05 * draws if name.endswith(".weight") else 0.05 * draws
    else:
        draws = draws / np.sqrt(np.prod(draws.shape[1:]))
    return torch.from_numpy(np.asarray(draws, dtype=np.float32))


def test_full_size(golden_paraformer):
    tensors = load_file(golden_paraformer / "campplus_full_formula.safetensors")
    model = Campplus(CampplusConfig()).eval().requires_grad_(False)
    load_state(model, {name: from_recipe(name, tensor, 7001) for name, tensor in model.state_dict().items()}, "the recipe")
    for form in (model, SpeakerEmbedder(model)):
        for index in range(3):
            wanted = tensors[f"emb{index}"]
            assert (embed(form, [tensors[f"wav{index}"]])[0] - wanted).norm() < 1e-3 * wanted.norm()
