"""The decoder over an encoder's frames, and what is decoded with it: equal to the reference's numbers."""

import pytest
import torch
from safetensors.torch import load_file

from mooer.models.attention_loss import AttentionLoss
from mooer.models.transformer_decoder import UNUSED_PART, TransformerDecoderConfig, build_decoder
from mooer.models.weights import load_state
from mooer.nn.masks import padding_mask

VOCABULARY, WIDTH, BOUNDARY = 31, 32, 30
FORWARD = {"atol": 2e-5, "rtol": 1e-4}


def decoder_of(state, prefix, **sizes):
    """The decoder whose tensors have a prefix in a golden state."""
    model = build_decoder(TransformerDecoderConfig(attention_heads=4, linear_units=56, **sizes), VOCABULARY, WIDTH)
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    load_state(model, {name: value for name, value in own.items() if UNUSED_PART not in name}, prefix)
    return model.eval()


@pytest.fixture(scope="module")
def batch(golden_conformer):
    return load_file(golden_conformer / "dense_aed.eval.safetensors")


@pytest.fixture(scope="module")
def decoder(golden_conformer):
    return decoder_of(load_file(golden_conformer / "dense_aed.weights.safetensors"), "decoder.", num_blocks=2)


@pytest.fixture(scope="module")
def both_ways(golden_conformer):
    tensors = load_file(golden_conformer / "bidecoder_aed.safetensors")
    return tensors, decoder_of(tensors, "w.decoder.", num_blocks=1, r_num_blocks=1)


def real_places(batch):
    return padding_mask(batch["target_lens"] + 1, batch["ys_in_pad"].shape[1])


def labels(batch):
    return batch["hidden"], batch["out_lens"], batch["target"].clamp_min(0), batch["target_lens"].long()


def test_logits(batch, decoder):
    logits = decoder(batch["ys_in_pad"], decoder.remember(batch["hidden"], batch["out_lens"]))
    real = real_places(batch)
    torch.testing.assert_close(logits[real], batch["decoder_out"][real], **FORWARD)


def test_logits_of_both_ways(batch, both_ways):
    golden, model = both_ways
    real = real_places(batch)
    reverse_inputs = torch.cat([torch.full((3, 1), BOUNDARY), golden["r_ys_out_pad"][:, :-1].clamp_min(0)], dim=1)
    inputs = {"decoder_out": batch["ys_in_pad"], "r_decoder_out": reverse_inputs}
    for name, one in (("decoder_out", model.left_decoder), ("r_decoder_out", model.right_decoder)):
        logits = one(inputs[name], one.remember(golden["hidden"], batch["out_lens"]))
        torch.testing.assert_close(logits[real], golden[name][real], **FORWARD)


def test_step_by_step(golden_conformer, decoder):
    golden = load_file(golden_conformer / "decoder_one_step.safetensors")
    memory = decoder.remember(golden["encoder_out"], torch.tensor([golden["encoder_out"].shape[1]]))
    cache = decoder.start(memory)
    for token, expected in zip(golden["ys_in"], golden["log_probs"], strict=True):
        log_probs, cache = decoder.step(token[None], memory, cache)
        torch.testing.assert_close(log_probs[0], expected, **FORWARD)


def test_loss(batch, decoder):
    loss = AttentionLoss(boundary_id=BOUNDARY, smoothing=0.1)(decoder, *labels(batch))
    torch.testing.assert_close(loss.loss_sum, batch["metric_sum.aed_loss"], rtol=2e-5, atol=0)
    assert loss.num_tokens == batch["metric_count.aed_loss"]
    torch.testing.assert_close(loss.loss_sum / 3, batch["loss_term.att"], rtol=2e-5, atol=0)


@pytest.mark.parametrize("reverse_weight", [0.0, 0.3, 0.5])
def test_loss_of_both_ways(batch, both_ways, reverse_weight):
    golden, model = both_ways
    _, *rest = labels(batch)
    loss = AttentionLoss(boundary_id=BOUNDARY, reverse_weight=reverse_weight)(model, golden["hidden"], *rest)
    expected = (1 - reverse_weight) * golden["loss_left"] + reverse_weight * golden["loss_right"]
    torch.testing.assert_close(loss.loss_sum / 3, expected, rtol=2e-5, atol=0)


def test_gradients(golden_conformer, batch, decoder):
    """Of the total loss, of which the decoder's share is 1 - 0.3."""
    golden = load_file(golden_conformer / "dense_aed.grads.safetensors")
    decoder.zero_grad()
    (0.7 / 3 * AttentionLoss(boundary_id=BOUNDARY)(decoder, *labels(batch)).loss_sum).backward()
    for name, parameter in decoder.named_parameters():
        expected = golden[f"decoder.{name}"]
        # A bias of all keys alike changes nothing: its gradient is rounding.
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-3, atol=max(1e-6, 1e-5 * float(expected.abs().max())))
