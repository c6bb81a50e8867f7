import math

import pytest
import torch

from mooer.nn.positions import PositionEncoding, sinusoids


def test_sinusoids_are_sines_then_cosines_from_position_one():
    table = sinusoids(40, 560)
    for position, column in ((0, 0), (6, 3), (39, 279)):
        rate = 10000.0 ** (-column / 279)
        assert table[position, column].item() == pytest.approx(math.sin((position + 1) * rate), abs=1e-5)
        assert table[position, 280 + column].item() == pytest.approx(math.cos((position + 1) * rate), abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_positions_stay_float32_in_a_small_format(dtype):
    encoding = PositionEncoding(560).to(dtype)
    added = encoding(torch.zeros(1, 2000, 560, dtype=dtype))
    assert added.dtype == torch.float32
    torch.testing.assert_close(added[0], sinusoids(2000, 560), rtol=0, atol=0)


def test_a_table_made_in_decoding_serves_training():
    encoding = PositionEncoding(8)
    with torch.inference_mode():
        encoding(torch.zeros(1, 5, 8))
    frames = torch.zeros(1, 5, 8, requires_grad=True)
    (encoding(frames) * encoding(frames)).sum().backward()
    assert frames.grad.any() and not encoding._table.is_inference()


def test_the_table_grows_and_does_not_change():
    encoding = PositionEncoding(8)
    short = encoding(torch.zeros(1, 5, 8))
    long = encoding(torch.zeros(1, 3000, 8))
    assert torch.equal(long[:, :5], short)
    assert torch.equal(encoding(torch.zeros(1, 5, 8)), short)
    assert not encoding.state_dict()
