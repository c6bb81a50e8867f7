"""Keys and values of many answers in one store, written in place.

U utterances, K beams, H heads, C columns, D width of a head.

An utterance has one row, which its beams share: its prompt, and then for every step as many columns as there are beams. The
attention mask alone says which of these a beam continues, so nothing is copied when beams change places, and a prompt is read
once for all of them.

All rows write their next tokens into the same columns: a prompt stands so that it ends where the store is at the moment it is
admitted, and what is left of it is masked. A finished utterance's row is given to the last one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer


@dataclass
class _Place:
    """Where a store is read and written. Layers know this and not the store, which is so freed as soon as it is let go."""

    rows: int = 0
    """U, utterances in the store."""
    start: int = 0
    """First column in use."""
    column: int = 0
    """First of the columns that the next tokens go to."""


class _PoolLayer(DynamicLayer):
    """One layer's keys and values, in the form in which transformers' models ask for them."""

    def __init__(self, place: _Place, like: DynamicLayer, max_rows: int, max_columns: int) -> None:
        super().__init__()
        self._place = place
        # What is masked must be finite all the same, so whatever comes into use is written first; the rest takes no memory.
        self.keys = like.keys.new_empty(max_rows, like.keys.shape[1], max_columns, like.keys.shape[3])
        self.values = like.values.new_empty(max_rows, like.values.shape[1], max_columns, like.values.shape[3])
        self.dtype, self.device, self.is_initialized = like.keys.dtype, like.keys.device, True

    def update(self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object) -> tuple[Tensor, Tensor]:
        """Store the columns of one step [U, H, K, D] and return all columns in use [U, H, C, D]."""
        rows, start, column = slice(0, self._place.rows), self._place.start, self._place.column
        end = column + key_states.shape[2]
        self.keys[rows, :, column:end] = key_states
        self.values[rows, :, column:end] = value_states
        return self.keys[rows, :, start:end], self.values[rows, :, start:end]

    def get_seq_length(self) -> int:
        """Columns in use before those of this step."""
        return self._place.column - self._place.start

    def put_prompt(self, row: int, columns: slice, keys: Tensor, values: Tensor) -> None:
        """Write a prompt's keys and values [H, L, D] to a row, with zeros before it in the columns in use."""
        for stored, new in ((self.keys, keys), (self.values, values)):
            stored[row, :, self._place.start : columns.start] = 0
            stored[row, :, columns] = new

    def move_row(self, target: int, source: int, columns: slice) -> None:
        """Copy some columns of a row to another, with zeros before them in the columns in use."""
        for stored in (self.keys, self.values):
            stored[target, :, self._place.start : columns.start] = 0
            stored[target, :, columns] = stored[source, :, columns]

    def move_columns(self, rows: slice, columns: slice) -> None:
        """Copy some columns to the left edge."""
        for stored in (self.keys, self.values):
            stored[rows, :, : columns.stop - columns.start] = stored[rows, :, columns].clone()


