"""Outputs of a frozen encoder on disk: what is found, what is not, and what a killed process leaves behind."""

import pytest
import torch
from torch import nn

from mooer.common.errors import ConfigError
from mooer.models.encoder_cache import EncoderCache


class Encoder(nn.Module):
    """Halves the frame rate, and remembers how many utterances it was given."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.given = []

    def forward(self, frames, lengths):
        self.given.append(len(frames))
        return self.linear(frames)[:, ::2], (lengths + 1) // 2


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder().requires_grad_(False)


def batch(*lengths, seed=1):
    """Utterances of these lengths; the same length and seed is the same utterance."""
    items = [torch.randn(length, 3, generator=torch.Generator().manual_seed(100 * seed + length)) for length in lengths]
    return nn.utils.rnn.pad_sequence(items, batch_first=True), torch.tensor(lengths)


def check(cache, encoder, frames, lengths):
    """What comes is what the encoder says, in the utterances; returns how many the encoder was given."""
    encoder.given.clear()
    found, found_lengths = cache.run(encoder, frames, lengths)
    given = sum(encoder.given)
    expected, expected_lengths = encoder(frames, lengths)
    assert found_lengths.tolist() == expected_lengths.tolist()
    for row, length in enumerate(expected_lengths):
        torch.testing.assert_close(found[row, :length], expected[row, :length], rtol=0, atol=1e-6)
        assert not found[row, length:].any()
    return given


def test_each_utterance_is_encoded_once_whatever_its_company(encoder, tmp_path):
    cache = EncoderCache(tmp_path, encoder)
    assert check(cache, encoder, *batch(5, 2)) == 2
    assert check(cache, encoder, *batch(2, 9, 5)) == 1
    assert check(cache, encoder, *batch(9)) == 0
    assert check(cache, encoder, *batch(9, seed=2)) == 1
    assert (cache.hits, cache.misses) == (3, 4)


def test_another_process_finds_what_one_has_written(encoder, tmp_path):
    first, second = EncoderCache(tmp_path, encoder), EncoderCache(tmp_path, encoder)
    assert check(first, encoder, *batch(5)) == 1
    assert check(second, encoder, *batch(5, 7)) == 1
    assert check(first, encoder, *batch(7)) == 0
    assert check(EncoderCache(tmp_path, encoder), encoder, *batch(5, 7)) == 0


def test_another_encoder_or_precision_finds_nothing(encoder, tmp_path):
    cache = EncoderCache(tmp_path, encoder)
    assert check(cache, encoder, *batch(5)) == 1
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = cache.run(encoder, *batch(5))
        again, _ = EncoderCache(tmp_path, encoder).run(encoder, *batch(5))
    assert encoder.given[-1] == 1
    assert found.dtype == again.dtype == torch.bfloat16
    assert torch.equal(found, again)
    encoder.linear.bias += 1
    assert check(EncoderCache(tmp_path, encoder), encoder, *batch(5)) == 1


@pytest.mark.parametrize("harm", ["record", "output", "flipped"])
def test_what_is_damaged_is_computed_again(encoder, tmp_path, harm):
    cache = EncoderCache(tmp_path, encoder)
    assert check(cache, encoder, *batch(5)) == 1
    assert check(cache, encoder, *batch(7)) == 1
    (path,) = tmp_path.rglob("*.idx" if harm == "record" else "*.bin")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if harm == "flipped" else data[:-1])
    again = EncoderCache(tmp_path, encoder)
    assert check(again, encoder, *batch(5, 7)) == 1
    assert check(again, encoder, *batch(5, 7)) == 0


def test_a_file_in_the_way_is_named(encoder, tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(ConfigError, match="cache"):
        EncoderCache(tmp_path / "cache", encoder)
