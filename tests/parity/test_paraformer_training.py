"""Paraformer's training losses and gradients against the reference's, with its draws of the sampler.

The reference's utterances see each other where the padding is not zeroed: in the encoder's output, which the predictor's
convolution reads over the end, and in the backward LSTM of the second predictor. To compare batches, the tests put that back.
The reference also zeroes the memory, and nothing else, in the padding of each block. And where it integrates in a loop (bicif),
rounding keeps the last token from firing, so that its embedding is zero in all three utterances.
"""

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from mooer.common.config import from_dict
from mooer.models import paraformer_training
from mooer.models.cif import integrate, scaled
from mooer.models.paraformer_dir import ParaformerConfig, build_paraformer, module_names
from mooer.models.paraformer_training import ParaformerLosses, ParaformerTraining, glanced
from mooer.models.weights import load_state
from mooer.nn import attention
from mooer.nn.attention import fsmn_memory
from mooer.nn.masks import key_mask, padding_mask, zero_padding

TRAINING = ("input_size", "vocab_size", "ctc_weight", "lsm_weight", "length_normalized_loss", "predictor_weight")
TRAINING += ("predictor_bias", "sampling_ratio")
END = 2


@pytest.fixture(scope="module", params=["paraformer_tiny", "bicif_tiny"])
def tiny(request, golden_paraformer):
    """The model with its losses, its golden tensors, and what the manifest says of them."""
    manifest = json.loads((golden_paraformer / "manifest.json").read_text(encoding="utf-8"))
    known, facts = (
        load_file(golden_paraformer / f"{request.param}.safetensors"),
        manifest["files"][f"{request.param}.safetensors"],
    )
    settings = facts["config"]
    published = {key: value for key, value in settings.items() if key not in TRAINING}
    name = "BiCifParaformer" if settings["predictor"] == "CifPredictorV3" else "Paraformer"
    config = from_dict(ParaformerConfig, published | {"model": name, "frontend": "WavFrontend", "frontend_conf": {}})
    model = build_paraformer(config, settings["vocab_size"])
    state = {name.removeprefix("model."): tensor for name, tensor in known.items() if name.startswith("model.")}
    load_state(model, module_names(state), request.param)
    losses = ParaformerLosses(label_smoothing=settings["lsm_weight"], sampling_ratio=settings["sampling_ratio"])
    return ParaformerTraining(model, losses).eval(), known, facts


def targets_of(known):
    lengths = known["train.ys_pad_eos_lens"]
    return known["train.ys_pad_eos"].clamp_min(0), lengths


def order_of(facts, width):
    """The reference's draws as the order in which tokens are replaced."""
    order = torch.full((3, width), math.inf)
    for row, draw in enumerate(facts["sampler"]["randperm_draws"]):
        order[row, draw] = torch.arange(len(draw), dtype=torch.float)
    return order


