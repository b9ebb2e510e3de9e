"""When training stops: the log-loss of left-out groups, which are those of val, or a fold of the groups of train."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from heldout.metrics.classification import group_log_probability
from heldout.tasks.genotype.group_rows import rows_of
from heldout.tasks.genotype.penalty import inner_folds
from heldout.tasks.genotype.temperature import temperature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heldout.tasks.genotype.config import MLPConfig
    from heldout.tasks.genotype.interface import Data
    from heldout.tasks.genotype.penalty import Rows


@dataclass(frozen=True)
class LeftOut:
    """Groups that training does not see, and what their predictions say about it. A group counts once.

    Parameters
    ----------
    rows
        Classes and groups of R rows. A row is a group, or the cells of a group with one class.
    row_of
        Row of each cell of the data, (n_obs,). -1 for cells that are not left out.
    """

    rows: Rows
    row_of: np.ndarray

    @classmethod
    def of(cls, data: Data, cells: np.ndarray, config: MLPConfig) -> LeftOut | None:
        """Rows of some cells. None if groups are not known, or there are no cells."""
        if data.groups is None or not len(cells):
            return None
        rows, row_of_cell = rows_of(data, cells, balanced=config.balanced)
        row_of = np.full(len(data.labels), -1)
        row_of[cells] = row_of_cell
        return cls(rows, row_of)

    def predicted(self, log_p: np.ndarray, row_of: np.ndarray) -> np.ndarray:
        """Log-probabilities of the rows, (R × n_classes), from those of their cells. NaN for a row without a cell."""
        found = np.full((len(self.rows.labels), log_p.shape[1]), np.nan)
        seen, number = np.unique(row_of, return_inverse=True)
        found[seen] = group_log_probability(log_p, number)
        return found

    def loss(self, log_p: np.ndarray) -> float:
        """Log-loss of the rows, weighted as in training, from log-probabilities (R × n_classes)."""
        each = -log_p[np.arange(len(log_p)), self.rows.labels]
        known = np.isfinite(each)
        return float(np.average(each[known], weights=self.rows.weights[known])) if known.any() else float("nan")


def has_every_class(data: Data, cells: np.ndarray) -> bool:
    """Whether some cells have every class."""
    return len(np.unique(data.labels[cells])) == data.n_classes


def parts_of(data: Data, config: MLPConfig) -> list[Data]:
    """Train and val of each network.

    If val has every class, there is one network, which stops on val. If not, the groups of train are divided into
    folds, and each network stops on the fold that it is not trained on. Units that the split keeps together are left
    out together. Val, test and other rows are then not read.

    Returns
    -------
    Only the data as they are, if nothing can be left out: groups are not known, a class has fewer than two units in
    train, or the options say so.
    """
    if has_every_class(data, data.val) or not config.n_inner_folds:
        return [data]
    everything = LeftOut.of(data, data.train, config)
    if everything is None:
        return [data]
    row_of = everything.row_of[data.train]
    outside = [np.isin(row_of, fold) for fold in inner_folds(everything.rows, n_folds=config.n_inner_folds)]
    return [replace(data, train=data.train[~out], val=data.train[out]) for out in outside] or [data]


def shared_temperature(left_out: Sequence[LeftOut], predicted: Sequence[np.ndarray]) -> float:
    """Temperature that is best for the left-out groups of all networks, from their log-probabilities (R × n_classes).

    The same groups chose the epoch, so their loss is too low. They count half.
    """
    log_p = np.concatenate(list(predicted))
    labels, weights = (
        np.concatenate([getattr(each.rows, name) for each in left_out]) for name in ("labels", "weights")
    )
    known = np.isfinite(log_p).all(axis=1)
    return temperature(log_p[known], labels[known], weights[known] / 2) if known.any() else 1.0
