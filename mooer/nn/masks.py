"""Which columns of a padded batch are real: the one place where lengths become masks.

Shapes: B batch, T frames, D width.
"""

import torch
from torch import Tensor


def padding_mask(lengths: Tensor, max_length: int) -> Tensor:
    """True on the first `lengths[b]` of `max_length` columns: [B] -> [B, T] bool."""
    return torch.arange(max_length, device=lengths.device)[None, :] < lengths[:, None]


def key_mask(mask: Tensor) -> Tensor:
    """The keys that every query of a row may see, for scaled_dot_product_attention: [B, T] bool -> [B, 1, 1, T] bool.

    A row of length 0 keeps its first key, because a softmax over no key is not a number.
    """
    keys = mask.clone()
    keys[:, :1] |= ~mask.any(dim=1, keepdim=True)
    return keys[:, None, None, :]


def zero_padding(frames: Tensor, mask: Tensor) -> Tensor:
    """The frames [B, T, D] with zeros, whatever stood there, where the mask [B, T] is False."""
    return frames.masked_fill(~mask[:, :, None], 0.0)