def leaking(model, known):
    """The encoder's output with what the reference leaves in its padding, and the second predictor as the reference runs it."""
    encoder, frames, lengths = model.encoder, known["speech"], known["speech_lengths"]
    mask = padding_mask(lengths, frames.shape[1])
    hidden = encoder.positions(zero_padding(frames, mask) * math.sqrt(encoder.output_size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "fsmn_memory", lambda *inputs: zero_padding(fsmn_memory(*inputs), mask))
        for block in (*encoder.encoders0, *encoder.encoders):
            hidden = block(hidden, mask, key_mask(mask))
    if model.token_times is not None:
        model.token_times._both_ways = lambda fine, _: model.token_times.blstm(fine)[0]
    return encoder.after_norm(hidden)


@pytest.fixture(scope="module")
def leaked(tiny):
    """The reference's encodings of the batch, with gradients."""
    model, known, _ = tiny
    encoded = leaking(model, known)
    torch.testing.assert_close(encoded, known["encoder_out"], atol=1e-4, rtol=1e-4)
    with pytest.MonkeyPatch.context() as patch:
        if model.token_times is not None:
            patch.setattr(paraformer_training, "integrate", integrate_as_the_loop)
        yield encoded
    if model.token_times is not None:
        del model.token_times._both_ways


def integrate_as_the_loop(frames, weights, lengths):
    embeddings, counts = integrate(frames, weights, lengths)
    fired = padding_mask(lengths - 1, embeddings.shape[1])
    return zero_padding(embeddings, fired), counts


def test_losses_and_gradients_of_a_batch(tiny, leaked):
    model, known, facts = tiny
    targets, lengths = targets_of(known)
    output = model.losses(leaked, known["speech_lengths"], targets, lengths, order_of(facts, targets.shape[1]))
    assert output.num_tokens == known["loss.weight"]
    assert output.num_correct / output.num_tokens == known["loss.acc"]
    mean = output.loss_sum / output.num_tokens
    torch.testing.assert_close(mean, known["loss.total"][0], atol=1e-4, rtol=1e-5)
    model.zero_grad()
    mean.backward(retain_graph=True)
    found = {name: parameter.grad.norm() for name, parameter in model.named_parameters()}
    wanted = module_names(facts["grad_norms"])
    assert found.keys() == wanted.keys()
    for name, norm in wanted.items():
        assert float(found[name]) == pytest.approx(norm, rel=2e-3, abs=2e-4), name
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    stored = {name.removeprefix("grad."): tensor for name, tensor in known.items() if name.startswith("grad.")}
    for name, tensor in module_names(stored).items():
        torch.testing.assert_close(gradients[name], tensor, atol=1e-4, rtol=1e-3)


def test_steps_of_the_loss(tiny, leaked):
    model, known, facts = tiny
    targets, lengths = targets_of(known)
    weights = model.predictor.frame_weights(leaked, known["speech_lengths"])
    torch.testing.assert_close(weights.sum(dim=1), known["train.train_token_num"], atol=1e-4, rtol=0)
    acoustic, counts = paraformer_training.integrate(leaked, scaled(weights, lengths), lengths)
    assert counts.tolist() == lengths.tolist()
    torch.testing.assert_close(scaled(weights, lengths), known["train.train_alphas"], atol=1e-5, rtol=1e-4)
    real = padding_mask(lengths, targets.shape[1])
    torch.testing.assert_close(acoustic[real], known["train.train_acoustic_embeds"][real], atol=1e-4, rtol=1e-4)
    first = model.decoder(acoustic, lengths, leaked, known["speech_lengths"])
    torch.testing.assert_close(first[real], known["train.sampler_decoder_out_1st"][real], atol=2e-4, rtol=1e-4)
    correct = (first.argmax(dim=-1) == targets) & real
    replaced = glanced(correct, lengths, order_of(facts, targets.shape[1]), 0.75)
    assert torch.equal(~replaced & real, known["train.sampler_keep_acoustic_mask"])
    embeddings = torch.where(replaced[:, :, None], model.decoder.embed(targets), acoustic)
    torch.testing.assert_close(embeddings[real], known["train.sampler_semantic_embeds"][real], atol=1e-4, rtol=1e-4)
    second = model.decoder(embeddings, lengths, leaked, known["speech_lengths"])
    torch.testing.assert_close(second[real], known["train.decoder_logits_2nd"][real], atol=2e-4, rtol=1e-4)


def test_the_parts_of_the_loss(tiny, leaked):
    """Each with its weight: the tokens', the count's, and half of the second predictor's."""
    model, known, _ = tiny
    _, lengths = targets_of(known)
    weights = model.predictor.frame_weights(leaked, known["speech_lengths"])
    count = (weights.sum(dim=1) - lengths).abs().sum() / lengths.sum()
    torch.testing.assert_close(count, known["loss.loss_pre"][0], atol=1e-5, rtol=1e-5)
    total = known["loss.loss_att"] + known["loss.loss_pre"]
    if model.token_times is not None:
        second = model.token_times.frame_weights(leaked, known["speech_lengths"]).sum(dim=1)
        torch.testing.assert_close(second, known["pre_token_length2"], atol=1e-4, rtol=0)
        torch.testing.assert_close((second - lengths).abs().sum() / lengths.sum(), known["loss.loss_pre2"][0])
        total = total + 0.5 * known["loss.loss_pre2"]
    torch.testing.assert_close(total, known["loss.total"])


def test_without_the_leak_the_batch_is_the_sum_of_its_utterances(tiny):
    """And the loss of the two shorter ones is another than the reference's."""
    model, known, facts = tiny
    targets, lengths = targets_of(known)
    order = order_of(facts, targets.shape[1])
    frames, frame_lengths = known["speech"], known["speech_lengths"]
    encoded, _ = model.encoder(frames, frame_lengths)
    batch = model.losses(encoded, frame_lengths, targets, lengths, order)
    alone = 0.0
    for row, (length, count) in enumerate(zip(frame_lengths.tolist(), lengths.tolist(), strict=True)):
        own = slice(row, row + 1)
        encoding, _ = model.encoder(frames[own, :length], frame_lengths[own])
        one = model.losses(encoding, frame_lengths[own], targets[own, :count], lengths[own], order[own, :count])
        alone += one.loss_sum.item()
    assert batch.loss_sum.item() == pytest.approx(alone, rel=1e-5)
    assert abs(alone / 24 - float(known["loss.total"])) > 1e-3
