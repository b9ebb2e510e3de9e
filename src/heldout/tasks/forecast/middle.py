"""Methods that predict cells at a time between two train times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout._core.method import Fitted
from heldout._core.options import NoConfig
from heldout.tasks.forecast.baselines import draw_column
from heldout.tasks.forecast.config import InterpolationConfig
from heldout.tasks.forecast.growth import Pairing, multiplied
from heldout.tasks.forecast.stored import keep_cells, kept_cells, kept_growth, nearest

if TYPE_CHECKING:
    from heldout.tasks.forecast.couplings import Coupling
    from heldout.tasks.forecast.interface import Snapshots


class _Middle:
    default_config: ClassVar[Any] = NoConfig()
    min_times: ClassVar[int] = 2
    stochastic: ClassVar[bool] = False
    keeps_cells: ClassVar[bool] = False

    def fit(self, data: Snapshots, config: Any, *, seed: int) -> Fitted:
        """Keep the cells."""
        return Fitted(keep_cells(data, seed=seed))


class OTInterpolation(_Middle):
    """Each start cell moves on the straight line to a likely descendant at the next train time."""

    default_config: ClassVar[Any] = InterpolationConfig()
    keeps_cells: ClassVar[bool] = True

    def fit(self, data: Snapshots, config: InterpolationConfig, *, seed: int) -> Fitted:
        """Keep the cells, and whether growth is estimated."""
        return Fitted(keep_cells(data, seed=seed), {"estimate_growth": config.estimate_growth})

    def predict(
        self, fitted: Fitted, start: np.ndarray, start_time: float, at: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw a descendant of each start cell, and move the cell in proportion to the time.

        With growth, start cells with many descendants are repeated, and others are left out.
        """
        _, after, share = around(fitted, at)
        pair, rows, start_rows = self._drawn(fitted, start, at)
        descendants = np.array(
            [draw_column(pair.transition, row, draw) for row, draw in zip(rows, rng.random(len(rows)), strict=True)]
        )
        return (1 - share) * start[start_rows] + share * after[descendants]

    def kept(self, fitted: Fitted, start: np.ndarray, at: float) -> np.ndarray:
        """Whether each predicted cell is the start cell after its movement, (n,)."""
        if not fitted.info.get("estimate_growth") and kept_growth(fitted) is None:
            return np.ones(len(start), dtype=bool)
        return self._drawn(fitted, start, at)[2] == np.arange(len(start))

    def _drawn(self, fitted: Fitted, start: np.ndarray, at: float) -> tuple[Coupling, np.ndarray, np.ndarray]:
        """Coupling of both sides, rows of the cells in it, and rows of the start cells that they are."""
        times, cells = kept_cells(fitted)
        pairing = Pairing(times, cells, kept_growth(fitted), fitted.info.get("estimate_growth", False))
        i = int(np.searchsorted(times, at)) - 1
        pair, rows, all_rows = pairing.between(i), nearest(start, cells[i]), np.arange(len(start))
        if pairing.even:
            return pair, rows, all_rows
        grown = multiplied(pair.mass[rows] ** ((at - times[i]) / (times[i + 1] - times[i])))
        return pair, rows[grown], grown


class NeighbourMixture(_Middle):
    """Cells of the train times before and after the target, with more cells of the nearer time."""

    def predict(
        self, fitted: Fitted, start: np.ndarray, start_time: float, at: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw as many cells as there are start cells."""
        before, after, share = around(fitted, at)
        n_after = round(share * len(start))
        picked = [
            pool[rng.choice(len(pool), n, replace=n > len(pool))]
            for pool, n in ((before, len(start) - n_after), (after, n_after))
        ]
        return np.concatenate(picked)


def around(fitted: Fitted, at: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Cells of the train times before and after ``at``, and where it is between them, 0 to 1."""
    times, cells = kept_cells(fitted)
    i = int(np.searchsorted(times, at)) - 1
    return cells[i], cells[i + 1], float((at - times[i]) / (times[i + 1] - times[i]))
