"""Which rows go with which columns: the one-to-one assignment with the largest sum.

The Hungarian algorithm in the form of shortest augmenting paths (Kuhn 1955; Jonker and Volgenant 1987), in whole numbers, so
that the result is exact: O(rows^2 * columns).
"""

from collections.abc import Sequence

_NOBODY = -1


def best_assignment(weights: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Pairs (row, column), sorted, of a one-to-one assignment that has the largest sum of weights.

    Args:
        weights: a row of columns each, all of one length; not negative. Pairs of weight 0 are left out of the result.
    """
    if not weights or not weights[0]:
        return []
    if len(weights) > len(weights[0]):
        return sorted((row, column) for column, row in best_assignment(list(zip(*weights, strict=True))))
    row_of = _assign([[-weight for weight in row] for row in weights])
    return sorted((row, column) for column, row in enumerate(row_of) if row != _NOBODY and weights[row][column] > 0)


def _assign(costs: list[list[int]]) -> list[int]:
    """The row of each column (`_NOBODY` for some) at the least sum of costs; no more rows than columns."""
    row_prices, column_prices = [0] * len(costs), [0] * len(costs[0])
    row_of = [_NOBODY] * len(costs[0])
    for row in range(len(costs)):
        _add_row(row, costs, row_of, (row_prices, column_prices))
    return row_of


def _add_row(row: int, costs: list[list[int]], row_of: list[int], prices: tuple[list[int], list[int]]) -> None:
    """Give one more row a column by the cheapest chain of moves, prices being what keeps reduced costs from being negative."""
    row_prices, column_prices = prices
    columns = range(len(row_of))
    distance: list[int | None] = [None] * len(row_of)
    came_from = [_NOBODY] * len(row_of)
    done: list[int] = []
    at_row, travelled, column = row, 0, _NOBODY
    while column == _NOBODY or row_of[column] != _NOBODY:
        if column != _NOBODY:
            at_row = row_of[column]
        for other in columns:
            if other in done:
                continue
            reached = travelled + costs[at_row][other] - row_prices[at_row] - column_prices[other]
            if distance[other] is None or reached < distance[other]:
                distance[other], came_from[other] = reached, column
        column = min((other for other in columns if other not in done), key=lambda other: distance[other])
        travelled = distance[column]
        done.append(column)
    row_prices[row] += travelled
    for other in done[:-1]:
        row_prices[row_of[other]] += travelled - distance[other]
        column_prices[other] -= travelled - distance[other]
    while column != _NOBODY:
        before = came_from[column]
        row_of[column] = row if before == _NOBODY else row_of[before]
        column = before
