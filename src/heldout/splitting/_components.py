"""Merge several group columns into the components that must stay together."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def components(*columns: np.ndarray) -> np.ndarray:
    """Name the connected component of each row, (n,) text.

    Two rows are in one component when they share a value in any column, directly or through other rows. A component
    is named after its values, e.g. ``"L1"`` for one column, ``"L1+L2|D1"`` for libraries L1 and L2 of donor D1.
    """
    if len(columns) == 1:
        return np.asarray(columns[0], dtype=object)
    codes, offset, names = [], 0, []
    for column in columns:
        unique, inverse = np.unique(column.astype(str), return_inverse=True)
        codes.append(inverse + offset)
        offset += len(unique)
        names.append(unique)
    rows = np.concatenate([codes[0]] * (len(codes) - 1))
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, np.concatenate(codes[1:]))), shape=(offset, offset))
    _, of_node = connected_components(graph, directed=False)
    labels, start = [], 0
    for unique in names:
        nodes = of_node[start : start + len(unique)]
        labels.append({c: "+".join(unique[nodes == c]) for c in np.unique(nodes)})
        start += len(unique)
    name_of = {c: "|".join(part[c] for part in labels) for c in np.unique(of_node)}
    return np.array([name_of[c] for c in of_node[codes[0]]], dtype=object)
