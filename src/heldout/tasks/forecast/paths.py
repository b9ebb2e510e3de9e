"""Paths of cells between two train times: curves through all train times, with the spread of both sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout.tasks.forecast.baselines import ancestors, draw_column

if TYPE_CHECKING:
    from scipy import sparse

    from heldout.tasks.forecast.curves import Curve
    from heldout.tasks.forecast.growth import Pairing


@dataclass(frozen=True)
class Passage:
    """Two neighbouring train times, and what is known of the paths between their cells.

    A cell is its structure, which is the mean of its nearest cells of the same time, and a residual. Only the structure
    moves. An average of two cells would lose half of the noise that each of them has.

    Parameters
    ----------
    before, after
        Cells of both times, (n0 × k) and (n1 × k).
    places_before
        Structure of the likely ancestors of ``before`` at each train time until their own, each (n0 × k).
    places_after
        Structure of the likely descendants of ``after`` at each train time from their own on, each (n1 × k).
    transition
        Probability that a cell becomes another one, (n0 × n1).
    mass
        Descendants of each cell of ``before``, relative to their mean, (n0,). None if all have the same number.
    lengths
        Distances between the structures of likely pairs, one pair for each cell of ``before``, ascending, (n0,).
    means
        Mean of the cells at each train time, (T × k).
    """

    before: np.ndarray
    after: np.ndarray
    places_before: list[np.ndarray]
    places_after: list[np.ndarray]
    transition: sparse.csr_array
    mass: np.ndarray | None
    lengths: np.ndarray
    means: np.ndarray


@dataclass(frozen=True)
class Drawn:
    """Pairs of cells of an interval, and the random choices that stay the same for all paths.

    Parameters
    ----------
    interval
        Where they are from.
    rows, columns
        Row numbers of each pair in both snapshots, (n,).
    side
        Numbers in (0, 1), evenly spread and in random order, (n,). They decide whose residual a cell has, or at which
        side it stays.
    farness
        Share of the likely pairs of the interval that are nearer to each other than this pair, (n,).
    """

    interval: Passage
    rows: np.ndarray
    columns: np.ndarray
    side: np.ndarray
    farness: np.ndarray


def interval_of(pairing: Pairing, i: int, *, n_neighbors: int) -> Passage:
    """Passage from snapshot ``i`` to ``i + 1``. Ancestors and descendants are followed through all other snapshots."""
    cells = pairing.cells
    back, ahead = [cells[0]], [cells[-1]]
    for r in range(i):
        came_from = ancestors(pairing.between(r))
        back = [*(came_from @ place for place in back), cells[r + 1]]
    for r in range(len(cells) - 2, i, -1):
        becomes = pairing.between(r).transition
        ahead = [cells[r], *(becomes @ place for place in ahead)]
    before, after = cells[i], cells[i + 1]
    places_before, places_after = _local_means(before, back, n_neighbors), _local_means(after, ahead, n_neighbors)
    pair = pairing.between(i)
    columns = _partners(pair.transition, np.arange(len(before)), np.random.default_rng(0))
    lengths = np.sort(_length(places_before[-1], places_after[0][columns]))
    means = np.array([snapshot.mean(axis=0) for snapshot in cells])
    mass = None if pairing.even else pair.mass
    return Passage(before, after, places_before, places_after, pair.transition, mass, lengths, means)


def draw(interval: Passage, rows: np.ndarray, rng: np.random.Generator) -> Drawn:
    """Draw a likely descendant for each row number of ``before``."""
    columns = _partners(interval.transition, rows, rng)
    lengths = _length(interval.places_before[-1][rows], interval.places_after[0][columns])
    farness = np.searchsorted(interval.lengths, lengths) / len(interval.lengths)
    return Drawn(interval, rows, columns, _spread(len(rows), rng), farness)


def travelled(drawn: Drawn, curve: Curve, curvature: float) -> np.ndarray:
    """Cells on their paths, (n × k): the structure on a curve, and the residual of one of the two sides.

    Parameters
    ----------
    drawn
        Pairs of cells.
    curve
        The curve at the target.
    curvature
        Weight of the bend: 0 for straight lines between the pairs, 1 for the whole curve.
    """
    cells, rows, columns = drawn.interval, drawn.rows, drawn.columns
    places = [*(place[rows] for place in cells.places_before), *(place[columns] for place in cells.places_after)]
    first, last = cells.places_before[-1][rows], cells.places_after[0][columns]
    path = first + curve.share * (last - first) + curvature * curve.bend(places)
    later = (drawn.side < curve.share)[:, None]
    return np.asarray(path + np.where(later, cells.after[columns] - last, cells.before[rows] - first))


def stayed(drawn: Drawn, curve: Curve) -> np.ndarray:
    """Cells of both sides, (n × k), in proportion to the time."""
    cells, later = drawn.interval, (drawn.side < curve.share)[:, None]
    return np.where(later, cells.after[drawn.columns], cells.before[drawn.rows])


def stays(drawn: Drawn, weight: float) -> np.ndarray:
    """Whether each cell stays at its side, (n,): the share ``weight`` of the pairs that are farthest apart."""
    return np.asarray(drawn.farness >= 1 - weight)


def _partners(transition: sparse.csr_array, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A likely descendant of each row, (n,)."""
    draws = _spread(len(rows), rng)
    return np.array([draw_column(transition, row, point) for row, point in zip(rows, draws, strict=True)], dtype=int)


def _spread(n: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers in (0, 1), evenly spread and in random order, (n,)."""
    return np.asarray((rng.permutation(n) + 0.5) / n)


def _length(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """Distance between each two rows, (n,)."""
    return np.asarray(np.linalg.norm(Y - X, axis=1))


def _local_means(X: np.ndarray, values: list[np.ndarray], n_neighbors: int) -> list[np.ndarray]:
    """Mean of the values of the nearest cells, each (n × k). With few cells at most a third of them are averaged."""
    from sklearn.neighbors import NearestNeighbors

    k = max(1, min(n_neighbors, len(X) // 3))
    if k == 1:
        return values
    near = NearestNeighbors(n_neighbors=k).fit(X).kneighbors(X, return_distance=False)
    return [np.asarray(value[near].mean(axis=1)) for value in values]
