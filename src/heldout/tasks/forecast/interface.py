"""Interface of the forecast methods: they fit on snapshots, and predict cells at another time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout._core.method import Fitted
    from heldout._core.options import Config
    from heldout.tasks.forecast.space import Space


@dataclass(frozen=True)
class Snapshots:
    """Cells at ascending times, in a space that was fitted on train cells.

    Parameters
    ----------
    times
        Distinct times, ascending, (T,).
    cells
        Coordinates of the cells of each time, T arrays (n_t × k) float64.
    space
        How coordinates become genes, for methods that look at genes.
    chains
        Row numbers in each snapshot, (n_chains × T), if chains were drawn before the fit.
    val
        Cells of other times that only the stopping sees.
    targets
        Times that will be predicted; the cells of these times are not available. Empty if the times are not known.
    growth
        Rate of growth of each cell, T arrays (n_t,), for each unit of time and up to a constant, if it is known.
    refitted
        All snapshots in a space that was fitted on the first n, as a function of n. None if a space that has seen fewer
        cells would be the same but for its axes.
    """

    times: np.ndarray
    cells: list[np.ndarray]
    space: Space
    chains: np.ndarray | None = None
    val: Snapshots | None = None
    targets: tuple[float, ...] = ()
    growth: list[np.ndarray] | None = None
    refitted: Callable[[int], Snapshots] | None = None

    @property
    def goes_beyond(self) -> bool:
        """Whether a target may lie after the last time."""
        return not self.targets or max(self.targets) > self.times[-1]

    def until(self, n: int) -> Snapshots:
        """The first ``n`` times, as if later ones had not been measured yet."""
        chains = None if self.chains is None else np.unique(self.chains[:, :n], axis=0)
        growth = self.growth and self.growth[:n]
        times, cells = self.times[:n], self.cells[:n]
        return replace(self, times=times, cells=cells, chains=chains, val=None, growth=growth, refitted=None)

    def origin(self, n: int) -> tuple[Snapshots, list[np.ndarray]]:
        """The first ``n`` times as if later ones had not been measured, and the cells of the later ones in their space.

        A space that has seen the cells to be forecast explains more of them than a space of the past does. Movements
        that add spread would then look better than they are.
        """
        view = self if self.refitted is None else self._in_space_of(self.refitted(n))
        return view.until(n), view.cells[n:]

    def without(self, i: int) -> Snapshots:
        """All times but one, which becomes the target."""
        rest = np.arange(len(self.times)) != i
        chains = None if self.chains is None else self.chains[:, rest]
        cells, at = [c for c, keep in zip(self.cells, rest, strict=True) if keep], (float(self.times[i]),)
        growth = self.growth and [g for g, keep in zip(self.growth, rest, strict=True) if keep]
        past = replace(self, chains=chains, val=None, targets=at, refitted=None)
        return replace(past, times=self.times[rest], cells=cells, growth=growth)

    def _in_space_of(self, other: Snapshots) -> Snapshots:
        return replace(other, chains=self.chains, targets=self.targets, growth=self.growth)

    def thinned(self, most: int) -> Snapshots:
        """At most ``most`` cells of each time, always the same. Chains are kept, so then all cells are."""
        if self.chains is not None or max(map(len, self.cells)) <= most:
            return self
        rows = [some_rows(len(cells), most) for cells in self.cells]
        growth = self.growth and [g[kept] for g, kept in zip(self.growth, rows, strict=True)]
        return replace(self, cells=[c[kept] for c, kept in zip(self.cells, rows, strict=True)], growth=growth)

    @property
    def span(self) -> float:
        """Time from the first to the last snapshot."""
        return float(self.times[-1] - self.times[0])


def some_rows(n: int, most: int) -> np.ndarray:
    """At most ``most`` of ``n`` rows, always the same rows, ascending."""
    return np.arange(n) if n <= most else np.sort(np.random.default_rng(0).choice(n, most, replace=False))


class ForecastMethod(Protocol):
    """The two verbs of a forecast method."""

    default_config: ClassVar[Config]
    """Options if the user gives none. Those given must be of the same class."""

    min_times: ClassVar[int]
    """Number of train times that a forecast needs. An interpolation needs two."""

    stochastic: ClassVar[bool]
    """Whether another seed gives another fit."""

    keeps_cells: ClassVar[bool]
    """Whether row i of the prediction is start cell i after its movement."""

    def fit(self, data: Snapshots, config: Any, *, seed: int) -> Fitted:
        """Fit on the snapshots (and stop on ``data.val``)."""

    def predict(
        self, fitted: Fitted, start: np.ndarray, start_time: float, at: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Cells at the time ``at``, (n × k) float64, from cells (n × k) at ``start_time``."""
