"""Keys and values of many answers in one store, written in place.

R rows (an utterance has as many as there are beams), H heads, C columns, D width of a head.

All rows write their next token into the same column: a prompt stands so that it ends where the store is at the moment it is
admitted, and what is left of it is masked. A finished utterance's rows are given to the last one. Beams that continue another
beam copy only what was generated, since their prompt is the same.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer


class _PoolLayer(DynamicLayer):
    """One layer's keys and values, in the form in which transformers' models ask for them."""

    def __init__(self, pool: "KeyValuePool", like: DynamicLayer, max_rows: int, max_columns: int) -> None:
        super().__init__()
        self._pool = pool
        # Zeros, as what is masked must be finite all the same. Memory is taken when it is first written.
        self.keys = like.keys.new_zeros(max_rows, like.keys.shape[1], max_columns, like.keys.shape[3])
        self.values = like.values.new_zeros(max_rows, like.values.shape[1], max_columns, like.values.shape[3])
        self.dtype, self.device, self.is_initialized = like.keys.dtype, like.keys.device, True

    def update(self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object) -> tuple[Tensor, Tensor]:
        """Store one column [R, H, 1, D] and return all columns in use [R, H, C, D]."""
        rows, start, column = self._pool.num_rows, self._pool.start, self._pool.column
        self.keys[:rows, :, column] = key_states[:, :, 0]
        self.values[:rows, :, column] = value_states[:, :, 0]
        return self.keys[:rows, :, start : column + 1], self.values[:rows, :, start : column + 1]

    def get_seq_length(self) -> int:
        """Columns in use."""
        return self._pool.column - self._pool.start

    def put_prompt(self, rows: slice, columns: slice, keys: Tensor, values: Tensor) -> None:
        """Write a prompt's keys and values [H, L, D] to several rows, with zeros before it in the columns in use."""
        for stored, new in ((self.keys, keys), (self.values, values)):
            stored[rows, :, self._pool.start : columns.start] = 0
            stored[rows, :, columns] = new

    def copy_rows(self, targets: Tensor, sources: Tensor, columns: slice) -> None:
        """Copy some columns of the rows `sources` to the rows `targets`, all at once."""
        for stored in (self.keys, self.values):
            stored[targets, :, columns] = stored[sources, :, columns]

    def move_rows(self, target: slice, source: slice, columns: slice) -> None:
        """Copy some columns of a run of rows to another, with zeros before them in the columns in use."""
        for stored in (self.keys, self.values):
            stored[target, :, self._pool.start : columns.start] = 0
            stored[target, :, columns] = stored[source, :, columns]

    def move_columns(self, rows: slice, columns: slice) -> None:
        """Copy some columns to the left edge."""
        for stored in (self.keys, self.values):
            stored[rows, :, : columns.stop - columns.start] = stored[rows, :, columns].clone()


class KeyValuePool:
    """The store for at most `max_utterances` at once.

    Utterances are told apart by their slot: 0 to len(pool) - 1, in the order of their admission but for removals.

    Args:
        beam_size: rows of an utterance.
        max_columns: at least one more than the longest prompt and answer together.
    """

    def __init__(self, max_utterances: int, beam_size: int, max_columns: int) -> None:
        self._max_rows = max_utterances * beam_size
        self._beam_size = beam_size
        self._max_columns = max_columns
        self._firsts: list[int] = []  # column where each utterance's prompt begins
        self._borders: list[int] = []  # column after its prompt
        self._row_firsts = torch.empty(0, dtype=torch.long)  # [R]
        self._layers: list[_PoolLayer] = []
        self.cache: Cache | None = None
        """What the LLM takes as past_key_values, once there is something in it."""
        self.start = 0
        """First column in use."""
        self.column = 0
        """Column that the next token goes to."""

    def __len__(self) -> int:
        return len(self._firsts)

    @property
    def num_rows(self) -> int:
        """R, the rows in use."""
        return len(self) * self._beam_size

    def admit(self, prefilled: DynamicCache, lengths: Sequence[int]) -> None:
        """Take in prompts, none of them longer than what the store holds already, if it holds anything.

        Args:
            prefilled: keys and values [B, H, L, D] of each layer, padded on the right.
            lengths: of the B prompts.
        """
        if self.cache is None:
            self._layers = [_PoolLayer(self, layer, self._max_rows, self._max_columns) for layer in prefilled.layers]
            self.cache = Cache(layers=self._layers)
        if not self._firsts:
            self.start, self.column = 0, max(lengths)
        for index, length in enumerate(lengths):
            rows = self._rows(len(self))
            columns = slice(self.column - length, self.column)
            for layer, source in zip(self._layers, prefilled.layers, strict=True):
                layer.put_prompt(rows, columns, source.keys[index, :, :length], source.values[index, :, :length])
            self._firsts.append(columns.start)
            self._borders.append(columns.stop)
        self._note_firsts()

    def _rows(self, slot: int) -> slice:
        return slice(slot * self._beam_size, (slot + 1) * self._beam_size)

    def _note_firsts(self) -> None:
        self.start = min(self._firsts, default=self.column)
        device = self._layers[0].keys.device
        self._row_firsts = torch.tensor(self._firsts, dtype=torch.long, device=device).repeat_interleave(self._beam_size)

    def open_column(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Make room for one token in each row.

        Returns:
            The additive attention mask [R, 1, 1, C] and the tokens' position ids [R, 1].
        """
        if self.column == self._max_columns:
            self._slide()
        columns = torch.arange(self.start, self.column + 1, device=self._row_firsts.device)
        masked = columns[None, :] < self._row_firsts[:, None]  # [R, C]
        mask = torch.zeros(masked.shape, dtype=dtype, device=masked.device).masked_fill_(masked, torch.finfo(dtype).min)
        return mask[:, None, None, :], (self.column - self._row_firsts)[:, None]

    def _slide(self) -> None:
        shift = self.start
        for layer in self._layers:
            layer.move_columns(slice(0, self.num_rows), slice(shift, self.column))
        self.column -= shift
        self._firsts = [first - shift for first in self._firsts]
        self._borders = [border - shift for border in self._borders]
        self._note_firsts()

    def close_column(self, parents: Sequence[Sequence[int]]) -> None:
        """Take the column that the LLM wrote as done, and put each beam behind the one that it continues.

        Args:
            parents: for each utterance, the earlier beam of each beam.
        """
        self.column += 1
        moves = [
            (slot * self._beam_size + beam, slot * self._beam_size + parent)
            for slot, beams in enumerate(parents)
            for beam, parent in enumerate(beams)
            if beam != parent
        ]
        if not moves:
            return
        targets, sources = torch.tensor(moves, device=self._row_firsts.device).unbind(dim=1)
        generated = slice(min(self._borders[target // self._beam_size] for target, _ in moves), self.column)
        for layer in self._layers:
            layer.copy_rows(targets, sources, generated)

    def remove(self, slot: int) -> None:
        """Drop an utterance; the last one takes its slot."""
        last = len(self) - 1
        if slot != last:
            for layer in self._layers:
                layer.move_rows(self._rows(slot), self._rows(last), slice(self._firsts[last], self.column))
        for values in (self._firsts, self._borders):
            values[slot] = values[last]
            values.pop()
        self._note_firsts()
