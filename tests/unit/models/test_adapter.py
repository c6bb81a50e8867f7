import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mooer.common.errors import ConfigError
from mooer.common.lengths import adapter_frames
from mooer.models.adapter import AdapterConfig, LinearAdapter


@settings(max_examples=40, deadline=None)
@given(
    rate=st.integers(1, 4),
    lengths=st.lists(st.integers(0, 15), min_size=1, max_size=4),
    extra=st.integers(0, 5),
    layer_norm=st.booleans(),
)
def test_an_utterance_does_not_see_its_batch(rate, lengths, extra, layer_norm):
    torch.manual_seed(0)
    adapter = LinearAdapter(6, 5, rate, 16, layer_norm).requires_grad_(False)
    frames = torch.randn(len(lengths), max(lengths) + extra, 6)
    embeddings, embedding_lengths = adapter(frames, torch.tensor(lengths))
    assert embeddings.shape == (len(lengths), (max(lengths) + extra) // rate, 5)
    assert embedding_lengths.tolist() == [adapter_frames(length, rate) for length in lengths]
    for row, length in enumerate(lengths):
        alone, _ = adapter(frames[row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(embeddings[row, : length // rate], alone[0], atol=1e-5, rtol=1e-5)


def test_fewer_frames_than_the_rate_give_no_embedding():
    embeddings, lengths = LinearAdapter(6, 5, 4, 16)(torch.randn(2, 3, 6), torch.tensor([3, 1]))
    assert embeddings.shape == (2, 0, 5)
    assert lengths.tolist() == [0, 0]


def test_frames_of_another_format_are_converted():
    embeddings, _ = LinearAdapter(6, 5, 2, 16)(torch.randn(1, 4, 6).bfloat16(), torch.tensor([4]))
    assert embeddings.dtype == torch.float32


def test_impossible_sizes_are_refused():
    with pytest.raises(ConfigError, match="downsample_rate"):
        AdapterConfig(downsample_rate=0)
