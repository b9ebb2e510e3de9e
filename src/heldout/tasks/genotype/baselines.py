"""Simple methods that a network must beat."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy import sparse
from scipy.special import log_expit, log_softmax

from heldout._core.arrays import loaded, take
from heldout._core.grouped import group_moments
from heldout._core.method import Fitted
from heldout._core.options import NoConfig
from heldout._core.types import is_dask, is_sparse
from heldout.tasks.genotype.config import LogisticConfig

if TYPE_CHECKING:
    from heldout._core.types import Matrix
    from heldout.tasks.genotype.interface import Data


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
    """Logistic regression. Subclasses choose the rows."""

    features: ClassVar[Any] = "genes"
    by_group: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False
    default_config: ClassVar[Any] = LogisticConfig()

    def fit(self, data: Data, config: LogisticConfig, *, seed: int) -> Fitted:
        """Fit by scikit-learn's L-BFGS, which has no randomness."""
        X, labels = self._rows(data)
        return fit_logistic(X, labels, config)

    def predict(self, fitted: Fitted, X: Matrix) -> np.ndarray:
        """Log-probabilities of the linear model."""
        return linear_log_probability(fitted.arrays, X)

    def _rows(self, data: Data) -> tuple[Matrix, np.ndarray]:
        return loaded(take(data.X, data.train, None)), data.labels[data.train]


class CellLogistic(_Linear):
    """Logistic regression on the genes of each train cell."""


class PseudobulkLogistic(_Linear):
    """Logistic regression on the mean profile of each train group.

    It is linear, so the mean logit of the cells of a group is the logit of its mean profile. So it can predict cells as
    other methods do.
    """

    def _rows(self, data: Data) -> tuple[Matrix, np.ndarray]:
        return group_means(data, "pseudobulk_logistic")


class CovariateLogistic(_Linear):
    """Logistic regression on covariates such as the day. It shows how far the design alone predicts the label."""

    features: ClassVar[Any] = "covariates"


class QCLogistic(_Linear):
    """Logistic regression on library size and QC measures, standardised on the train cells."""

    features: ClassVar[Any] = "qc"

    def fit(self, data: Data, config: LogisticConfig, *, seed: int) -> Fitted:
        """Standardise, fit, and fold the standardisation into the coefficients."""
        X = np.asarray(data.X, dtype=np.float64)[data.train]
        mean, sd = X.mean(axis=0), X.std(axis=0)
        sd[sd == 0] = 1.0
        fitted = fit_logistic((X - mean) / sd, data.labels[data.train], config)
        coef = fitted.arrays["coef"] / sd
        return Fitted({"coef": coef, "intercept": fitted.arrays["intercept"] - coef @ mean}, fitted.info)


def groups_of_train(data: Data, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Group and class of each row of a group-level fit, (2 × R), and the row of each train cell."""
    if data.groups is None:
        msg = f"{method} needs groups. Pass group_key, or use a split that was made by group."
        raise ValueError(msg)
    pairs, row_of = np.unique(np.stack([data.groups[data.train], data.labels[data.train]]), axis=1, return_inverse=True)
    return pairs, row_of.ravel()


def group_means(data: Data, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean profile of the train cells of each group and class, (R × n_features), and the class of each row."""
    pairs, row_of = groups_of_train(data, method)
    n = pairs.shape[1]
    averaging = sparse.csr_array(
        (1 / np.bincount(row_of)[row_of], (row_of, np.arange(len(row_of)))), shape=(n, len(row_of))
    )
    if is_dask(data.X):
        codes = np.full(data.X.shape[0], -1)
        codes[data.train] = row_of
        return group_moments(data.X, codes, n, var=False).mean, pairs[1]
    means = averaging @ take(data.X, data.train, None)
    return np.asarray(means.toarray() if is_sparse(means) else means), pairs[1]


def fit_logistic(
    X: Matrix, labels: np.ndarray, config: LogisticConfig, *, weights: np.ndarray | None = None, tol: float = 1e-4
) -> Fitted:
    """Fit logistic regression of scikit-learn. ``info`` records whether it converged."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=config.C, max_iter=config.max_iter, tol=tol)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, labels, sample_weight=weights)
    n_iter = int(model.n_iter_.max())
    arrays = {"coef": model.coef_.astype(np.float64), "intercept": model.intercept_.astype(np.float64)}
    return Fitted(arrays, {"n_iter": n_iter, "converged": n_iter < config.max_iter})


def linear_log_probability(arrays: dict[str, np.ndarray], X: Matrix) -> np.ndarray:
    """Log-probabilities of a linear model with one row of coefficients (two classes), or one row for each class."""
    logits = np.asarray(X @ arrays["coef"].T) + arrays["intercept"]
    if logits.shape[1] == 1:
        return np.concatenate([log_expit(-logits), log_expit(logits)], axis=1).astype(np.float32)
    return np.asarray(log_softmax(logits, axis=1), dtype=np.float32)
