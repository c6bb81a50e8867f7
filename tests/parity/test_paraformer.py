"""Paraformer against the reference's tensors: small stored weights, and full size from a recipe."""

import json
import zlib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mooer.common.config import from_dict
from mooer.common.errors import AudioError
from mooer.decode.firing import milliseconds, token_spans
from mooer.features.cmvn import read_cmvn
from mooer.features.fbank import fbank
from mooer.features.frontend import Frontend
from mooer.features.lfr import apply_lfr
from mooer.models.paraformer_dir import ParaformerConfig, build_paraformer, module_names
from mooer.models.weights import load_state

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
TINY = ("paraformer_tiny", "bicif_tiny")
# What is in a golden configuration, but not in a published config.yaml, or not for the model.
TRAINING = ("input_size", "vocab_size", "ctc_weight", "lsm_weight", "length_normalized_loss", "predictor_weight")
TRAINING += ("predictor_bias", "sampling_ratio")


def configured(settings):
    published = {key: value for key, value in settings.items() if key not in TRAINING}
    name = "BiCifParaformer" if settings["predictor"] == "CifPredictorV3" else "Paraformer"
    return from_dict(ParaformerConfig, published | {"model": name, "frontend": "WavFrontend", "frontend_conf": {}})


def facts_of(folder, name):
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"][f"{name}.safetensors"]


@pytest.fixture(scope="module", params=TINY)
def tiny(request, golden_paraformer):
    """The model, its golden tensors, and what the manifest says of them."""
    known, facts = load_file(golden_paraformer / f"{request.param}.safetensors"), facts_of(golden_paraformer, request.param)
    model = build_paraformer(configured(facts["config"]), facts["config"]["vocab_size"]).eval().requires_grad_(False)
    state = {name.removeprefix("model."): tensor for name, tensor in known.items() if name.startswith("model.")}
    load_state(model, module_names(state), request.param)
    return model, known, facts


def real_log_probs(output, row):
    return output.logits[row, : output.counts[row]].log_softmax(dim=-1)


def test_single_utterances(tiny):
    model, known, _ = tiny
    for row, length in enumerate(known["speech_lengths"].tolist()):
        frames, lengths = known["speech"][row : row + 1, :length], torch.tensor([length])
        encoded, _ = model.encoder(frames, lengths)
        torch.testing.assert_close(encoded, known[f"single{row}.encoder_out"], **TOLERANCE)
        output = model(frames, lengths)
        assert output.counts.tolist() == known[f"single{row}.token_len"].tolist()
        torch.testing.assert_close(real_log_probs(output, 0)[None], known[f"single{row}.logprob"], **TOLERANCE)


def test_a_batch_gives_what_single_utterances_give(tiny):
    """The reference's batches do not: what stands in the padding leaks into the last token of a shorter utterance."""
    model, known, _ = tiny
    output = model(known["speech"], known["speech_lengths"])
    for row in range(3):
        torch.testing.assert_close(real_log_probs(output, row), known[f"single{row}.logprob"][0], **TOLERANCE)
    leaks = [(known["decoder_logprob"][row, : len(alone)] - alone).abs().max() for row, alone in singles(known)]
    assert leaks[0] < 1e-4
    assert leaks[2] > 2.0
    assert (known["greedy_ids"][2, :13] != known["single2.logprob"][0].argmax(dim=-1)).any()


def singles(known):
    return [(row, known[f"single{row}.logprob"][0]) for row in range(3)]


def test_the_longest_utterance_of_the_batch(tiny):
    """It has no padding, so that every tensor of the reference holds for it."""
    model, known, _ = tiny
    encoded, lengths = model.encoder(known["speech"], known["speech_lengths"])
    embeddings, counts, weights = model.predictor(encoded, lengths)
    torch.testing.assert_close(encoded[0], known["encoder_out"][0], **TOLERANCE)
    torch.testing.assert_close(embeddings[0], known["acoustic_embeds"][0], **TOLERANCE)
    torch.testing.assert_close(weights[0], known["alphas"][0], **TOLERANCE)
    assert counts.tolist() == known["pre_token_length"].tolist()
    output = model(known["speech"], known["speech_lengths"])
    torch.testing.assert_close(output.logits[0], known["decoder_logits"][0], **TOLERANCE)
    assert output.logits[0].argmax(dim=-1).tolist() == known["greedy_ids"][0].tolist()
    if output.time_weights is not None:
        torch.testing.assert_close(output.time_weights[0], known["us_alphas"][0], **TOLERANCE)
        torch.testing.assert_close(output.time_weights.sum(dim=1), counts.float())


