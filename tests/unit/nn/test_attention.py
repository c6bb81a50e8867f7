import math

import pytest
import torch

from mooer.nn.attention import SanmSelfAttention
from mooer.nn.masks import key_mask, padding_mask


def plainly(module, frames):
    """The formula, step by step, for one utterance without padding: [T, input] -> [T, output]."""
    query, key, value = module.linear_q_k_v(frames).chunk(3, dim=-1)
    width = value.shape[1] // module.heads
    context = []
    for head in range(module.heads):
        part = slice(head * width, (head + 1) * width)
        scores = query[:, part] @ key[:, part].T / math.sqrt(width)
        context.append(scores.softmax(dim=-1) @ value[:, part])
    kernel = module.fsmn_block.weight[:, 0]  # [D, K]
    reach = kernel.shape[1] // 2
    memory = value.clone()
    for time in range(len(frames)):
        for tap in range(kernel.shape[1]):
            if 0 <= time + tap - reach < len(frames):
                memory[time] += kernel[:, tap] * value[time + tap - reach]
    return module.linear_out(torch.cat(context, dim=-1)) + memory


@pytest.mark.parametrize(("input_size", "kernel_size"), [(12, 11), (8, 3), (8, 1)])
def test_attention_is_the_formula_whatever_the_padding(input_size, kernel_size):
    torch.manual_seed(0)
    module = SanmSelfAttention(input_size, 8, 2, kernel_size)
    lengths = torch.tensor([7, 1, 4])
    frames = torch.randn(3, 7, input_size)
    mask = padding_mask(lengths, 7)
    output = module(frames, mask, key_mask(mask))
    for row, length in enumerate(lengths):
        torch.testing.assert_close(output[row, :length], plainly(module, frames[row, :length]), atol=1e-5, rtol=1e-5)


def test_rows_without_any_frame_give_finite_numbers_and_gradients():
    module = SanmSelfAttention(8, 8, 2, 3)
    frames = torch.randn(2, 5, 8, requires_grad=True)
    mask = padding_mask(torch.tensor([5, 0]), 5)
    output = module(frames, mask, key_mask(mask))
    output.sum().backward()
    assert output.isfinite().all()
    assert frames.grad.isfinite().all()


def test_memory_runs_in_float32_under_autocast():
    torch.manual_seed(0)
    module = SanmSelfAttention(8, 8, 2, 3)
    frames = torch.randn(1, 6, 8)
    exact = module(frames, None, None)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = module(frames, None, None)
    torch.testing.assert_close(rounded.float(), exact, atol=0.05, rtol=0.05)