class KeyValuePool:
    """The store for at most `max_utterances` at once.

    Utterances are told apart by their slot: 0 to len(pool) - 1, in the order of their admission but for removals.

    Args:
        beam_size: K, the columns of a step.
        max_columns: at least those of the longest prompt and of all steps of an answer together.
    """

    def __init__(self, max_utterances: int, beam_size: int, max_columns: int) -> None:
        self._max_utterances, self._beam_size, self._max_columns = max_utterances, beam_size, max_columns
        self._firsts: list[int] = []  # column where each utterance's prompt begins
        self._borders: list[int] = []  # column after its prompt
        self._layers: list[_PoolLayer] = []
        self._mask = self._siblings = self._positions = torch.empty(0)
        self.cache: Cache | None = None
        """What the LLM takes as past_key_values, once there is something in it."""
        self._place = _Place()

    def __len__(self) -> int:
        return self._place.rows

    def admit(self, prefilled: DynamicCache, lengths: Sequence[int]) -> None:
        """Take in prompts, none of them longer than what the store holds already, if it holds anything.

        Args:
            prefilled: keys and values [B, H, L, D] of each layer, padded on the right.
            lengths: of the B prompts.
        """
        if self.cache is None:
            self._make_store(prefilled)
        if not self._firsts:
            self._place.start, self._place.column = 0, max(lengths)
        for index, length in enumerate(lengths):
            slot, columns = len(self), slice(self._place.column - length, self._place.column)
            for layer, source in zip(self._layers, prefilled.layers, strict=True):
                layer.put_prompt(slot, columns, source.keys[index, :, :length], source.values[index, :, :length])
            self._mask[slot, :, :, : columns.start] = self._hidden
            self._mask[slot, :, :, columns] = 0
            self._positions[slot] = length
            self._firsts.append(columns.start)
            self._borders.append(columns.stop)
            self._place.rows += 1
        self._place.start = min(self._firsts)

    def _make_store(self, like: DynamicCache) -> None:
        self._layers = [_PoolLayer(self._place, layer, self._max_utterances, self._max_columns) for layer in like.layers]
        self.cache = Cache(layers=self._layers)
        keys = self._layers[0].keys
        self._hidden = torch.finfo(keys.dtype).min
        # To be added to what a beam's token (third dimension) makes of a column. [U, 1, K, C]
        self._mask = keys.new_full((self._max_utterances, 1, self._beam_size, self._max_columns), self._hidden)
        # What the tokens of a step see of each other: themselves. [K, K]
        self._siblings = keys.new_full((self._beam_size, self._beam_size), self._hidden).fill_diagonal_(0)
        self._positions = torch.zeros(self._max_utterances, 1, dtype=torch.long, device=keys.device)  # of the next tokens

    def open_step(self) -> tuple[Tensor, Tensor]:
        """Make room for one token of each beam.

        Returns:
            The additive attention mask [U, 1, K, C] and the tokens' position ids [U, K].
        """
        if self._place.column + self._beam_size > self._max_columns:
            self._slide()
        start, column, end = self._place.start, self._place.column, self._place.column + self._beam_size
        self._mask[: len(self), :, :, column:end] = self._siblings
        return self._mask[: len(self), :, :, start:end], self._positions[: len(self)].expand(-1, self._beam_size)

    def _slide(self) -> None:
        rows, used, shift = slice(0, len(self)), slice(self._place.start, self._place.column), self._place.start
        for layer in self._layers:
            layer.move_columns(rows, used)
        self._mask[rows, :, :, : used.stop - shift] = self._mask[rows, :, :, used].clone()
        self._firsts = [first - shift for first in self._firsts]
        self._borders = [border - shift for border in self._borders]
        self._place.start, self._place.column = 0, self._place.column - shift

    def close_step(self, parents: Sequence[Sequence[int]]) -> None:
        """Take the columns that the LLM wrote as done, and let each beam see what the one that it continues saw.

        Args:
            parents: for each utterance, the earlier beam of each beam.
        """
        self._place.column += self._beam_size
        self._positions[: len(self)] += 1
        if all(parent == beam for beams in parents for beam, parent in enumerate(beams)):
            return
        generated = self._mask[: len(self), :, :, min(self._borders) : self._place.column]  # [U, 1, K, columns]
        sources = torch.tensor(parents, device=generated.device)[:, None, :, None].expand_as(generated)
        generated.copy_(generated.gather(2, sources))

    def remove(self, slot: int) -> None:
        """Drop an utterance; the last one takes its slot."""
        last = len(self) - 1
        if slot != last:
            for layer in self._layers:
                layer.move_row(slot, last, slice(self._firsts[last], self._place.column))
            self._mask[slot], self._positions[slot] = self._mask[last], self._positions[last]
        for values in (self._firsts, self._borders):
            values[slot] = values[last]
            values.pop()
        self._place.rows -= 1
        self._place.start = min(self._firsts, default=self._place.column)
