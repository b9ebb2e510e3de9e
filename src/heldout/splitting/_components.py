"""Merge several group columns into components of rows that must stay together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array

from heldout._core.store import factorize

if TYPE_CHECKING:
    from collections.abc import Sequence


def components(*columns: np.ndarray) -> np.ndarray:
    """Return the name of the connected component of each row, (n,) text.

    Two rows are in one component if they share a value in any column, directly or through other rows. The name of a
    component joins its values, for example ``"L1"`` for one column, or ``"L1+L2|D1"`` for libraries L1 and L2 of donor
    D1.
    """
    if len(columns) == 1:
        return np.asarray(columns[0], dtype=object)
    values, codes = zip(*(factorize(column) for column in columns), strict=True)
    starts = np.cumsum([0, *map(len, values)])
    edges = [
        np.unique(np.stack([codes[0], code + start]), axis=1)
        for code, start in zip(codes[1:], starts[1:], strict=False)
    ]
    from scipy.sparse.csgraph import connected_components

    rows, cols = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(len(rows)), (rows, cols)), shape=(starts[-1], starts[-1]))
    n, of_node = connected_components(graph, directed=False)
    members = [_members(v, nodes, n) for v, nodes in zip(values, np.split(of_node, starts[1:-1]), strict=True)]
    names = _joined(members)
    if len(set(names)) < n:  # some values contain "+" or "|"
        names = _joined([[[_escaped(value) for value in part] for part in parts] for parts in members])
    return np.array(names, dtype=object)[of_node[codes[0]]]


def _members(values: np.ndarray, of_node: np.ndarray, n: int) -> list[list[str]]:
    """Return the values of one column in each of the ``n`` components, in their order."""
    order = np.argsort(of_node, kind="stable")
    return [list(part) for part in np.split(values[order], np.searchsorted(of_node[order], np.arange(1, n)))]


def _joined(members: Sequence[Sequence[Sequence[str]]]) -> list[str]:
    return ["|".join("+".join(part) for part in parts) for parts in zip(*members, strict=True)]


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("+", r"\+").replace("|", r"\|")
