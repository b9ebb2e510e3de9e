"""Energy distance of predicted from measured cells, in components fitted on train cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from heldout._core.arrays import loaded, row_chunks, take
from heldout._core.partition import digests
from heldout.metrics import energy_distance

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout.tasks.perturbation.observed import Observed
    from heldout.tasks.perturbation.task import Task

N_COMPS = 50
MOST_CELLS = 200
"""Cells of a perturbation that are compared; more are drawn from."""

_MOST_FITTED = 5000


@dataclass(frozen=True)
class CellSpace:
    """Measured cells in few components: those of the judged perturbations, and the train controls of each context.

    Parameters
    ----------
    directions
        Components, (K × G); coordinates are not centred, as distances do not mind.
    truth
        Measured cells of each judged perturbation and context, m arrays (n × K).
    start
        Train controls of each context, C arrays (n × K), which a predicted change moves.
    context
        Context of each judged perturbation, (m,).
    """

    directions: np.ndarray
    truth: list[np.ndarray]
    start: list[np.ndarray]
    context: np.ndarray

    @classmethod
    def of(cls, task: Task, truth: Observed, mask: np.ndarray, rng: np.random.Generator) -> CellSpace:
        """Fit components on train cells, and fetch the cells to compare."""
        order = np.argsort(digests(task.adata.obs_names), kind="stable")
        place = np.empty(len(order), dtype=np.int64)
        place[rng.permutation(order)] = np.arange(len(order))

        def drawn(mask: np.ndarray, most: int) -> np.ndarray:
            """Some of the cells in random order, which depends on their names, not on the order of the rows."""
            rows = np.flatnonzero(mask)
            return rows[np.argsort(place[rows])[:most]]

        directions = _directions(_fetch(task, drawn(task.partition.mask("train"), _MOST_FITTED)))
        screen = task.screen
        number, context, codes = screen.groups(mask)
        group = {(int(n), int(c)): i for i, (n, c) in enumerate(zip(number, context, strict=True))}
        rows = [
            drawn(codes == group[int(n), int(c)], MOST_CELLS)
            for n, c in zip(truth.number, truth.pairs.context, strict=True)
        ]
        train = task.partition.mask("train") & (screen.of_cell == -1)
        controls = [drawn(train & (screen.context == c), MOST_CELLS) for c in range(screen.n_contexts)]
        cells, start = (_split(_coordinates(task, np.concatenate(of), directions), of) for of in (rows, controls))
        return cls(directions, cells, start, truth.pairs.context)

    def distances(self, change: np.ndarray) -> np.ndarray:
        """Energy distance of the train controls, moved by the predicted change, from the measured cells, (m,)."""
        moved = change @ self.directions.T
        return np.array([self._distance(i, self.start[c] + moved[i]) for i, c in enumerate(self.context)])

    def distances_of_cells(self, cells: Callable[[int], np.ndarray]) -> np.ndarray:
        """The same of predicted cells themselves, (n × G) of each perturbation; NaN where there are none."""
        return np.array([self._distance(i, cells(i) @ self.directions.T) for i in range(len(self.context))])

    def halves(self) -> float:
        """Mean energy distance of one half of the measured cells from the other, over perturbations."""
        found = [energy_distance(one[::2], one[1::2]) for one in self.truth if len(one) >= 4]
        return float(np.mean(found)) if found else float("nan")

    def _distance(self, i: int, predicted: np.ndarray) -> float:
        truth = self.truth[i]
        if len(truth) < 2 or len(predicted) < 2 or not np.isfinite(predicted).all():
            return float("nan")
        return energy_distance(truth, predicted)


def _fetch(task: Task, rows: np.ndarray) -> np.ndarray:
    """Some cells, dense, float64."""
    X = task.matrix()[rows]
    X = take(loaded(X), None, task.columns)
    return np.asarray(X.toarray() if sparse.issparse(X) else X, dtype=np.float64)


def _coordinates(task: Task, rows: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Coordinates of some cells, (n × K), of which few are in memory at a time."""
    order = np.argsort(rows, kind="stable")  # so that a dask array is read block after block
    result = np.empty((len(rows), len(directions)))
    for part in row_chunks(len(rows)):
        result[order[part]] = _fetch(task, rows[order[part]]) @ directions.T
    return result


def _directions(cells: np.ndarray) -> np.ndarray:
    """First principal directions of the cells, (K × G); all of them where there are no more genes than components."""
    if cells.shape[1] <= N_COMPS:
        return np.eye(cells.shape[1])
    from sklearn.decomposition import PCA

    return np.asarray(PCA(min(N_COMPS, *cells.shape), random_state=0).fit(cells).components_)


def _split(cells: np.ndarray, rows: list[np.ndarray]) -> list[np.ndarray]:
    return np.split(cells, np.cumsum([len(of) for of in rows])[:-1])
