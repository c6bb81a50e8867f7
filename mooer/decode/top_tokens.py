"""The best tokens of rows of logits, and what makes log probabilities of them.

R rows, V vocabulary.
"""

import torch
from torch import Tensor

_PIECE = 128
_WIDE_ROW = 4096
_CACHED_VALUES = 1 << 19


def log_normaliser(logits: Tensor) -> Tensor:
    """What makes log probabilities of logits [R, V] when it is subtracted. [R]"""
    if logits.device.type != "cpu":
        return logits.logsumexp(dim=-1)
    # Of wide rows a few at a time stay in the cache.
    some = max(1, _CACHED_VALUES // logits.shape[1])
    return torch.cat([rows.logsumexp(dim=-1) for rows in logits.split(some)])


def top_of_rows(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest `count` values of each row of [R, V], in order, and their columns; NaN counts as largest.

    The same as topk, in a fraction of its time for wide rows: one pass finds each piece's largest value, and only the pieces
    with the largest ones can hold what is wanted.
    """
    rows, width = values.shape
    pieces = width // _PIECE
    if pieces <= count or width < _WIDE_ROW:
        return _largest(values, count)
    whole = values[:, : pieces * _PIECE].unflatten(1, (pieces, _PIECE))
    chosen = _largest(whole.amax(dim=2), count)[1].sort(dim=1).values  # [R, count] pieces, from left to right
    columns = chosen[:, :, None] * _PIECE + torch.arange(_PIECE, device=values.device)
    rest = torch.arange(pieces * _PIECE, width, device=values.device).expand(rows, -1)
    columns = torch.cat([columns.flatten(1), rest], dim=1)
    best, places = _largest(values.gather(1, columns), count)
    return best, columns.gather(1, places)


def _largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """topk of each row; a single one is the first of equal ones."""
    if count > 1:
        return values.topk(count, dim=1)
    places = values.argmax(dim=1, keepdim=True)
    return values.gather(1, places), places
