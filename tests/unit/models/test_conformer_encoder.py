"""What an encoder does with padding, chunks and short inputs; its numbers are in tests/parity."""

import dataclasses

import pytest
import torch

from mooer.common.errors import ConfigError
from mooer.models.conformer_encoder import ChunkHabits, ConformerEncoderConfig, build_conformer_encoder
from mooer.models.moe_conformer_encoder import MoeConfig, build_moe_encoder
from mooer.nn.masks import Chunks

SMALL = ConformerEncoderConfig(
    input_size=12, output_size=16, attention_heads=2, linear_units=24, num_blocks=2, kernel_size=5, dropout=0.0
)
SMALL = dataclasses.replace(SMALL, positional_dropout=0.0)
LENGTHS = torch.tensor([50, 33, 7, 6, 0])


def encoder_of(with_experts=False, seed=0, **changes):
    torch.manual_seed(seed)
    config = dataclasses.replace(SMALL, **changes)
    if not with_experts:
        return build_conformer_encoder(config, 9).eval()
    experts = MoeConfig(num_experts=3, dropout=0.0)
    embedding = ConformerEncoderConfig(**(dataclasses.asdict(config) | {"output_size": 8, "num_blocks": 1}))
    encoder = build_moe_encoder(config, experts, embedding, 9)
    for block in encoder.blocks:
        torch.nn.init.normal_(block.feed_forward.experts.w_1.weight)
        torch.nn.init.normal_(block.feed_forward.experts.w_2.weight)
    return encoder.eval()


def batch_of(lengths=LENGTHS, width=12):
    torch.manual_seed(1)
    return torch.randn(len(lengths), int(lengths.max()), width)


WAYS = [
    {},
    {"with_experts": True},
    {"convolution_norm": "batch_norm", "positions": "absolute"},
    {"positions": "none"},
    {"causal": True, "chunk_size": 2, "left_chunks": 1},
    {"with_experts": True, "chunk_size": 3},
    {"with_experts": True, "input_layer": "linear"},
]


# Batch norm in training is the exception, by its nature.
MODES = [(way, training) for way in WAYS for training in (False, True) if not (training and "convolution_norm" in way)]


@pytest.mark.parametrize(("way", "training"), MODES, ids=str)
def test_a_result_does_not_depend_on_the_batch(way, training):
    """Nor on what stands in the padding."""
    encoder, frames = encoder_of(**way).train(training), batch_of()
    batched, lengths = encoder(frames, LENGTHS)
    garbage = frames.clone()
    for row, length in enumerate(LENGTHS.tolist()):
        garbage[row, length:] = float("nan")
    torch.testing.assert_close(encoder(garbage, LENGTHS)[0], batched)
    for row, length in enumerate(LENGTHS.tolist()):
        alone, alone_lengths = encoder(frames[row : row + 1, :length], LENGTHS[row : row + 1])
        assert lengths[row] == alone_lengths[0]
        torch.testing.assert_close(batched[row, : lengths[row]], alone[0, : lengths[row]], atol=1e-5, rtol=1e-5)
        assert not batched[row, lengths[row] :].any()


@pytest.mark.parametrize("with_experts", [False, True])
def test_gradients_do_not_depend_on_the_padding(with_experts):
    encoder, frames = encoder_of(with_experts).train(), batch_of()
    gradients = []
    for room in (0, 40):
        encoder.zero_grad()
        encoder(torch.cat([frames, torch.full((len(frames), room, 12), 7.0)], dim=1), LENGTHS)[0].square().sum().backward()
        gradients.append({name: tensor.grad for name, tensor in encoder.named_parameters() if tensor.grad is not None})
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("with_experts", [False, True])
@pytest.mark.parametrize("frames", [0, 1, 6])
def test_short_inputs_have_length_zero(with_experts, frames):
    encoder = encoder_of(with_experts)
    output, lengths = encoder(torch.randn(2, frames, 12), torch.full((2,), frames))
    assert lengths.tolist() == [0, 0]
    assert output.shape == (2, 1, 16)
    assert not output.any()


def test_the_switch_lets_padding_be_seen():
    ours, theirs = encoder_of(), encoder_of(reference_padding=True)
    frames = batch_of()
    first, second = ours(frames, LENGTHS)[0], theirs(frames, LENGTHS)[0]
    torch.testing.assert_close(first[0], second[0])
    assert (first[1, :7] - second[1, :7]).abs().max() > 1e-3
    assert theirs(frames, LENGTHS)[1].tolist() == [11, 9, 2, 2, 0]


def test_frames_see_the_chunks_before_them_and_no_later_one():
    encoder, frames = encoder_of(causal=True), batch_of(torch.tensor([47]))
    changed = frames.clone()
    changed[:, 31:] += 1.0  # encoder frames from 7 on read them
    chunks = Chunks(2, -1)
    first = encoder.encode(frames, torch.tensor([47]), chunks).hidden[0]
    second = encoder.encode(changed, torch.tensor([47]), chunks).hidden[0]
    same = torch.isclose(first, second, atol=1e-6).all(dim=1).tolist()
    assert same == [True] * 6 + [False] * 5
    whole = encoder.encode(frames, torch.tensor([47])).hidden[0]
    assert not torch.allclose(whole[:6], first[:6], atol=1e-3)


def test_chunks_are_drawn_in_training_only():
    habits = ChunkHabits(None, random=True, random_left=True)
    torch.manual_seed(0)
    drawn = [habits.draw(100, training=True) for _ in range(400)]
    assert not any(habits.draw(100, training=False) for _ in range(20))
    sizes = [chunks.size for chunks in drawn if chunks]
    assert 150 < len(sizes) < 250
    assert (min(sizes), max(sizes)) == (1, 25)
    assert all(0 <= chunks.left < -(-100 // chunks.size) for chunks in drawn if chunks)
    assert ChunkHabits(Chunks(4), False).draw(100, training=True) == Chunks(4)


def test_routers_pass_no_gradient_to_the_embedding():
    encoder = encoder_of(with_experts=True).train()
    encoded = encoder.encode(batch_of(), LENGTHS)
    (encoded.hidden.square().sum() + sum(routing.probabilities.square().sum() for routing in encoded.routings)).backward()
    assert all(parameter.grad is None for parameter in encoder.embed.parameters())
    assert all(block.feed_forward.router_weights.grad.any() for block in encoder.blocks)


def test_a_frozen_embedding_network_stays_in_eval_mode():
    encoder = encoder_of(with_experts=True)
    encoder.embed.requires_grad_(False)
    encoder.train()
    assert not encoder.embed.training
    assert encoder.blocks[0].training


def test_bfloat16_model():
    encoder, frames = encoder_of(with_experts=True), batch_of()
    exact = encoder(frames, LENGTHS)[0]
    rounded = encoder.bfloat16()(frames.bfloat16(), LENGTHS)[0]
    assert rounded.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(rounded.float().flatten(), exact.flatten(), dim=0) > 0.9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_heads": 3}, "multiple of attention_heads"),
        ({"kernel_size": 4}, "must be odd"),
        ({"input_size": 6}, "at least 7"),
        ({"input_layer": "linear", "input_size": 0}, "at least 1"),
        ({"chunk_size": 4, "random_chunks": True}, "choose one"),
        ({"left_chunks": -2}, "left_chunks"),
        ({"positional_dropout": 1.0}, "positional_dropout"),
        ({"num_blocks": 0}, "num_blocks"),
    ],
)
def test_sizes_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SMALL, **changes)
