"""The losses of a Conformer; that they equal the reference's is in tests/parity."""

import dataclasses
import math

import pytest
import torch

from mooer.common.errors import ConfigError
from mooer.common.lengths import conv2d_frames
from mooer.models.checkpointing import checkpoint_blocks
from mooer.models.conformer_aed import ConformerLosses
from mooer.models.conformer_builder import ConformerConfig, outline_conformer
from mooer.models.conformer_encoder import ConformerEncoderConfig
from mooer.models.moe_conformer_encoder import MoeConfig
from mooer.models.transformer_decoder import TransformerDecoderConfig

VOCAB = 11
ENCODER = ConformerEncoderConfig(
    input_size=8, output_size=16, attention_heads=2, linear_units=24, num_blocks=2, kernel_size=3, dropout=0.0
)
ENCODER = dataclasses.replace(ENCODER, positional_dropout=0.0)
RATES = ("dropout_rate", "positional_dropout_rate")
DECODER = TransformerDecoderConfig(attention_heads=2, linear_units=24, num_blocks=1, **dict.fromkeys(RATES, 0.0))
EXPERTS = {"moe": MoeConfig(num_experts=3, dropout=0.0), "embedding": ENCODER}
FRAME_LENGTHS, TARGET_LENGTHS = torch.tensor([60, 45, 9]), torch.tensor([4, 3, 2])


def model_of(seed=0, **changes):
    torch.manual_seed(seed)
    return outline_conformer(ConformerConfig(**({"encoder": ENCODER, "decoder": DECODER} | changes)), VOCAB)


@pytest.fixture
def batch():
    torch.manual_seed(1)
    targets = torch.tensor([[3, 3, 5, 2], [7, 1, 9, -1], [4, 4, -1, -1]])
    return torch.randn(3, 60, 8), FRAME_LENGTHS, targets, TARGET_LENGTHS


def rows_of(batch):
    frames, frame_lengths, targets, target_lengths = batch
    for row in range(len(frames)):
        lengths = frame_lengths[row : row + 1], target_lengths[row : row + 1]
        yield frames[row : row + 1, : lengths[0]], lengths[0], targets[row : row + 1, : lengths[1]], lengths[1]


@pytest.mark.parametrize("decoder", [DECODER, None])
def test_losses_and_counts_are_sums_over_utterances(batch, decoder):
    model = model_of(decoder=decoder).eval()
    whole, alone = model(*batch), [model(*row) for row in rows_of(batch)]
    for name in whole._fields:
        torch.testing.assert_close(getattr(whole, name), sum(getattr(output, name) for output in alone))
    assert whole.num_tokens == (9 if decoder is None else 12)
    assert whole.num_infinite == 1  # two equal tokens in one frame
    assert whole.loss_sum.isfinite()


@pytest.mark.parametrize("parts", [{}, EXPERTS], ids=["dense", "experts"])
@pytest.mark.parametrize(
    ("frame_lengths", "target_lengths"), [([60, 5, 0], [0, 0, 0]), ([60, 45, 9], [0, 3, 0]), ([3, 2, 1], [1, 2, 0])]
)
def test_nothing_said_and_nothing_heard_have_a_loss_and_a_gradient(batch, parts, frame_lengths, target_lengths):
    """Empty references, recordings shorter than the subsampling needs, and both."""
    frames, _, targets, _ = batch
    model = model_of(**parts)
    output = model(frames, torch.tensor(frame_lengths), targets, torch.tensor(target_lengths))
    output.loss_sum.backward()
    assert output.loss_sum > 0 and output.loss_sum.isfinite()
    assert output.num_tokens == sum(target_lengths) + 3
    heard = [conv2d_frames(length) for length in frame_lengths]
    assert output.num_infinite == sum(said > count for said, count in zip(target_lengths, heard, strict=True))
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


def test_total_is_the_weighted_sum(batch):
    losses = ConformerLosses(ctc_weight=0.25, embedding_ctc_weight=0.5, sparsity_weight=0.2, importance_weight=0.3)
    model = model_of(losses=losses, **EXPERTS).eval()
    encoded = model.encoder.encode(*batch[:2])
    terms, _ = model.terms(encoded, *batch[2:])
    wanted = 0.25 * terms.ctc + 0.75 * terms.attention + 0.5 * terms.embedding_ctc
    wanted = wanted + 3 * (0.2 * terms.sparsity.sum() + 0.3 * terms.importance.sum())
    torch.testing.assert_close(model(*batch).loss_sum, wanted)
    assert terms.sparsity.shape == terms.importance.shape == (2,)
    assert all(1.0 <= value <= math.sqrt(3) for value in terms.sparsity.tolist())
    assert len({round(term.item(), 3) for term in (terms.ctc, terms.attention, terms.embedding_ctc)}) == 3


def test_padding_does_not_count_in_the_router_losses(batch):
    model = model_of(**EXPERTS).eval()
    frames, frame_lengths, *targets = batch
    wider = torch.cat([frames, torch.randn(3, 80, 8)], dim=1)
    torch.testing.assert_close(model(wider, frame_lengths, *targets).loss_sum, model(*batch).loss_sum)


def test_decoder_loss_divided_by_its_tokens(batch):
    plain, normalized = (ConformerLosses(ctc_weight=0.0, normalize_by_length=value) for value in (False, True))
    first, second = (model_of(losses=losses).eval()(*batch).loss_sum for losses in (plain, normalized))
    torch.testing.assert_close(second, first * 3 / 12)


def test_an_utterance_without_encoder_frames_has_finite_gradients(batch):
    model, (frames, _, *targets) = model_of(**EXPERTS).train(), batch
    model(frames[:, :6], torch.tensor([6, 5, 0]), *targets).loss_sum.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_frozen_parts_stay_in_eval_mode_and_get_no_gradient(batch):
    model = model_of(**EXPERTS)
    model.encoder.requires_grad_(False)
    model.train()
    assert not model.encoder.training
    model(*batch).loss_sum.backward()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    assert all(parameter.grad is not None for parameter in model.decoder.parameters())


def test_log_probs_are_ctcs(batch):
    model = model_of().eval()
    log_probs, lengths = model.log_probs(*batch[:2])
    assert lengths.tolist() == [14, 10, 1]
    hidden, _ = model.encoder(*batch[:2])
    torch.testing.assert_close(log_probs, model.encoder.out_linear(hidden).log_softmax(dim=-1))


@pytest.mark.parametrize(
    ("name", "value"),
    [("ctc_weight", 1.1), ("label_smoothing", 1.0), ("reverse_weight", -0.1), ("sparsity_weight", -1.0)],
)
def test_weights_that_cannot_be_are_refused(name, value):
    with pytest.raises(ConfigError, match=name):
        ConformerLosses(**{name: value})


def test_blocks_forget_their_activations(batch):
    gradients = []
    for forgets in (False, True):
        model = model_of(**EXPERTS).train()
        assert not forgets or checkpoint_blocks(model) == 2 + 2 + 1  # encoder, embedding network, decoder
        model(*batch).loss_sum.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    torch.testing.assert_close(gradients[0], gradients[1])
