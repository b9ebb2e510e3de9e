"""A method that was fitted on a task: it predicts rows of the task, and becomes a fit that can be stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from heldout._core.arrays import take
from heldout.tasks.genotype import METHODS
from heldout.tasks.genotype.estimators.adapters import predictions_to_keep
from heldout.tasks.genotype.rows import predict_all

if TYPE_CHECKING:
    import numpy as np

    from heldout._core.fits import Fit
    from heldout._core.method import Fitted
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
        implementation = METHODS.implementation(method)
        fitted = implementation.fit(task.data(implementation.features), config, seed=seed)
        return cls(task, method, config, seed, implementation, fitted)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Log-probabilities of some rows of the task, (n × n_classes) float32."""
        data = self.task.data(self.implementation.features)
        groups = None if data.groups is None else data.groups[rows]
        of_rows = None if data.cell_types is None else data.cell_types[rows]
        return predict_all(self.implementation, self.fitted, take(data.X, rows, None), groups, cell_types=of_rows)

    def to_fit(self) -> Fit:
        """Return what is stored. It predicts the same as this object, at least for the cells of the task."""
        fitted, task = self.fitted, self.task
        if METHODS.is_adapter(self.method) and not fitted.info["linear"]:
            X = task.data(self.implementation.features).X
            kept = predictions_to_keep(task.adata.obs_names, task.partition.codes, X, self.predict)
            fitted = replace(fitted, arrays={**fitted.arrays, **kept})
        return self.task.pack(self.method, self.implementation.features, self.config, fitted, seed=self.seed)
