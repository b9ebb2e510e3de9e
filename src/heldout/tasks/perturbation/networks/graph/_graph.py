"""Graphs of genes: which train targets a gene is joined to, and how strongly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heldout.tasks.perturbation.interface import Data, Vectors

_MOST_CELLS = 5000
_ROWS = 1024


def graph_of(data: Data, targets: Sequence[str], n_neighbors: int, n_steps: int) -> tuple[list[str], np.ndarray]:
    """Names of the nodes, the train targets first, and the weights of the train targets for each, (N × T) float32.

    A node gets the vectors of the train targets by these weights, which add up to 1, or are all 0 for a node that is
    joined to no train target. A target never gets its own vector.

    Parameters
    ----------
    data
        What the method sees: vectors of the targets, or else the train cells, whose co-expression is used.
    targets
        The train targets, (T,).
    n_neighbors
        Number of train targets that each node is joined to.
    n_steps
        Number of steps along the graph. The first leads from train targets to nodes, the others to train targets.
    """
    names, coordinates = _of_vectors(data.target_vectors) if data.target_vectors else _of_cells(data)
    row = {name: i for i, name in enumerate(names)}
    nodes = [*targets, *(name for name in names if name not in set(targets))]
    found = np.array([row.get(name, -1) for name in nodes])
    unit = np.where((found >= 0)[:, None], coordinates[found], 0.0)
    joined = joined_to(unit, len(targets), n_neighbors)
    steps = joined.copy()
    for _ in range(n_steps - 1):
        steps = steps @ joined[: len(targets)]
        np.fill_diagonal(steps, 0)
    total = steps.sum(axis=1, keepdims=True)
    return nodes, np.divide(steps, total, out=np.zeros_like(steps), where=total > 0).astype(np.float32)


def joined_to(unit: np.ndarray, n_targets: int, n_neighbors: int) -> np.ndarray:
    """Cosine of each node and its most similar train targets, the first rows, where it is above 0, (N × T).

    A target is not joined to itself.
    """
    weights = np.zeros((len(unit), n_targets))
    if not n_targets:
        return weights
    for first in range(0, len(unit), _ROWS):
        similar = unit[first : first + _ROWS] @ unit[:n_targets].T
        rows = np.arange(first, first + len(similar))
        same = rows < n_targets
        similar[same, rows[same]] = -1
        k = min(n_neighbors, n_targets)
        kept = np.argpartition(-similar, k - 1, axis=1)[:, :k]
        np.put_along_axis(weights[first : first + _ROWS], kept, np.take_along_axis(similar, kept, axis=1), axis=1)
    return np.where(weights > 1e-9, weights, 0.0)


def _of_vectors(vectors: Vectors) -> tuple[list[str], np.ndarray]:
    """Names and unit vectors of an embedding, centred; other names of a row are nodes, too."""
    names = [str(name) for name in vectors.names]
    row = {name: i for i, name in enumerate(names)}
    others = [other for other, name in sorted(vectors.aliases.items()) if other not in row and name in row]
    rows = np.array([*range(len(names)), *(row[vectors.aliases[other]] for other in others)], dtype=np.int64)
    values = vectors.values.astype(np.float64)
    return [*names, *others], _unit(values - values.mean(axis=0))[rows]


def _of_cells(data: Data) -> tuple[list[str], np.ndarray]:
    """Genes of the data and their standardised expression in train cells: cosines are then absolute correlations."""
    cells = data.cells()
    some = np.random.default_rng(0).permutation(cells.in_order(cells.train))[:_MOST_CELLS]
    dense = cells.measured.dense(np.sort(some))
    centred = dense - dense.mean(axis=0)
    return [str(gene) for gene in data.genes], _unit(centred.T)


def _unit(values: np.ndarray) -> np.ndarray:
    """Rows of length 1; rows of zeros stay."""
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, length, out=np.zeros_like(values), where=length > 0)
