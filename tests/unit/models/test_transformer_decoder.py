"""The decoder over an encoder's frames: what it sees and what it must not see."""

import pytest
import torch

from mooer.common.errors import ConfigError
from mooer.models.transformer_decoder import (
    BidirectionalDecoder,
    TransformerDecoderConfig,
    build_decoder,
)

VOCABULARY, WIDTH = 9, 8
SIZES = {"attention_heads": 2, "linear_units": 12, "num_blocks": 2}
FRAMES = torch.randn(3, 7, WIDTH, generator=torch.Generator().manual_seed(2))
LENGTHS = torch.tensor([7, 4, 0])
TOKENS = torch.tensor([[8, 1, 2, 3], [8, 4, 4, 5], [8, 0, 1, 7]])


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(1)
    return build_decoder(TransformerDecoderConfig(**SIZES), VOCABULARY, WIDTH).eval().requires_grad_(False)


def test_no_token_sees_a_later_one(decoder):
    memory = decoder.remember(FRAMES, LENGTHS)
    before = decoder(TOKENS, memory)
    changed = TOKENS.clone()
    changed[:, 2] = 6
    after = decoder(changed, memory)
    torch.testing.assert_close(before[:, :2], after[:, :2])
    assert ((before[:, 2:] - after[:, 2:]).abs().amax(dim=-1) > 1e-4).all()


def test_the_order_of_the_tokens_counts():
    """In a single block nothing but positions tells it."""
    torch.manual_seed(1)
    decoder = build_decoder(TransformerDecoderConfig(**SIZES | {"num_blocks": 1}), VOCABULARY, WIDTH).eval()
    memory = decoder.remember(FRAMES[:1], LENGTHS[:1])
    one, other = (decoder(torch.tensor([ids]), memory)[0, -1] for ids in ([8, 1, 2, 3], [8, 2, 1, 3]))
    assert (one - other).abs().max() > 1e-3


def test_padded_frames_are_not_seen(decoder):
    alone = [
        decoder(TOKENS[row : row + 1], decoder.remember(FRAMES[row : row + 1, :length], LENGTHS[row : row + 1]))
        for row, length in ((0, 7), (1, 4))
    ]
    noisy = FRAMES.clone()
    noisy[1, 4:] = 1e3
    together = decoder(TOKENS, decoder.remember(noisy, LENGTHS))
    for row, expected in enumerate(alone):
        torch.testing.assert_close(together[row : row + 1], expected)
    assert together[2].isfinite().all()


def test_step_by_step_as_at_once(decoder):
    memory = decoder.remember(FRAMES, LENGTHS)
    expected = decoder(TOKENS, memory).log_softmax(dim=-1)
    cache = decoder.start(memory)
    for place in range(TOKENS.shape[1]):
        log_probs, cache = decoder.step(TOKENS[:, place], memory, cache)
        torch.testing.assert_close(log_probs, expected[:, place])


def test_answers_of_an_utterance_share_its_frames(decoder):
    """Two answers each, at once and step by step: as if every utterance stood there twice."""
    tokens = torch.cat([TOKENS, TOKENS.flip(0)], dim=1).view(6, 4)  # rows 0 and 1 are of the first utterance
    memory, twice = (decoder.remember(FRAMES.repeat_interleave(n, 0), LENGTHS.repeat_interleave(n)) for n in (1, 2))
    expected = decoder(tokens, twice)
    torch.testing.assert_close(decoder(tokens, memory), expected)
    cache = decoder.start(memory, num_answers=2)
    for place in range(4):
        log_probs, cache = decoder.step(tokens[:, place], memory, cache)
        torch.testing.assert_close(log_probs, expected[:, place].log_softmax(dim=-1))


def test_some_of_the_utterances(decoder):
    kept = torch.tensor([1, 0])
    memory = decoder.remember(FRAMES, LENGTHS)
    torch.testing.assert_close(decoder(TOKENS[kept], memory.of(kept)), decoder(TOKENS, memory)[kept])


def test_half_precision_keeps_positions(decoder):
    """Residuals stay in float32: a model in bfloat16 is off by the rounding of its weights only."""
    half = build_decoder(TransformerDecoderConfig(**SIZES), VOCABULARY, WIDTH).eval()
    half.load_state_dict(decoder.state_dict())
    half.bfloat16()
    tokens = torch.ones(3, 60, dtype=torch.long)
    exact = decoder(tokens, decoder.remember(FRAMES, LENGTHS))
    rounded = half(tokens, half.remember(FRAMES.bfloat16(), LENGTHS)).float()
    assert (exact - rounded).abs().max() < 0.05


def test_two_ways():
    both = build_decoder(TransformerDecoderConfig(**SIZES, r_num_blocks=1), VOCABULARY, WIDTH)
    assert isinstance(both, BidirectionalDecoder)
    assert (len(both.left_decoder.decoders), len(both.right_decoder.decoders)) == (2, 1)
    one = build_decoder(TransformerDecoderConfig(**SIZES), VOCABULARY, WIDTH)
    assert one.left_decoder is one
    assert one.right_decoder is None
    assert not any(name.startswith("left_decoder") for name in one.state_dict())


@pytest.mark.parametrize("settings", [{"attention_heads": 0}, {"num_blocks": 0}, {"r_num_blocks": -1}, {"dropout_rate": 1.0}])
def test_settings_that_cannot_be(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        TransformerDecoderConfig(**settings)


@pytest.mark.parametrize(("heads", "width"), [(3, 8), (1, 7)])
def test_widths_that_do_not_fit(heads, width):
    with pytest.raises(ConfigError, match="width"):
        build_decoder(TransformerDecoderConfig(attention_heads=heads), VOCABULARY, width)
