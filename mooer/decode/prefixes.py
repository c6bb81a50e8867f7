"""Beginnings of answers, each known by a number: equal ones have the same, whatever way a search came to them."""

from collections.abc import Sequence

EMPTY = 0
"""The number of the beginning without tokens."""


class PrefixTree:
    """All the beginnings that some searches have looked at."""

    def __init__(self) -> None:
        self.parents = [-1]
        """Of each node, the one without its last token."""
        self.last_tokens = [-1]
        self.depths = [0]
        self._children: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self.parents)

    def extend(self, nodes: Sequence[int], tokens: Sequence[int]) -> list[int]:
        """The nodes with one token more each."""
        return [self._child(node, token) for node, token in zip(nodes, tokens, strict=True)]

    def _child(self, node: int, token: int) -> int:
        child = self._children.setdefault((node, token), len(self.parents))
        if child == len(self.parents):
            self.parents.append(node)
            self.last_tokens.append(token)
            self.depths.append(self.depths[node] + 1)
        return child

    def tokens(self, node: int) -> tuple[int, ...]:
        """The tokens of a node."""
        found = []
        while node != EMPTY:
            found.append(self.last_tokens[node])
            node = self.parents[node]
        return tuple(reversed(found))
