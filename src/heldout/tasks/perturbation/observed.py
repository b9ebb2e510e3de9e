"""Cells of a screen and their pseudobulks: each perturbation and the controls, context by context."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from heldout import metrics
from heldout._core.arrays import as_dense, loaded, take
from heldout._core.grouped import group_moments
from heldout._core.partition import digests
from heldout._core.types import is_dask
from heldout.splitting._read_screen import CONTROL, UNKNOWN
from heldout.tasks.perturbation.pairs import Pair, Pairs

if TYPE_CHECKING:
    import pandas as pd

    from heldout._core.types import Matrix, MatrixOrDask
    from heldout.splitting._perturbations import Targets
    from heldout.splitting._read_screen import Screen


@dataclass(frozen=True)
class Observed:
    """Moments of the cells of some partitions, float64; controls have a row per context, NaN where there are none.

    Parameters
    ----------
    pairs
        Perturbations in contexts, m of them.
    number
        Number of the perturbation of each, (m,).
    n_cells, mean, var
        Number of cells of each row, (m,), and their mean and variance, (m × G); the variance of one cell is NaN.
    control_n, control, control_var
        The same of the controls, (C,) and (C × G).
    """

    pairs: Pairs
    number: np.ndarray
    n_cells: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    control_n: np.ndarray
    control: np.ndarray
    control_var: np.ndarray

    @cached_property
    def change(self) -> np.ndarray:
        """Mean of each minus that of the controls of its context, (m × G)."""
        return self.mean - self.control[self.pairs.context]

    @cached_property
    def response(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights of genes, and t scores against the controls of the context, (m × G) each.

        Weights come from t scores against the other perturbations of the context. A row is NaN if it has one cell, or
        if there is nothing to compare with.
        """
        weights, scores = (np.full(self.mean.shape, np.nan) for _ in range(2))
        for panel in panels(self.pairs.context, fewest=1):
            c = self.pairs.context[panel[0]]
            rows = panel[self.n_cells[panel] > 1]
            moments = (self.mean[rows], self.var[rows], self.n_cells[rows])
            if len(rows) > 1:
                mean, var, n = metrics.rest_moments(*moments)
                rest = metrics.t_scores(*moments, control_mean=mean, control_variance=var, control_n=n)
                weights[rows] = metrics.score_weights(rest)
            if len(rows) and self.control_n[c] > 1:
                controls = {"control_mean": self.control[c], "control_variance": self.control_var[c]}
                scores[rows] = metrics.t_scores(*moments, **controls, control_n=self.control_n[c])
        return weights, scores

    def only(self, rows: np.ndarray) -> Observed:
        """Some of the perturbations, and all controls."""
        moments = (self.n_cells[rows], self.mean[rows], self.var[rows])
        return Observed(
            self.pairs.only(rows), self.number[rows], *moments, self.control_n, self.control, self.control_var
        )


def panels(context: np.ndarray, *, fewest: int = 2) -> list[np.ndarray]:
    """Rows of each context that has at least ``fewest`` perturbations."""
    rows = [np.flatnonzero(context == number) for number in np.unique(context)]
    return [panel for panel in rows if len(panel) >= fewest]


@dataclass(frozen=True)
class Measured:
    """The cells of a screen: their expression, and how each cell is perturbed.

    Parameters
    ----------
    X
        Matrix with all genes; dense, csr, csc, or dask, (n × n_vars).
    columns
        Columns of the genes that are read, (G,).
    screen
        Perturbation and context of each cell.
    obs_names
        Names of the cells, (n,).
    """

    X: MatrixOrDask
    columns: np.ndarray
    screen: Screen
    obs_names: pd.Index

    @cached_property
    def order(self) -> np.ndarray:
        """Rows sorted by a digest of the cell names, (n,), so that draws do not depend on the order of the rows."""
        return np.argsort(digests(self.obs_names), kind="stable")

    def fetch(self, rows: np.ndarray) -> Matrix:
        """Expression of some cells in memory, (k × G); sparse where ``X`` is sparse."""
        if not is_dask(self.X):
            return take(loaded(self.X[rows]), None, self.columns)
        order = np.argsort(rows, kind="stable")  # a dask array is read block by block
        return take(loaded(self.X[rows[order]]), np.argsort(order, kind="stable"), self.columns)

    def dense(self, rows: np.ndarray) -> np.ndarray:
        """Expression of some cells, dense, float64, (k × G)."""
        return as_dense(self.fetch(rows))

    def observe(self, mask: np.ndarray) -> Observed:
        """Moments of the cells in ``mask`` by perturbation and context, in one pass over the matrix."""
        screen = self.screen
        number, context, dose, codes = screen.groups_by_dose(mask)
        moments = group_moments(self.X, codes, len(number), columns=self.columns)
        assert moments.var is not None
        control = number < 0
        of_pairs = None if dose is None else dose[~control]
        pairs = Pairs([screen.perturbations[i] for i in number[~control]], context[~control], of_pairs)
        n = np.zeros(screen.n_contexts, dtype=np.int64)
        n[context[control]] = moments.n[control]
        mean, var = (np.full((screen.n_contexts, len(self.columns)), np.nan) for _ in range(2))
        mean[context[control]], var[context[control]] = moments.mean[control], moments.var[control]
        perturbed = (moments.n[~control], moments.mean[~control], moments.var[~control])
        return Observed(pairs, number[~control], *perturbed, n, mean, var)


