"""Couplings of neighbouring train times in which cells divide and die at different rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from heldout.tasks.forecast.couplings import coupling

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from heldout.tasks.forecast.couplings import Coupling

UNBALANCED = 0.2
"""Strength that keeps the number of descendants of cells equal where growth is estimated."""


@dataclass(frozen=True)
class Pairing:
    """How cells of neighbouring train times are coupled.

    Parameters
    ----------
    times
        Train times, ascending, (T,).
    cells
        Cells of each train time, T arrays (n_t × k).
    rates
        Rate of growth of each cell, T arrays (n_t,), for each unit of time and up to a constant. None if it is not
        given.
    estimate
        Whether the number of descendants of each cell is estimated by unbalanced transport.
    """

    times: np.ndarray
    cells: Sequence[np.ndarray]
    rates: Sequence[np.ndarray] | None = None
    estimate: bool = False

    @property
    def even(self) -> bool:
        """Whether all cells have the same number of descendants."""
        return self.rates is None and not self.estimate

    def between(self, i: int, *, seed: int = 0) -> Coupling:
        """Coupling of the train times ``i`` and ``i + 1``."""
        pair = (self.cells[i], self.cells[i + 1])
        if self.rates is not None:
            return coupling(*pair, growth=multiples(self.rates[i], self.times[i + 1] - self.times[i]), rng=seed)
        return coupling(*pair, unbalanced=UNBALANCED, rng=seed) if self.estimate else coupling(*pair, rng=seed)

    def without(self, j: int) -> Self:
        """All times but one."""
        rest = [k for k in range(len(self.times)) if k != j]
        rates = None if self.rates is None else [self.rates[k] for k in rest]
        return type(self)(self.times[rest], [self.cells[k] for k in rest], rates, self.estimate)


def multiples(rates: np.ndarray, step: float) -> np.ndarray:
    """Descendants of each cell after a step, relative to that of the fastest, (n,)."""
    return np.asarray(np.exp((rates - rates.max()) * step))


def multiplied(weights: np.ndarray) -> np.ndarray:
    """Row numbers in proportion to weights, (n,), as many as there are weights.

    A row that is drawn at all is drawn at its own place. Copies take the places of rows that are not drawn.
    """
    n = len(weights)
    ends = np.cumsum(weights) / weights.sum() * n
    counts = np.diff(np.floor(ends + 0.5), prepend=0).astype(int)
    counts[-1] += n - counts.sum()
    rows = np.arange(n)
    rows[counts == 0] = np.repeat(rows, np.maximum(counts - 1, 0))
    return rows
