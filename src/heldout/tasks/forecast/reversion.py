"""Genes return towards their history: a regression over genes, learnt from the changes between train times."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from heldout._core.method import Fitted
from heldout.tasks.forecast.baselines import Moving

if TYPE_CHECKING:
    from heldout.tasks.forecast.config import DampingConfig
    from heldout.tasks.forecast.interface import Snapshots


class Reversion(Moving):
    """The mean of each gene changes as a linear function of its level and of how far it is from where it has been.

    The coefficients are the same for all genes. They are learnt over genes from all changes between train times, so a
    few times are enough. Genes that rise in differentiation tend to fall again, and genes that fell tend to recover;
    extrapolation predicts the opposite. The length of a step is not used, because most change happens early after a
    treatment.
    """

    fades: ClassVar[bool] = False

    def learn(self, data: Snapshots, config: DampingConfig, *, seed: int) -> Fitted:
        """Ridge regression with one row for each gene and change. It uses only the means of the genes."""
        means = np.stack([data.space.decode(cells.mean(axis=0)) for cells in data.cells])
        X = np.concatenate([_features(means[: i + 1]) for i in range(len(means) - 1)])
        y = np.diff(means, axis=0).ravel()
        scale = X.std(axis=0)
        scale[0] = 1.0  # the intercept
        Z = X / np.where(scale > 0, scale, 1.0)
        weights = np.linalg.solve(Z.T @ Z + config.penalty * len(y) * np.eye(Z.shape[1]), Z.T @ y)
        weights /= np.where(scale > 0, scale, 1.0)
        change = _features(means) @ weights
        info = {"weights": dict(zip(("level", "first", "mean"), weights[1:].tolist(), strict=True))}
        return Fitted({"change": data.space.components @ change}, info)

    def move(self, fitted: Fitted, start: np.ndarray, start_time: float, at: float) -> np.ndarray:
        """The same movement for all cells, however far the target is."""
        return np.tile(fitted.arrays["change"], (len(start), 1))


def _features(means: np.ndarray) -> np.ndarray:
    """Features of each gene, (n_genes × 4): 1, level, distance to the first mean and to the mean of all times."""
    last = means[-1]
    return np.stack([np.ones_like(last), last, means[0] - last, means.mean(axis=0) - last], axis=1)