@dataclass(frozen=True)
class Cells:
    """The cells that a method may see: those of train and val. The perturbations of other cells are hidden.

    Parameters
    ----------
    measured
        All cells.
    targets
        Targets of each perturbation, by number, (P,).
    perturbation
        Number of the perturbation of each cell, (n,); -1 for a control, -2 for a cell of neither train nor val.
    context
        Number of the context of each cell, (n,).
    train, val
        Rows of the train and of the val cells, sorted.
    dose
        Dose of each cell, (n,), 0 for a control and for a cell of neither train nor val; None if the screen has no
        doses.
    """

    measured: Measured
    targets: list[Targets]
    perturbation: np.ndarray
    context: np.ndarray
    train: np.ndarray
    val: np.ndarray
    dose: np.ndarray | None = None

    @classmethod
    def of(cls, measured: Measured, train: np.ndarray, val: np.ndarray) -> Cells:
        """Hide the perturbations of all cells but those of train and val, which are masks (n,)."""
        screen = measured.screen
        perturbation = np.where(train | val, screen.of_cell, UNKNOWN)
        dose = None if screen.dose is None else np.where(train | val, screen.dose, 0.0)
        rows = (np.flatnonzero(train), np.flatnonzero(val))
        return cls(measured, screen.perturbations, perturbation, screen.context, *rows, dose)

    @property
    def X(self) -> MatrixOrDask:
        """Matrix of all cells and all genes, (n × n_vars); dense, csr, csc, or dask, never loaded as a whole here."""
        return self.measured.X

    @property
    def columns(self) -> np.ndarray:
        """Columns of ``X`` that are the genes of the data, (G,)."""
        return self.measured.columns

    @property
    def n_contexts(self) -> int:
        """Number of contexts."""
        return self.measured.screen.n_contexts

    def controls(self, context: int) -> np.ndarray:
        """Rows of the train controls of a context."""
        train = self.train
        return train[(self.perturbation[train] == CONTROL) & (self.context[train] == context)]

    def fetch(self, rows: np.ndarray) -> Matrix:
        """Expression of some cells in memory, (k × G); sparse where ``X`` is sparse."""
        return self.measured.fetch(rows)

    def in_order(self, rows: np.ndarray) -> np.ndarray:
        """Rows sorted by a digest of the names of their cells, so that draws do not depend on the order of the rows."""
        order = self.measured.order
        return order[np.isin(order, rows)]

    def train_groups(self, rng: np.random.Generator, most: int) -> list[tuple[Pair, np.ndarray]]:
        """Rows of the train cells of each perturbation in each context.

        Of more than ``most`` cells some are drawn. Which cells these are does not depend on the order of the rows.
        """
        mask = np.zeros(len(self.perturbation), dtype=bool)
        mask[self.train] = True
        number, context, dose, codes = self.measured.screen.groups_by_dose(mask)
        place = np.empty(len(codes), dtype=np.int64)
        place[rng.permutation(self.measured.order)] = np.arange(len(codes))
        groups = []
        for group in np.flatnonzero(number >= 0).tolist():
            rows = np.flatnonzero(codes == group)
            rows = rows[np.argsort(place[rows])[:most]]
            of_group = None if dose is None else float(dose[group])
            groups.append((Pair(self.targets[number[group]], int(context[group]), of_group), rows))
        return groups
