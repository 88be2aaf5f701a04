"""Exact matching of rows to columns by greatest total weight, for the few objects of one picture.

No SciPy in the service: pairs that can be matched at all are few and mostly alone, so the problem falls apart into
small islands. An island of one pair is its own answer; the others go through the Hungarian algorithm with potentials,
O(rows^2 * columns) (Kuhn 1955, Munkres 1957, in the form of e-maxx.ru).
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

Pair = tuple[int, int]


def match(weights: NDArray[np.float64]) -> list[Pair]:
    """Return the (row, column) pairs of greatest total weight.

    weights: [rows, columns]; what is not above 0 is never matched.
    """
    rows, columns = np.nonzero(weights > 0)
    pairs = list(zip(rows.tolist(), columns.tolist(), strict=True))
    matched: list[Pair] = []
    for island_rows, island_columns in _islands(pairs):
        if len(island_rows) == len(island_columns) == 1:
            matched.append((island_rows[0], island_columns[0]))
            continue
        island = weights[np.ix_(island_rows, island_columns)].clip(min=0.0)
        for row, column in _solve(island):
            if island[row, column] > 0:
                matched.append((island_rows[row], island_columns[column]))
    return sorted(matched)


def _islands(pairs: list[Pair]) -> list[tuple[list[int], list[int]]]:
    """Return rows and columns that hang together through pairs, each island by itself."""
    by_row, by_column = defaultdict(list), defaultdict(list)
    for row, column in pairs:
        by_row[row].append(column)
        by_column[column].append(row)
    islands, seen_rows = [], set()
    for first in by_row:
        if first in seen_rows:
            continue
        rows, columns, todo = {first}, set[int](), [first]
        while todo:
            for column in by_row[todo.pop()]:
                if column not in columns:
                    columns.add(column)
                    fresh = [row for row in by_column[column] if row not in rows]
                    rows.update(fresh)
                    todo += fresh
        seen_rows |= rows
        islands.append((sorted(rows), sorted(columns)))
    return islands


def _solve(weights: NDArray[np.float64]) -> list[Pair]:
    """Return one column for each row (or one row for each column, if those are fewer), greatest total first."""
    if weights.shape[0] > weights.shape[1]:
        return [(row, column) for column, row in _solve(weights.T)]
    cost: list[list[float]] = (-weights).tolist()
    columns = weights.shape[1]
    row_potential = [0.0] * (len(cost) + 1)
    column_potential = [0.0] * (columns + 1)
    row_of = [0] * (columns + 1)  # 1-based; 0 = free; column 0 holds the row that is being placed
    for row in range(1, len(cost) + 1):
        row_of[0] = row
        way = _augment(cost, row_potential, column_potential, row_of)
        column = way.pop()
        while way:
            before = way.pop()
            row_of[column] = row_of[before]
            column = before
    return [(row_of[column] - 1, column - 1) for column in range(1, columns + 1) if row_of[column]]


def _augment(
    cost: list[list[float]], row_potential: list[float], column_potential: list[float], row_of: list[int]
) -> list[int]:
    """Return the cheapest alternating path from column 0 to a free column, and move the potentials along (Dijkstra)."""
    columns = len(column_potential)
    least, before, used = [math.inf] * columns, [0] * columns, [False] * columns
    at = 0
    while row_of[at]:
        used[at] = True
        row, step, following = row_of[at], math.inf, 0
        line, potential = cost[row - 1], row_potential[row]
        for column in range(1, columns):
            if used[column]:
                continue
            reduced = line[column - 1] - potential - column_potential[column]
            if reduced < least[column]:
                least[column], before[column] = reduced, at
            if least[column] < step:
                step, following = least[column], column
        for column in range(columns):
            if used[column]:
                row_potential[row_of[column]] += step
                column_potential[column] -= step
            else:
                least[column] -= step
        at = following
    path = [at]
    while at:
        at = before[at]
        path.append(at)
    return path[::-1]
