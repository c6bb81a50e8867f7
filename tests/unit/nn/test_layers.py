import torch

from mooer.nn.dropout import UtteranceDropout
from mooer.nn.feed_forward import FeedForward
from mooer.nn.norm import LayerNorm


def test_dropout_keeps_the_mean_and_one_mask_an_utterance():
    torch.manual_seed(0)
    dropped = UtteranceDropout(0.25).train()(torch.ones(400, 5, 50))
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs(dropped.mean().item() - 1.0) < 0.02


def test_dropout_does_nothing_in_eval_mode_or_at_rate_zero():
    frames = torch.randn(2, 3, 4)
    assert UtteranceDropout(0.5).eval()(frames) is frames
    assert UtteranceDropout(0.0).train()(frames) is frames


def test_layer_norm_takes_float32_frames_in_a_bfloat16_model():
    torch.manual_seed(0)
    frames = torch.randn(2, 3, 64) * 100 + 1000  # bfloat16 frames would lose the differences
    exact = LayerNorm(64)(frames)
    rounded = LayerNorm(64).bfloat16()(frames)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, atol=2e-2, rtol=1e-2)


def test_feed_forward_is_two_linear_layers_and_a_relu():
    module = FeedForward(4, 8, 0.3).eval()
    frames = torch.randn(2, 3, 4)
    hidden = (frames @ module.w_1.weight.T + module.w_1.bias).clamp(min=0)
    torch.testing.assert_close(module(frames), hidden @ module.w_2.weight.T + module.w_2.bias)
