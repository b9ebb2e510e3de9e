"""A method that was fitted on a task: it predicts rows of the task, and becomes a fit that can be stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.arrays import loaded, row_blocks, take
from heldout.tasks.genotype import METHODS

if TYPE_CHECKING:
    from heldout._core.fits import Fit
    from heldout._core.method import Fitted
    from heldout._core.types import MatrixOrDask
    from heldout.tasks.genotype.interface import GenotypeMethod
    from heldout.tasks.genotype.task import Task


@dataclass(frozen=True)
class Trained:
    """Result of a method on the train cells of a task.

    Build it with :meth:`of`.
    """

    task: Task
    method: str
    config: Any
    seed: int
    implementation: GenotypeMethod
    fitted: Fitted

    @classmethod
    def of(cls, task: Task, method: str, config: Any = None, *, seed: int = 0) -> Trained:
        """Fit a method of the registry, with its default options if none are given."""
        config = config if METHODS.is_adapter(method) else METHODS[method].check_config(config)
        implementation = METHODS[method].load()()
        fitted = implementation.fit(task.data(implementation.features), config, seed=seed)
        return cls(task, method, config, seed, implementation, fitted)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Log-probabilities of some rows of the task, (n × n_classes) float32."""
        data = self.task.data(self.implementation.features)
        groups = None if data.groups is None else data.groups[rows]
        return predict_rows(self.implementation, self.fitted, take(data.X, rows, None), groups)

    def to_fit(self) -> Fit:
        """Return what is stored. It predicts the same as this object, at least for the cells of the task."""
        fitted = self.fitted
        if METHODS.is_adapter(self.method):
            of_cells = self.implementation.kept(self, fitted)  # type: ignore[attr-defined]
            fitted = replace(fitted, arrays={**fitted.arrays, **of_cells})
        return self.task.pack(self.method, self.implementation.features, self.config, fitted, seed=self.seed)


def predict_rows(
    implementation: GenotypeMethod,
    fitted: Fitted,
    X: MatrixOrDask,
    groups: np.ndarray | None,
    columns: np.ndarray | None = None,
) -> np.ndarray:
    """Log-probabilities of rows, (n × n_classes) float32.

    Parameters
    ----------
    implementation, fitted
        The method and the result of its fit.
    X
        Features of the rows, (n × n_features) after ``columns`` are taken.
    groups
        Group number of each row, (n,). Methods that predict whole groups need it.
    columns
        Columns of ``X`` that are the features. None for all.
    """
    if not implementation.by_group:
        if implementation.features != "genes":
            return np.asarray(implementation.predict(fitted, loaded(X)))
        parts = [implementation.predict(fitted, take(block, None, columns)) for _, block in row_blocks(X)]
        return np.concatenate(parts)
    assert groups is not None
    parts, order = [], np.argsort(groups, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        parts.append(implementation.predict(fitted, loaded(take(X, rows, columns))))
    result = np.empty((len(groups), parts[0].shape[1]), dtype=np.float32)
    result[order] = np.concatenate(parts)
    return result
