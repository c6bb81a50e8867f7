import pytest
import torch

from mooer.models.cif import CifPredictor, TokenTimes, integrate, scaled


def fired(frames, weights):
    """Integrate and fire, a frame at a time, as it is described."""
    tokens, total, token = [], 0.0, torch.zeros(frames.shape[1], dtype=torch.double)
    for frame, weight in zip(frames.double(), weights.double().tolist(), strict=True):
        while total + weight >= 1.0:
            tokens.append(token + (1.0 - total) * frame)
            weight, total, token = weight - (1.0 - total), 0.0, torch.zeros_like(token)
        total, token = total + weight, token + weight * frame
    return torch.stack(tokens) if tokens else torch.zeros(0, frames.shape[1])


@pytest.mark.parametrize("largest", [0.2, 0.9, 2.5])
def test_integrate_is_integrate_and_fire(largest):
    """Also where a frame is worth several tokens."""
    generator = torch.Generator().manual_seed(0)
    frames, weights = torch.randn(4, 60, 5, generator=generator), torch.rand(4, 60, generator=generator) * largest
    weights[1, 20:] = 0.0
    weights[2] = 0.0
    embeddings, counts = integrate(frames, weights)
    for row in range(4):
        wanted = fired(frames[row], weights[row])
        assert counts[row] == len(wanted)
        torch.testing.assert_close(embeddings[row, : len(wanted)], wanted.float(), atol=1e-5, rtol=1e-5)
        assert not embeddings[row, len(wanted) :].any()
    assert counts[2] == 0


def test_no_tokens_at_all():
    embeddings, counts = integrate(torch.ones(2, 3, 4), torch.full((2, 3), 0.1))
    assert embeddings.shape == (2, 0, 4)
    assert counts.tolist() == [0, 0]


def test_a_whole_number_but_for_rounding():
    """Ten tenths, which add up to a little less than one in float64."""
    weights = torch.full((1, 10), 0.1, dtype=torch.double)
    assert weights.cumsum(dim=1)[0, -1] < 1.0
    assert integrate(torch.ones(1, 10, 2).double(), weights)[1].tolist() == [1]


@pytest.fixture(scope="module")
def encoded():
    """Three rows of 12, 7 and 1 frames, with zeros in the padding."""
    frames = torch.randn(3, 12, 8, generator=torch.Generator().manual_seed(2))
    lengths = torch.tensor([12, 7, 1])
    return frames * (torch.arange(12)[None, :, None] < lengths[:, None, None]), lengths


def test_predictor_alone_and_in_a_batch(encoded):
    frames, lengths = encoded
    torch.manual_seed(0)
    predictor = CifPredictor(8, 1, 1, tail=0.45).eval().requires_grad_(False)
    embeddings, counts, weights = predictor(frames, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = predictor(frames[row : row + 1, :length], lengths[row : row + 1])
        assert counts[row] == alone[1][0]
        torch.testing.assert_close(embeddings[row, : counts[row]], alone[0][0])
        torch.testing.assert_close(weights[row, : length + 1], alone[2][0])
        assert weights[row, length] == pytest.approx(0.45)
        assert not weights[row, length + 1 :].any()


def test_weights_depend_on_as_many_neighbours_as_asked(encoded):
    frames, lengths = encoded
    predictor = CifPredictor(8, 2, 0, tail=0.0).eval().requires_grad_(False)
    before = predictor(frames[:1], lengths[:1])[2][0]
    after = predictor(frames[:1].index_fill(1, torch.tensor([5]), 3.0), lengths[:1])[2][0]
    assert (before != after).nonzero().flatten().tolist() == [5, 6, 7]


def test_smoothing_and_noise():
    predictor = CifPredictor(4, 1, 1, tail=0.0, smoothing=0.5, noise=0.1).requires_grad_(False)
    predictor.cif_output.weight.zero_()
    predictor.cif_output.bias.fill_(0.0)
    torch.testing.assert_close(predictor(torch.ones(1, 3, 4), torch.tensor([3]))[2][0, :3], torch.full((3,), 0.15))
    predictor.cif_output.bias.fill_(-10.0)
    assert not predictor(torch.ones(1, 3, 4), torch.tensor([3]))[2].any()


def test_times_alone_and_in_a_batch(encoded):
    frames, lengths = encoded
    counts = torch.tensor([4, 2, 0])
    torch.manual_seed(1)
    times = TokenTimes(8, 3, smoothing=1.0, noise=0.1).eval().requires_grad_(False)
    weights = times(frames, lengths, counts)
    assert weights.shape == (3, 36)
    torch.testing.assert_close(weights.sum(dim=1), counts.float())
    for row, length in enumerate(lengths.tolist()):
        alone = times(frames[row : row + 1, :length], lengths[row : row + 1], counts[row : row + 1])
        torch.testing.assert_close(weights[row, : 3 * length], alone[0])
        assert not weights[row, 3 * length :].any()


def test_times_of_silence(encoded):
    """All weights below the noise: they stay zero, whatever the number of tokens."""
    frames, lengths = encoded
    times = TokenTimes(8, 3, smoothing=0.25, noise=0.3).eval().requires_grad_(False)
    assert not times(frames, lengths, torch.tensor([4, 2, 1])).any()


def test_a_known_number_of_tokens_shares_all_the_weight():
    """Whatever rounding does to the last one."""
    generator = torch.Generator().manual_seed(3)
    frames, weights = torch.randn(2, 9, 4, generator=generator), torch.rand(2, 9, generator=generator)
    counts = torch.tensor([5, 3])
    embeddings, found = integrate(frames, scaled(weights, counts), counts)
    assert found.tolist() == [5, 3]
    assert embeddings.shape == (2, 5, 4) and not embeddings[1, 3:].any()
    torch.testing.assert_close(embeddings.sum(dim=1), torch.einsum("bt,btd->bd", scaled(weights, counts), frames))
