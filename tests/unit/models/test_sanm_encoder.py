import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.common.errors import ConfigError
from mooer.models.sanm_encoder import SanmEncoder, SanmEncoderConfig


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return SanmEncoder(24, 32, 4, 64, 4, kernel_size=5).eval().requires_grad_(False)


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=4), extra=st.integers(0, 9), seed=st.integers(0, 99))
def test_an_utterance_does_not_see_its_batch(encoder, lengths, extra, seed):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randn(len(lengths), max(1, *lengths) + extra, 24, generator=generator) * 3
    for row, length in enumerate(lengths):
        frames[row, length:] = float("nan") if row % 2 else 1e6
    together, together_lengths = encoder(frames, torch.tensor(lengths))
    assert together_lengths.tolist() == lengths
    for row, length in enumerate(lengths):
        assert not together[row, length:].any()
        if length:
            alone, _ = encoder(frames[row : row + 1, :length], torch.tensor([length]))
            torch.testing.assert_close(together[row, :length], alone[0], atol=1e-5, rtol=1e-5)


def test_the_same_batch_gives_the_same_bits_in_any_order(encoder):
    frames, lengths = torch.randn(3, 20, 24), torch.tensor([20, 11, 5])
    forward, backward = encoder(frames, lengths)[0], encoder(frames.flip(0), lengths.flip(0))[0]
    assert torch.equal(forward, backward.flip(0))


def test_positions_reach_the_first_norm_of_a_bfloat16_model_unrounded():
    """Beside features of a hundred, which bfloat16 knows to half a unit, a sine rounded with them is lost."""
    torch.manual_seed(0)
    exact = SanmEncoder(24, 32, 4, 64, 2).eval()
    rounded = SanmEncoder(24, 32, 4, 64, 2).eval()
    rounded.load_state_dict(exact.state_dict())
    frames, lengths = 17.0 + 0.1 * torch.randn(1, 600, 24), torch.tensor([600])
    normalised = {}
    for name, model in (("exact", exact), ("rounded", rounded.bfloat16())):
        norm = model.encoders0[0].norm1
        norm.register_forward_hook(lambda _module, _inputs, output, name=name: normalised.update({name: output.float()}))
        assert model(frames, lengths)[0].isfinite().all()
    torch.testing.assert_close(normalised["rounded"], normalised["exact"], atol=0.01, rtol=0.01)


def test_gradients_reach_every_parameter():
    model = SanmEncoder(24, 32, 4, 64, 3, dropout=0.1).train()
    frames = torch.randn(3, 9, 24)
    model(frames, torch.tensor([9, 4, 0]))[0].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize(
    "wrong",
    [{"attention_heads": 3}, {"kernel_size": 10}, {"num_blocks": 0}, {"dropout": 1.0}, {"input_size": 7}, {"input_size": 2}],
)
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SanmEncoderConfig(**wrong)
