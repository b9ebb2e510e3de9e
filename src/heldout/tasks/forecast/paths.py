"""Paths of cells between two train times: curves through the times around them, with the spread of both sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout.tasks.forecast.baselines import ancestors, draw_column
from heldout.tasks.forecast.couplings import coupling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scipy import sparse


@dataclass(frozen=True)
class Passage:
    """Two neighbouring train times, and what is known of the paths between their cells.

    A cell is its structure, which is the mean of its nearest cells of the same time, and a residual. Only the structure
    moves. An average of two cells would lose half of the noise that each of them has.

    Parameters
    ----------
    before, after
        Cells of both times, (n0 × k) and (n1 × k).
    structure_before, structure_after
        Their structures, of the same shapes.
    transition
        Probability that a cell becomes another one, (n0 × n1).
    earlier, later
        Structure of the likely ancestors of ``before`` (n0 × k), and of the likely descendants of ``after`` (n1 × k),
        at the train times before and after the interval. None where there is no such time.
    """

    before: np.ndarray
    after: np.ndarray
    structure_before: np.ndarray
    structure_after: np.ndarray
    transition: sparse.csr_array
    earlier: np.ndarray | None
    later: np.ndarray | None


@dataclass(frozen=True)
class Drawn:
    """Pairs of cells of an interval, and the random choices that stay the same for all paths.

    Parameters
    ----------
    interval
        Where they are from.
    rows, columns
        Row numbers of each pair in both snapshots, (n,).
    side, kind
        Numbers in (0, 1), evenly spread and in random order, (n,). They decide whose residual a cell has, or at which
        side it stays, and whether it moves at all.
    """

    interval: Passage
    rows: np.ndarray
    columns: np.ndarray
    side: np.ndarray
    kind: np.ndarray


def interval_of(cells: Sequence[np.ndarray], i: int, *, n_neighbors: int) -> Passage:
    """Passage from snapshot ``i`` to ``i + 1``, with the ancestors and descendants of its cells."""
    before, after = cells[i], cells[i + 1]
    earlier = later = None
    if i:
        earlier = _local_mean(before, ancestors(coupling(cells[i - 1], before, rng=0)) @ cells[i - 1], n_neighbors)
    if i + 2 < len(cells):
        later = _local_mean(after, coupling(after, cells[i + 2], rng=0).transition @ cells[i + 2], n_neighbors)
    first, last = (_local_mean(X, X, n_neighbors) for X in (before, after))
    return Passage(before, after, first, last, coupling(before, after, rng=0).transition, earlier, later)


def draw(interval: Passage, rows: np.ndarray, rng: np.random.Generator) -> Drawn:
    """Draw a likely descendant for each row number of ``before``."""
    n = len(rows)
    at, side, kind = ((rng.permutation(n) + 0.5) / n for _ in range(3))
    columns = [draw_column(interval.transition, row, point) for row, point in zip(rows, at, strict=True)]
    return Drawn(interval, rows, np.array(columns), side, kind)


def travelled(drawn: Drawn, clock: np.ndarray, at: float, curvature: float) -> np.ndarray:
    """Cells on their paths, (n × k): Hermite splines through the structures, and the residual of one of the two sides.

    Parameters
    ----------
    drawn
        Pairs of cells.
    clock
        Four times on the scale on which cells move evenly: the train time before the interval, its two ends, and the
        train time after it. NaN where there is none.
    at
        The target on that scale.
    curvature
        Weight of the bend, 0 for straight lines, 1 for the spline of Catmull and Rom.
    """
    cells, rows, columns = drawn.interval, drawn.rows, drawn.columns
    first, last = cells.structure_before[rows], cells.structure_after[columns]
    step, share = clock[2] - clock[1], (at - clock[1]) / (clock[2] - clock[1])
    path = first + share * (last - first)
    if curvature and cells.earlier is not None:
        slope = (last - cells.earlier[rows]) * (step / (clock[2] - clock[0]))
        path += curvature * share * (1 - share) ** 2 * (slope - (last - first))
    if curvature and cells.later is not None:
        slope = (cells.later[columns] - first) * (step / (clock[3] - clock[1]))
        path -= curvature * share**2 * (1 - share) * (slope - (last - first))
    residual = np.where(
        (drawn.side < share)[:, None], (cells.after - cells.structure_after)[columns], cells.before[rows] - first
    )
    return np.asarray(path + residual)


def stayed(drawn: Drawn, share: float) -> np.ndarray:
    """Cells of both sides, (n × k), the share ``share`` of them from the later one."""
    cells = drawn.interval
    return np.where((drawn.side < share)[:, None], cells.after[drawn.columns], cells.before[drawn.rows])


def _local_mean(X: np.ndarray, values: np.ndarray, n_neighbors: int) -> np.ndarray:
    """Mean of the values of the nearest cells, (n × k). With few cells at most a third of them are averaged."""
    from sklearn.neighbors import NearestNeighbors

    k = max(1, min(n_neighbors, len(X) // 3))
    if k == 1:
        return values
    return np.asarray(values[NearestNeighbors(n_neighbors=k).fit(X).kneighbors(X, return_distance=False)].mean(axis=1))
