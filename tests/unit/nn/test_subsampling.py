import pytest
import torch

from mooer.common.lengths import conv2d_frames
from mooer.nn.subsampling import Conv2dSubsampling, LinearInput


@pytest.mark.parametrize("frames", [7, 10, 11, 30])
def test_frames_that_come_out(frames):
    assert Conv2dSubsampling(8, 4)(torch.randn(2, frames, 8)).shape == (2, conv2d_frames(frames), 4)


def test_each_frame_sees_seven():
    torch.manual_seed(0)
    layer, frames = Conv2dSubsampling(8, 4), torch.randn(1, 23, 8)
    whole = layer(frames)
    for place in range(conv2d_frames(23)):
        torch.testing.assert_close(layer(frames[:, 4 * place : 4 * place + 7])[:, 0], whole[:, place])


@pytest.mark.parametrize("frames", [0, 1, 6])
def test_too_few_frames_are_filled_up(frames):
    layer = Conv2dSubsampling(8, 4)
    short = torch.randn(1, frames, 8)
    filled = torch.cat([short, torch.zeros(1, 7 - frames, 8)], dim=1)
    assert torch.equal(layer(short), layer(filled))


def test_stacked_frames_stay_as_many():
    torch.manual_seed(0)
    layer, frames = LinearInput(12, 4, dropout=0.5).eval(), torch.randn(2, 5, 12)
    assert layer.frames(5) == 5
    torch.testing.assert_close(layer(frames)[:, 3], layer(frames[:, 3:4])[:, 0])
    assert layer(frames[:, :0]).shape == (2, 1, 4)
