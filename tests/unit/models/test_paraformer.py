import pytest
import torch

from mooer.models.paraformer_dir import load_paraformer

FRAMES = torch.randn(3, 20, 560, generator=torch.Generator().manual_seed(4))
LENGTHS = torch.tensor([20, 13, 2])


@pytest.fixture(scope="module")
def model(paraformer_folder):
    return load_paraformer(paraformer_folder())[0]


def test_alone_and_in_a_batch(model):
    """What stands in the padding does not matter, not even where it is no number."""
    padded = FRAMES.clone()
    for row, length in enumerate(LENGTHS.tolist()):
        padded[row, length:] = float("nan")
    output = model(padded, LENGTHS)
    assert output.counts[0] > output.counts[1] > 0
    for row, length in enumerate(LENGTHS.tolist()):
        alone = model(FRAMES[row : row + 1, :length], LENGTHS[row : row + 1])
        count = alone.counts[0]
        assert output.counts[row] == count
        torch.testing.assert_close(output.logits[row, :count], alone.logits[0, :count], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(output.time_weights[row, : 3 * length], alone.time_weights[0], atol=1e-5, rtol=1e-5)
    assert output.logits.isfinite().all()


def test_an_utterance_without_tokens(model):
    output = model(FRAMES[:1, :1], torch.tensor([1]))
    assert output.counts.tolist() == [0]
    assert output.logits.shape == (1, 0, 10)


def test_times_are_computed_once(model):
    with torch.profiler.profile() as profile:
        model(FRAMES, LENGTHS)
    # Once for each direction.
    assert sum(event.count for event in profile.key_averages() if event.key == "aten::lstm") == 2


def test_half_precision(model, paraformer_folder):
    """Weights and their sums stay in float32, so that the number of tokens does not drown in rounding."""
    half, _ = load_paraformer(paraformer_folder(), torch.bfloat16)
    output, exact = half(FRAMES, LENGTHS), model(FRAMES, LENGTHS)
    assert (output.weights.dtype, output.time_weights.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(output.weights, exact.weights, atol=0.05, rtol=0)
