"""Energy distance of predicted from measured cells, in components fitted on train cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.arrays import row_chunks
from heldout.metrics import energy_distance
from heldout.splitting._read_screen import CONTROL

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout.tasks.perturbation.observed import Measured, Observed

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
    def of(
        cls, cells: Measured, truth: Observed, train: np.ndarray, judged: np.ndarray, rng: np.random.Generator
    ) -> CellSpace:
        """Fit components on train cells, and fetch the cells to compare; ``train`` and ``judged`` are masks (n,)."""
        order = cells.order
        place = np.empty(len(order), dtype=np.int64)
        place[rng.permutation(order)] = np.arange(len(order))

        def drawn(mask: np.ndarray, most: int) -> np.ndarray:
            """Some of the cells in random order, which depends on their names, not on the order of the rows."""
            rows = np.flatnonzero(mask)
            return rows[np.argsort(place[rows])[:most]]

        directions = _directions(cells.dense(drawn(train, _MOST_FITTED)))
        screen = cells.screen
        number, context, codes = screen.groups(judged)
        group = {(int(n), int(c)): i for i, (n, c) in enumerate(zip(number, context, strict=True))}
        rows = [
            drawn(codes == group[int(n), int(c)], MOST_CELLS)
            for n, c in zip(truth.number, truth.pairs.context, strict=True)
        ]
        is_control = train & (screen.of_cell == CONTROL)
        controls = [drawn(is_control & (screen.context == c), MOST_CELLS) for c in range(screen.n_contexts)]
        measured, start = (_split(_coordinates(cells, np.concatenate(of), directions), of) for of in (rows, controls))
        return cls(directions, measured, start, truth.pairs.context)

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


def _coordinates(cells: Measured, rows: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Coordinates of some cells, (n × K), of which few are in memory at a time."""
    order = np.argsort(rows, kind="stable")  # so that a dask array is read block after block
    result = np.empty((len(rows), len(directions)))
    for part in row_chunks(len(rows)):
        result[order[part]] = cells.dense(rows[order[part]]) @ directions.T
    return result


def _directions(cells: np.ndarray) -> np.ndarray:
    """First principal directions of the cells, (K × G); all of them where there are no more genes than components."""
    if cells.shape[1] <= N_COMPS:
        return np.eye(cells.shape[1])
    from sklearn.decomposition import PCA

    return np.asarray(PCA(min(N_COMPS, *cells.shape), random_state=0).fit(cells).components_)


def _split(cells: np.ndarray, rows: list[np.ndarray]) -> list[np.ndarray]:
    return np.split(cells, np.cumsum([len(of) for of in rows])[:-1])
