"""Simple methods that a network must beat."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout._core.arrays import loaded, take
from heldout._core.method import Fitted
from heldout._core.options import NoConfig
from heldout.tasks.genotype.cell_logistic import fit_cells, weights_of_rows
from heldout.tasks.genotype.config import LogisticConfig
from heldout.tasks.genotype.group_rows import row_means, rows_of_train
from heldout.tasks.genotype.linear import fit_logistic, linear_log_probability
from heldout.tasks.genotype.ridge import fit_averaged

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout._core.types import Matrix
    from heldout.tasks.genotype.interface import Data
    from heldout.tasks.genotype.penalty import Rows


class Majority:
    """The class shares of the train cells, for every cell."""

    features: ClassVar[Any] = "qc"
    by_group: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False
    default_config: ClassVar[Any] = NoConfig()

    def fit(self, data: Data, config: NoConfig, *, seed: int) -> Fitted:
        """Count the classes."""
        counts = np.bincount(data.labels[data.train], minlength=data.n_classes)
        return Fitted({"log_share": np.log(counts / counts.sum())})

    def predict(self, fitted: Fitted, X: Matrix) -> np.ndarray:
        """Repeat the shares."""
        return np.tile(fitted.arrays["log_share"].astype(np.float32), (X.shape[0], 1))


class _Linear:
    """Logistic regression on cells. Subclasses choose the features."""

    features: ClassVar[Any] = "genes"
    by_group: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False
    default_config: ClassVar[Any] = LogisticConfig()
    name: ClassVar[str]

    def fit(self, data: Data, config: LogisticConfig, *, seed: int) -> Fitted:
        """Fit by scikit-learn's L-BFGS, which has no randomness."""
        return fit_cells(loaded(take(data.X, data.train, None)), data, config, self.name)

    def predict(self, fitted: Fitted, X: Matrix) -> np.ndarray:
        """Log-probabilities of the linear model."""
        return linear_log_probability(fitted.arrays, X)


class CellLogistic(_Linear):
    """Logistic regression on the genes of each train cell."""

    name: ClassVar[str] = "logistic"


class PseudobulkLogistic(_Linear):
    """Logistic regression on the mean profile of each train group.

    It is linear, so the mean logit of the cells of a group is the logit of its mean profile. So it can predict cells as
    other methods do.
    """

    name: ClassVar[str] = "pseudobulk_logistic"

    def fit(self, data: Data, config: LogisticConfig, *, seed: int) -> Fitted:
        """Fit on one row for each group."""
        rows, row_of = rows_of_train(data, self.name, balanced=config.balanced)
        return fit_rows(row_means(data, row_of, len(rows.labels)), rows, config)


def fit_rows(X: np.ndarray, rows: Rows, config: LogisticConfig) -> Fitted:
    """Fit on one row for each group, (R × p), with the options of logistic regression.

    If something is chosen on inner folds, rows are centred and each group counts once.
    """
    if config.C != "auto" and not config.calibrated:
        weights = weights_of_rows(rows, np.arange(len(rows.labels)), config)
        found = fit_logistic(X, rows.labels, float(config.C), max_iter=config.max_iter, weights=weights)
        return Fitted(found.arrays, found.info | {"C": config.C, "penalty": "fixed"})
    centre = X.mean(axis=0)

    def represent(_: np.ndarray) -> tuple[dict[str, np.ndarray], Callable[[np.ndarray], np.ndarray]]:
        return {}, lambda wanted: X[wanted] - centre

    Cs = config.Cs if config.C == "auto" else [float(config.C) * float(((X - centre) ** 2).sum()) / len(X)]
    found = fit_averaged(represent, rows, Cs, max_iter=config.max_iter, calibrated=config.calibrated)
    intercept = found.arrays["intercept"] - found.arrays["coef"] @ centre
    return Fitted({**found.arrays, "intercept": intercept}, found.info)


class CovariateLogistic(_Linear):
    """Logistic regression on covariates such as the day. It shows how far the design alone predicts the label."""

    features: ClassVar[Any] = "covariates"
    name: ClassVar[str] = "covariate_logistic"


class QCLogistic(_Linear):
    """Logistic regression on library size and QC measures, standardised on the train cells."""

    features: ClassVar[Any] = "qc"
    name: ClassVar[str] = "qc_logistic"

    def fit(self, data: Data, config: LogisticConfig, *, seed: int) -> Fitted:
        """Standardise, fit, and fold the standardisation into the coefficients."""
        X = np.asarray(data.X, dtype=np.float64)
        mean, sd = X[data.train].mean(axis=0), X[data.train].std(axis=0)
        sd[sd == 0] = 1.0
        scaled = (X - mean) / sd
        fitted = fit_cells(scaled[data.train], replace(data, X=scaled), config, self.name)
        coef = fitted.arrays["coef"] / sd
        return Fitted({"coef": coef, "intercept": fitted.arrays["intercept"] - coef @ mean}, fitted.info)
