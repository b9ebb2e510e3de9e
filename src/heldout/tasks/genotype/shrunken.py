"""Logistic regression on group means that are shrunk by empirical Bayes: a group with few cells is trusted less."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout._core.grouped import group_moments
from heldout.tasks.genotype.config import ShrunkenConfig
from heldout.tasks.genotype.group_rows import rows_of_train
from heldout.tasks.genotype.linear import linear_log_probability
from heldout.tasks.genotype.ridge import fit_averaged

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout._core.grouped import GroupMoments
    from heldout._core.method import Fitted
    from heldout._core.types import Matrix
    from heldout.tasks.genotype.interface import Data
    from heldout.tasks.genotype.penalty import Rows

_FLOOR = 1e-6
"""A variance between groups below this share of the variance of the means counts as none."""


class PseudobulkShrunken:
    """Logistic regression on the mean profile of each group, shrunk towards the train mean.

    In each gene, the mean of a group of n cells is shrunk by τ² / (τ² + σ²/n) and divided by τ. τ² is the variance
    between groups, and σ² that between the cells of a group. The fit is an average over penalties, weighted by how well
    they predict left-out groups. Classes are balanced, and each group counts once.
    """

    features: ClassVar[Any] = "genes"
    by_group: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False
    default_config: ClassVar[Any] = ShrunkenConfig()

    def fit(self, data: Data, config: ShrunkenConfig, *, seed: int) -> Fitted:
        """Estimate the variances by moments, and fit."""
        rows, row_of = rows_of_train(data, "pseudobulk_shrunken", balanced=config.balanced)
        codes = np.full(data.X.shape[0], -1)
        codes[data.train] = row_of
        return fit_shrunken(group_moments(data.X, codes, len(rows.labels)), rows, config)

    def predict(self, fitted: Fitted, X: Matrix) -> np.ndarray:
        """Log-probabilities of the mean of the rows, shrunk by their number, repeated for each row."""
        moments = group_moments(X, np.zeros(X.shape[0], dtype=int), 1, var=False)
        log_probability = linear_log_probability(fitted.arrays, shrunken(fitted.arrays, moments.n, moments.mean))
        return np.repeat(log_probability, X.shape[0], axis=0)


def fit_shrunken(moments: GroupMoments, rows: Rows, config: ShrunkenConfig) -> Fitted:
    """Fit ridge-logistic regression on shrunken means of any features of cells; see :class:`PseudobulkShrunken`.

    Parameters
    ----------
    moments
        Number of cells, means and variances of R rows. Each row is a group, or the cells of a group with one class.
    rows
        Classes, groups and units of the rows.
    config
        Penalties of the average.
    """
    assert moments.var is not None
    n, mean, var = moments.n, moments.mean, np.nan_to_num(moments.var)

    def represent(wanted: np.ndarray) -> tuple[dict[str, np.ndarray], Callable[[np.ndarray], np.ndarray]]:
        prior = _prior(n[wanted], mean[wanted], var[wanted])
        return prior, lambda others: shrunken(prior, n[others], mean[others])

    return fit_averaged(represent, rows, config.Cs, max_iter=config.max_iter, calibrated=config.calibrated)


def _prior(n: np.ndarray, mean: np.ndarray, var: np.ndarray) -> dict[str, np.ndarray]:
    """Mean of group means, variance between groups (0 below the floor), and variance within groups, of each gene."""
    within = ((n - 1) @ var) / max(int((n - 1).sum()), 1)
    spread = mean.var(axis=0, ddof=1)
    between = spread - within * (1 / n).mean()
    return {"mean": mean.mean(axis=0), "between": np.where(between > _FLOOR * spread, between, 0.0), "within": within}


def shrunken(prior: dict[str, np.ndarray], n: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Posterior means of groups as deviations from the train mean, in units of the SD between groups."""
    total = prior["between"] + prior["within"] / n[:, None]
    weight = np.divide(np.sqrt(prior["between"]), total, out=np.zeros_like(total), where=prior["between"] > 0)
    return np.asarray((mean - prior["mean"]) * weight)
