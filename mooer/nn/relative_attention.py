"""Self-attention that looks at contents and at positions (Dai et al. 2019), in the form of 3M-ASR.

There the position scores are not shifted: query t scores key s by (q_t + v) . p_s, where p_s belongs to the key alone. With the
content's score (q_t + u) . k_s the sum is (q_t + u) . (k_s + p_s) + (v - u) . p_s: one attention over keys with their positions
in them, and a number a key that is added to its scores. So positions cost next to nothing.

Shapes: B batch, T frames, S keys, D width, H heads.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mooer.nn.masks import with_a_key


class Keys(NamedTuple):
    """What queries look at."""

    key: Tensor
    """[B, H, S, D / H], positions included."""
    value: Tensor
    """[B, H, S, D / H]."""
    bias: Tensor | None
    """[1, H, 1, S], added to the scores of all queries; None without positions."""

    def after(self, past: "Keys | None") -> "Keys":
        """These keys behind those of the past."""
        if past is None:
            return self
        bias = None if self.bias is None else torch.cat([past.bias, self.bias], dim=3)
        return Keys(torch.cat([past.key, self.key], dim=2), torch.cat([past.value, self.value], dim=2), bias)

    def last(self, count: int) -> "Keys":
        """The last `count` of the keys."""
        first = max(0, self.key.shape[2] - count)
        bias = None if self.bias is None else self.bias[:, :, :, first:]
        return Keys(self.key[:, :, first:], self.value[:, :, first:], bias)


class RelativeSelfAttention(nn.Module):
    """Multi-head self-attention over contents and, with `has_positions`, over the keys' positions.

    Parameter names are 3M-ASR's: linear_q, linear_k, linear_v, linear_out, linear_pos, pos_bias_u (above: u), pos_bias_v.
    """

    def __init__(self, width: int, heads: int, dropout: float, has_positions: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)
        self._dropout = dropout
        self.has_positions = has_positions
        if has_positions:
            self.linear_pos = nn.Linear(width, width, bias=False)
            self.pos_bias_u = nn.Parameter(torch.empty(heads, width // heads))
            self.pos_bias_v = nn.Parameter(torch.empty(heads, width // heads))
            nn.init.xavier_uniform_(self.pos_bias_u)
            nn.init.xavier_uniform_(self.pos_bias_v)

    def forward(self, frames: Tensor, positions: Tensor | None, visible: Tensor | None) -> Tensor:
        """[B, T, D] -> [B, T, D].

        Args:
            positions: [T, D], the frames' sinusoids; not looked at without `has_positions`.
            visible: [B or 1, 1 or T, T] bool, which keys a query may see; None for all of them.
        """
        return self.attend(frames, self.keys(frames, positions), visible)

    def keys(self, frames: Tensor, positions: Tensor | None) -> Keys:
        """What frames [B, S, D] at `positions` [S, D] are to queries."""
        key, value = self._split_heads(self.linear_k(frames)), self._split_heads(self.linear_v(frames))
        if not self.has_positions:
            return Keys(key, value, None)
        place = self._split_heads(self.linear_pos(positions.to(self.linear_pos.weight.dtype))[None])  # [1, H, S, D / H]
        difference = (self.pos_bias_v - self.pos_bias_u).to(place.dtype)[:, None, :]  # [H, 1, D / H]
        bias = difference @ place.transpose(-2, -1) / math.sqrt(key.shape[-1])  # [1, H, 1, S]
        return Keys(key + place, value, bias)

    def attend(self, frames: Tensor, keys: Keys, visible: Tensor | None) -> Tensor:
        """What frames [B, T, D] find among the keys: [B, T, D]."""
        query = self._split_heads(self.linear_q(frames))
        if self.has_positions:
            query = query + self.pos_bias_u.to(query.dtype)[:, None, :]
        rate = self._dropout if self.training else 0.0
        scores = _added_to_scores(keys.bias, visible)
        context = F.scaled_dot_product_attention(query, keys.key, keys.value, attn_mask=scores, dropout_p=rate)
        return self.linear_out(context.transpose(1, 2).flatten(2))  # [B, T, D]

    def _split_heads(self, projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _added_to_scores(bias: Tensor | None, visible: Tensor | None) -> Tensor | None:
    """[1, H, 1, S] and [B or 1, 1 or T, S] bool -> [B or 1, H or 1, 1 or T, S]; a query that may see no key sees the first."""
    if visible is None:
        return bias
    visible = with_a_key(visible)[:, None]
    return visible if bias is None else torch.where(visible, bias, -math.inf)
