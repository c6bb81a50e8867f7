import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mooer.nn.convolution import ConformerConvolution, FrameBatchNorm
from mooer.nn.masks import padding_mask


def module_of(norm=None, causal=False, kernel_size=5, **more):
    torch.manual_seed(0)
    return ConformerConvolution(6, kernel_size, norm or nn.LayerNorm(6), causal, **more).eval()


def test_result_is_that_of_plain_convolutions():
    module, frames = module_of(), torch.randn(2, 9, 6)
    gated = F.glu(module.pointwise_conv1(frames.transpose(1, 2)), dim=1)
    mixed = F.conv1d(gated, module.depthwise_conv.weight, module.depthwise_conv.bias, padding=2, groups=6)
    wanted = module.pointwise_conv2(F.silu(module.norm(mixed.transpose(1, 2)).transpose(1, 2))).transpose(1, 2)
    torch.testing.assert_close(module(frames), wanted)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("norm", [nn.LayerNorm, FrameBatchNorm])
def test_padding_is_not_seen(causal, norm):
    module = module_of(norm(6), causal)
    frames, lengths = torch.randn(2, 9, 6), torch.tensor([9, 4])
    alone = module(frames[1:, :4])
    batched = module(frames, padding_mask(lengths, 9))
    torch.testing.assert_close(batched[1:, :4], alone)
    theirs = module_of(norm(6), causal, reference_padding=True)(frames, padding_mask(lengths, 9))
    assert causal == torch.allclose(theirs[1:, :4], alone, atol=1e-6)  # a causal one sees no padding in any case
    assert not theirs[1, 4:].any()


def test_causal_convolution_sees_nothing_later():
    frames = torch.randn(1, 9, 6)
    changed = frames.clone()
    changed[:, 5:] += 1.0
    for causal in (True, False):
        module = module_of(causal=causal, kernel_size=4 if causal else 5)
        same = torch.isclose(module(frames), module(changed), atol=1e-6).all(dim=2)[0]
        assert same[:3].all()
        assert same[3:5].all() == causal
        assert not same[5:].any()


def test_batch_norm_counts_real_frames_only():
    torch.manual_seed(0)
    norm, frames = FrameBatchNorm(6).train(), torch.randn(2, 9, 6)
    mask = padding_mask(torch.tensor([9, 4]), 9)
    got = norm(frames.masked_fill(~mask[:, :, None], 1e4), mask)
    plain = nn.BatchNorm1d(6).train()
    torch.testing.assert_close(got[mask], plain(frames[mask]))
    torch.testing.assert_close(norm.running_mean, plain.running_mean)
    assert not got[~mask].any()
    torch.testing.assert_close(norm.eval()(frames, mask)[mask], plain.eval()(frames[mask]))


def test_bfloat16_stays_bfloat16():
    module = module_of(nn.LayerNorm(6)).bfloat16()
    assert module(torch.randn(1, 4, 6).bfloat16()).dtype == torch.bfloat16
