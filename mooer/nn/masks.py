"""Which columns of a padded batch are real, and which an attention may see: the one place where lengths become masks.

Shapes: B batch, T frames, S keys, D width.
"""

from typing import NamedTuple

import torch
from torch import Tensor


def padding_mask(lengths: Tensor, max_length: int) -> Tensor:
    """True on the first `lengths[b]` of `max_length` columns: [B] -> [B, T] bool."""
    return torch.arange(max_length, device=lengths.device)[None, :] < lengths[:, None]


def key_mask(mask: Tensor) -> Tensor:
    """The keys that every query of a row may see, for scaled_dot_product_attention: [B, T] bool -> [B, 1, 1, T] bool.

    A row of length 0 keeps its first key, because a softmax over no key is not a number.
    """
    return with_a_key(mask)[:, None, None, :]


def with_a_key(visible: Tensor) -> Tensor:
    """The same mask [..., S] bool, but with the first key wherever there was none."""
    visible = visible.clone()
    visible[..., :1] |= ~visible.any(dim=-1, keepdim=True)
    return visible


def zero_padding(frames: Tensor, mask: Tensor) -> Tensor:
    """The frames [B, T, D] with zeros, whatever stood there, where the mask [B, T] is False."""
    return frames.masked_fill(~mask[:, :, None], 0.0)


class Chunks(NamedTuple):
    """How far an attention sees: to the end of the chunk a frame lies in, and back over some chunks before it."""

    size: int
    """Frames of a chunk, at least 1."""
    left: int = -1
    """Chunks before it that are seen; -1 for all."""


def chunk_mask(length: int, chunks: Chunks, device: torch.device | str = "cpu") -> Tensor:
    """Which keys (columns) the frames (rows) see: [T, T] bool."""
    number = torch.arange(length, device=device) // chunks.size
    distance = number[:, None] - number[None, :]
    return (distance >= 0) & ((distance <= chunks.left) | (chunks.left < 0))
