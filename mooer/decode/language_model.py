"""What a language model says of beginnings of answers, each token computed once.

The keys and values of a token lie in a row that has the number of its node; a beginning sees the rows on its way from the root.
So nothing is moved when a search drops or reorders its beams, and utterances of a batch share what they have in common.

Shapes: N nodes, L tokens on the way to a node, V vocabulary, D width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mooer.decode.prefixes import EMPTY, PrefixTree
from mooer.models.transformer_lm import TransformerLm

_FIRST_ROWS = 256


class LanguageModelScorer:
    """Scores the nodes of one tree.

    Args:
        model: in eval mode and on its device.
    """

    def __init__(self, model: TransformerLm, tree: PrefixTree) -> None:
        self._model, self._tree = model, tree
        self._device = model.embed.weight.device
        width, count = model.decoder.in_features, len(model.encoder.encoders)
        rows = torch.empty(count, _FIRST_ROWS, 2, width, dtype=model.embed.weight.dtype, device=self._device)
        self._rows = list(rows)  # a block's keys and values
        self._ways: dict[int, np.ndarray] = {}

    def log_probs(self, nodes: Sequence[int]) -> Tensor:
        """Log probabilities of the token that follows each node [N, V], in float32.

        The nodes' parents must have been asked for before.
        """
        ways = [self._way(node) for node in nodes]
        paths = np.zeros((len(ways), max(map(len, ways))), dtype=np.int64)
        real = np.zeros(paths.shape, dtype=bool)
        for row, way in enumerate(ways):
            paths[row, : len(way)], real[row, : len(way)] = way, True
        self._make_room()
        return self._compute(list(nodes), torch.from_numpy(paths), torch.from_numpy(real))

    def _way(self, node: int) -> np.ndarray:
        """The nodes that this one sees: those on the way from the root, itself included, without blanks."""
        if node not in self._ways:
            special, parent = self._model.special, self._tree.parents[node]
            # A start that is a blank as well is seen by itself alone, because a softmax over nothing is not a number.
            sees_none = node == EMPTY or (parent == EMPTY and special.start == special.blank)
            before = np.empty(0, dtype=np.int64) if sees_none else self._ways[parent]
            is_blank = node != EMPTY and self._tree.last_tokens[node] == special.blank
            self._ways[node] = before if is_blank else np.append(before, node)
        return self._ways[node]

    def _make_room(self) -> None:
        if len(self._rows[0]) < len(self._tree):
            more = max(len(self._tree), 2 * len(self._rows[0])) - len(self._rows[0])
            self._rows = [torch.cat([rows, rows.new_empty(more, *rows.shape[1:])]) for rows in self._rows]

    def _compute(self, nodes: list[int], paths: Tensor, real: Tensor) -> Tensor:
        model, tree = self._model, self._tree
        special = model.special
        tokens = torch.tensor([special.start if node == EMPTY else tree.last_tokens[node] for node in nodes])
        positions = torch.tensor([tree.depths[node] for node in nodes])
        paths, real = paths.to(self._device), real.to(self._device)

        def attend(number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            rows = self._rows[number]
            rows[nodes] = torch.stack([key, value], dim=1)
            keys, values = rows[paths].unbind(dim=2)  # [N, L, D] each
            return model.attend(query[:, None], keys, values, real[:, None, None])[:, 0]

        hidden = model.encoder(model.embed(tokens.to(self._device)), positions.to(self._device), attend)
        return model.decoder(hidden).float().log_softmax(dim=-1)
