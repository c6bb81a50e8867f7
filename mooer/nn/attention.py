"""Self-attention with memory (SANM; Gao et al. 2020): attention plus an FSMN, a depth-wise convolution over the values.

Shapes: B batch, T frames, D width, H heads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mooer.nn.masks import zero_padding


class SanmSelfAttention(nn.Module):
    """Multi-head self-attention and the FSMN memory of its values, summed.

    Parameter names are the Paraformer's: linear_q_k_v, fsmn_block, linear_out.
    """

    def __init__(self, input_size: int, output_size: int, heads: int, kernel_size: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q_k_v = nn.Linear(input_size, 3 * output_size)
        self.fsmn_block = nn.Conv1d(
            output_size, output_size, kernel_size, padding=kernel_size // 2, groups=output_size, bias=False
        )
        self.linear_out = nn.Linear(output_size, output_size)

    def forward(self, frames: Tensor, mask: Tensor | None, keys: Tensor | None) -> Tensor:
        """[B, T, input_size] -> [B, T, output_size].

        Args:
            mask: [B, T] bool, True on real frames; None if all are.
            keys: `mooer.nn.masks.key_mask` of the mask; None with it.

        Real frames of the output depend on real frames only. Padded frames of it are arbitrary but finite numbers.
        """
        query, key, value = self.linear_q_k_v(frames).chunk(3, dim=-1)  # [B, T, D] each
        heads = (self._split_heads(part) for part in (query, key, value))  # [B, H, T, D / H] each
        context = F.scaled_dot_product_attention(*heads, attn_mask=keys)
        context = context.transpose(1, 2).flatten(2)  # [B, T, D]
        return self.linear_out(context) + fsmn_memory(value, self.fsmn_block, mask)

    def _split_heads(self, projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def fsmn_memory(value: Tensor, block: nn.Conv1d, mask: Tensor | None) -> Tensor:
    """The values [B, T, D] plus their depth-wise convolution over time; padding counts as zeros.

    On a CPU this runs in float32, as a two-dimensional convolution of height 1 over channels-last values (the order they
    lie in already) whose kernel has the identity in its middle: three times as fast as conv1d.

    Args:
        block: a centred convolution of one filter a channel, without bias.
        mask: [B, T] bool, True on real frames; None if all are.
    """
    value = value if mask is None else zero_padding(value, mask)
    kernel = block.weight  # [D, 1, K]
    width, _, taps = kernel.shape
    if value.device.type != "cpu":
        return value + block(value.transpose(1, 2)).transpose(1, 2)
    with torch.autocast("cpu", enabled=False):
        identity = torch.arange(taps) == taps // 2
        columns = value.float().contiguous()[:, None].permute(0, 3, 1, 2)  # [B, D, 1, T]
        memory = F.conv2d(columns, (kernel.float() + identity)[:, :, None, :], padding=(0, taps // 2), groups=width)
        return memory[:, :, 0].transpose(1, 2).to(value.dtype)