def test_timestamps(tiny):
    """Of bicif; those of the other model are the reference's fault, which takes its weights for its sums and back."""
    model, known, facts = tiny
    output = model(known["speech"], known["speech_lengths"])
    wanted = facts["timestamps"][0]
    if output.time_weights is not None:
        spans = token_spans(output.time_weights[0], len(wanted["tokens"]), 0.02)
        assert [list(milliseconds(span)) for span in spans] == wanted["timestamp_ms"]
        return
    swapped = token_spans(known["cif_peak"][0], len(wanted["tokens"]), 0.06, firings=[])
    assert [list(milliseconds(span)) for span in swapped] == wanted["timestamp_ms"]
    right = token_spans(output.weights[0, :53], len(wanted["tokens"]), 0.06)
    assert [list(milliseconds(span)) for span in right] != wanted["timestamp_ms"]
    sums = output.weights[0, :53].double().cumsum(dim=0)
    sums *= 23 / sums[-1]
    for number, (begin, _) in enumerate(right, start=1):
        frame = round(begin / 0.06 + 1.5)  # a token begins where the scaled sum of the weights passes its number
        assert sums[frame] > 0.9999 * number > sums[frame - 1] - 1e-6


@pytest.mark.parametrize("name", ["paraformer_large", "bicif_paraformer_large"])
def test_full_size_names_and_shapes(golden_paraformer, name):
    wanted = json.loads((golden_paraformer / "full_size_keys.json").read_text(encoding="utf-8"))[name]
    with torch.device("meta"):
        model = build_paraformer(configured(wanted["config"]), wanted["config"]["vocab_size"])
    published = module_names({key: torch.empty(shape, device="meta") for key, (shape, _) in wanted["state_dict"].items()})
    assert len(published) == len(wanted["state_dict"])
    assert {key: tensor.shape for key, tensor in model.state_dict().items()} == {key: t.shape for key, t in published.items()}
    assert sum(parameter.numel() for parameter in model.parameters()) == wanted["n_params"]


def recipe_weights(shapes, seed, overrides):
    """The weights that the manifest's recipe gives for published names and shapes."""
    state = {}
    for key, (shape, _) in shapes.items():
        generator = np.random.RandomState((zlib.crc32(key.encode()) ^ seed) & 0xFFFFFFFF)
        noise = torch.from_numpy(generator.standard_normal(shape).astype(np.float32))
        if len(shape) <= 1:
            state[key] = 1 + 0.05 * noise if key.endswith(".weight") else 0.05 * noise
        elif key.endswith("embed.0.weight"):
            state[key] = noise
        else:
            state[key] = noise / np.sqrt(np.prod(shape[1:]))
    for key, value in overrides.items():
        state[key].fill_(value)
    return state


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paraformer_large", "bicif_paraformer_large"])
def test_full_size(golden_paraformer, name):
    known = load_file(golden_paraformer / f"{name}_full_formula.safetensors")
    facts = facts_of(golden_paraformer, f"{name}_full_formula")
    shapes = json.loads((golden_paraformer / "full_size_keys.json").read_text(encoding="utf-8"))[name]["state_dict"]
    with torch.device("meta"):
        model = build_paraformer(configured(facts["config"]), facts["config"]["vocab_size"])
    state = recipe_weights(shapes, facts["seed"], {"predictor.cif_output.bias": -1.1})
    load_state(model, module_names(state), "the recipe", assign=True)
    model.eval().requires_grad_(False)
    lengths = torch.tensor([known["speech"].shape[1]])
    encoded, _ = model.encoder(known["speech"], lengths)
    torch.testing.assert_close(encoded, known["encoder_out"], atol=2e-3, rtol=0)
    embeddings, counts, weights = model.predictor(encoded, lengths)
    assert counts.tolist() == known["token_length"].tolist()
    torch.testing.assert_close(weights, known["alphas"], atol=1e-3, rtol=0)
    torch.testing.assert_close(embeddings, known["acoustic_embeds"], atol=2e-3, rtol=0)
    output = model(known["speech"], lengths)
    torch.testing.assert_close(output.logits[:, :, :64], known["logits_first64"], atol=5e-3, rtol=0)
    torch.testing.assert_close(output.logits.logsumexp(dim=-1), known["logits_logsumexp"], atol=5e-3, rtol=0)
    assert output.logits.argmax(dim=-1).tolist() == known["greedy_ids"].tolist()
    if output.time_weights is not None:
        torch.testing.assert_close(output.time_weights, known["us_alphas"], atol=1e-3, rtol=0)


def test_front_end(golden_paraformer):
    known = load_file(golden_paraformer / "frontend.safetensors")
    frontend = Frontend(cmvn=read_cmvn(golden_paraformer / "am_asr.mvn"))
    for index in range(3):
        frames = fbank(known[f"wav{index}"])
        torch.testing.assert_close(frames, known[f"asr{index}.fbank"], atol=2e-3, rtol=0)
        torch.testing.assert_close(apply_lfr(frames), known[f"asr{index}.lfr"], atol=2e-3, rtol=0)
        torch.testing.assert_close(frontend(known[f"wav{index}"]), known[f"asr{index}.feats"], atol=1e-3, rtol=0)
    frames, lengths = frontend.padded([known[f"wav{index}"] for index in range(3)])
    assert lengths.tolist() == known["asr_batch.lens"].tolist()
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(frames[row, :length], known["asr_batch.feats"][row, :length], atol=1e-3, rtol=0)
    # Under 25 ms the reference shrinks its window, which changes what the features mean; here that is an error.
    with pytest.raises(AudioError, match="a frame needs 400"):
        frontend(known["short.wav"])
