"""What a method answers with: a mean change that moves control cells, or generated cells."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from heldout._core.arrays import as_dense, loaded, take

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout._core.types import Matrix, MatrixOrDask
    from heldout.tasks.perturbation.pairs import Pair, Pairs

N_DRAWS = 500
"""Cells that the mean of a generated prediction is taken over."""

MOST_CONTROLS = 10_000
"""Control cells of a context that are held in memory to draw from."""


@dataclass(frozen=True)
class Controls:
    """Control cells of each context: those of train, or those of another AnnData.

    Parameters
    ----------
    mean
        Mean of the controls of each context, (C × G); NaN for a context without controls.
    pool
        Function from the number of a context to its control cells, (k × G), dense or sparse. It reads the matrix when
        it is called, so methods that need only the means cost no reading.
    has_cells
        Whether ``pool`` has cells. If not, it raises an error.
    """

    mean: np.ndarray
    pool: Callable[[int], Matrix]
    has_cells: bool = True

    @classmethod
    def of(
        cls, X: MatrixOrDask, columns: np.ndarray, mean: np.ndarray, rows_of: Callable[[int], np.ndarray]
    ) -> Controls:
        """Controls that are rows of a matrix, (n × n_vars); ``rows_of`` returns the rows of a context."""
        return cls(mean, cache(lambda context: take(loaded(X[rows_of(context)[:MOST_CONTROLS]]), None, columns)))

    @classmethod
    def without_cells(cls, mean: np.ndarray) -> Controls:
        """Means of controls whose cells are not at hand."""

        def pool(context: int) -> Matrix:
            msg = "These controls have no cells, only means. Pass the AnnData that holds the control cells."
            raise ValueError(msg)

        return cls(mean, pool, has_cells=False)

    def draw(self, context: int, n: int, rng: np.random.Generator) -> np.ndarray:
        """Random control cells of a context, dense, (n × G); each cell is drawn equally often, up to one."""
        cells = self.pool(context)
        if not cells.shape[0]:
            return np.full((n, self.mean.shape[1]), np.nan)
        return dense_rows(cells, drawn_rows(cells.shape[0], n, rng))


class Prediction(Protocol):
    """Predicted changes and cells of m perturbations in their contexts."""

    @property
    def change(self) -> np.ndarray:
        """Mean change from the controls of the context, (m × G); a row of NaN where the method cannot predict."""

    @property
    def fallback(self) -> np.ndarray:
        """Whether a row uses a fallback, such as the mean effect for a target that train has not seen, (m,)."""

    def cells(self, i: int, n: int, rng: np.random.Generator) -> np.ndarray:
        """Predicted cells of row ``i``, (n × G); NaN where the method cannot predict."""


@dataclass(frozen=True)
class Shifted:
    """A prediction of mean changes: its cells are control cells, moved by the change.

    Parameters
    ----------
    change
        Change from the controls of the context, (m × G); a row of NaN where the method cannot predict.
    fallback
        Whether a row uses a fallback, (m,).
    context
        Number of the context of each row, (m,).
    controls
        The control cells that are moved. The moved values can be below zero.
    """

    change: np.ndarray
    fallback: np.ndarray
    context: np.ndarray
    controls: Controls

    @classmethod
    def of(cls, pairs: Pairs, controls: Controls, change: np.ndarray, fallback: np.ndarray | None = None) -> Shifted:
        """Prediction of some perturbations; without ``fallback`` no row uses one."""
        fallback = np.zeros(len(change), dtype=bool) if fallback is None else fallback
        return cls(change, fallback, pairs.context, controls)

    def cells(self, i: int, n: int, rng: np.random.Generator) -> np.ndarray:
        """Control cells of the context, moved by the change, (n × G)."""
        return self.controls.draw(int(self.context[i]), n, rng) + self.change[i]


@dataclass(frozen=True)
class Generated:
    """A prediction of cells: its change is the mean of seeded draws minus the mean of the controls.

    Parameters
    ----------
    sampler
        Function from a :class:`heldout.tasks.perturbation.pairs.Pair`, the number of cells and a generator to predicted
        cells, (n × G).
    fallback
        Whether a row uses a fallback, (m,).
    pairs
        The perturbations and contexts that are predicted, m rows.
    controls
        Controls of the contexts.
    seed
        Seed of the draws behind ``change``. A row does not depend on the other rows.
    n_draws
        Number of these draws.
    n_distinct
        Function from a pair to the number of different cells that can be drawn. If None, it is not limited. Scores use
        no more, because a cell that is drawn twice looks like a too narrow distribution.
    """

    sampler: Callable[[Pair, int, np.random.Generator], np.ndarray]
    fallback: np.ndarray
    pairs: Pairs
    controls: Controls
    seed: int
    n_draws: int = N_DRAWS
    n_distinct: Callable[[Pair], int] | None = None

    @cached_property
    def change(self) -> np.ndarray:
        """Mean of the draws minus the mean of the controls, (m × G)."""
        change = np.empty((len(self.pairs), self.controls.mean.shape[1]))
        for i, pair in enumerate(self.pairs):
            cells = self.cells(i, self.n_draws, rng_of(self.seed, pair))
            change[i] = cells.mean(axis=0) - self.controls.mean[pair.context]
        return change

    def cells(self, i: int, n: int, rng: np.random.Generator) -> np.ndarray:
        """Predicted cells of row ``i``, (n × G)."""
        return self.sampler(self.pairs[i], n, rng)

    def distinct_cells(self, i: int, most: int, rng: np.random.Generator) -> np.ndarray:
        """Up to ``most`` predicted cells of row ``i``, none of them drawn twice, (n × G)."""
        limit = self.n_distinct
        n = most if limit is None else min(most, limit(self.pairs[i]))
        return self.cells(i, n, rng)


def rng_of(seed: int, pair: Pair, *, stream: int = 0) -> np.random.Generator:
    """Generator of a perturbation in a context. It does not depend on what else is predicted in the same call."""
    dose = [] if pair.dose is None else [zlib.crc32(struct.pack("<d", pair.dose))]
    return np.random.default_rng([seed, zlib.crc32("\n".join(pair.targets).encode()), pair.context, stream, *dose])


def drawn_rows(k: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers of ``n`` random rows of ``k``; no row is drawn twice before each was drawn once."""
    return np.resize(rng.permutation(k), n)


def dense_rows(X: Matrix, rows: np.ndarray) -> np.ndarray:
    """Some rows as a dense float64 array."""
    return as_dense(X[rows])
