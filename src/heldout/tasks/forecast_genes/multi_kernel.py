"""Gaussian process over genes whose covariance is a learnt sum: features, past courses, and coexpression in cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout._core.method import Fitted
from heldout._core.options import NoConfig
from heldout.tasks.forecast_genes.baselines import N_COMPS
from heldout.tasks.forecast_genes.features import static_features
from heldout.tasks.forecast_genes.regression import apply_components, check_invertible, fit_components

if TYPE_CHECKING:
    from heldout.tasks.forecast_genes.features import History
    from heldout.tasks.forecast_genes.interface import Data

PARTS = ("features", "last_time", "all_times", "course", "near")
"""Parts of the covariance. The last one is a squared exponential of the features; the others are inner products."""

_SHARE, _NOISE, _WIDTH = 0.19, 0.5, 2.0
"""Start of each variance, start of the noise, and the standard deviation of their logarithms in the prior."""

_MOST_LEARNT = 800
"""Number of train genes from which the variances are learnt. More genes only change the forecast."""


class MultiKernel:
    """Kriging of the change over genes. Genes are similar in one or more of four views of the history.

    The views are the components of the features of a gene, its values in the cells of the last time, its values in all
    cells, and its centred course of means. Genes that vary together over cells share their change, as do genes with
    the same past course. The variance of each part is at its mode given the changes of the train genes, with a weak
    prior :cite:p:`rasmussen2006`. Cells at the target time are not read, only the means of the train genes.
    """

    stochastic: ClassVar[bool] = False
    default_config: ClassVar[Any] = NoConfig()

    def fit(self, data: Data, config: NoConfig, *, seed: int) -> Fitted:
        """Learn the variances by marginal likelihood, then solve once."""
        train = data.train
        check_invertible(len(train), "multi_kernel")
        components = fit_components(data.features, train, N_COMPS)
        views = _views(data.history, components)
        units = np.array([float((view[train] ** 2).sum(axis=1).mean()) or 1.0 for view in views])
        level, spread = data.change[train].mean(), data.change[train].std() or 1.0
        y = (data.change[train] - level) / spread
        few = np.arange(len(train))
        if len(train) > _MOST_LEARNT:
            few = np.sort(np.random.default_rng(seed).choice(len(train), _MOST_LEARNT, replace=False))
        variances = _mode(_kernels(views, units, train[few], train[few]), y[few])
        whole = _summed(_kernels(views, units, train, train), variances)
        inverse = np.linalg.inv(whole + variances[-1] * np.eye(len(train)))
        dual = inverse @ y
        arrays = {
            **components,
            "train": train,
            "units": units,
            "variances": variances,
            "level": np.array([level]),
            "dual": spread * dual,
            "held_out": level + spread * (y - dual / np.diag(inverse)),
        }
        shares = variances / variances.sum()
        return Fitted(arrays, {"shares": dict(zip([*PARTS, "noise"], shares.tolist(), strict=True))})

    def predict(self, fitted: Fitted, history: History) -> np.ndarray:
        """Posterior mean."""
        arrays = fitted.arrays
        views = _views(history, arrays)
        kernels = _kernels(views, arrays["units"], np.arange(len(history.last)), arrays["train"])
        return np.asarray(arrays["level"][0] + _summed(kernels, arrays["variances"]) @ arrays["dual"])


def _views(history: History, components: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Components of the features of a gene, cells of the last time, all cells, and its course, (G × p) each."""
    ended = history.cells[history.time_of == len(history.times) - 1]
    cells = [part - part.mean(axis=0) for part in (ended, history.cells)]
    course = history.mean - history.mean.mean(axis=1, keepdims=True)
    return [apply_components(components, static_features(history)), *(part.T for part in cells), course]


def _kernels(views: list[np.ndarray], units: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> list[np.ndarray]:
    """One matrix for each part, (rows × columns), with a mean of 1 over the diagonal of the train genes."""
    found = [view[rows] @ view[columns].T / unit for view, unit in zip(views, units, strict=True)]
    first, second = (views[0][at] / np.sqrt(units[0]) for at in (rows, columns))
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
    return [*found, np.exp(-0.5 * np.maximum(squares, 0.0))]


def _summed(kernels: list[np.ndarray], variances: np.ndarray) -> np.ndarray:
    """Covariance without noise. The constant 1 is the prior of the intercept."""
    total = np.ones_like(kernels[0])
    for kernel, variance in zip(kernels, variances, strict=False):
        total += variance * kernel
    return total


def _mode(kernels: list[np.ndarray], y: np.ndarray) -> np.ndarray:
    """Variance of each part and of the noise, (k + 1,), with the highest posterior."""
    from scipy.linalg import cho_factor, cho_solve
    from scipy.optimize import minimize

    eye = np.eye(len(y))
    slopes, start = [*kernels, eye], np.log([*[_SHARE] * len(kernels), _NOISE])

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        variances = np.exp(x)
        factor = cho_factor(_summed(kernels, variances) + variances[-1] * eye, lower=True)
        inverse = cho_solve(factor, eye)
        dual = inverse @ y
        away = (x - start) / _WIDTH
        value = 0.5 * y @ dual + np.log(np.diag(factor[0])).sum() + 0.5 * (away**2).sum()
        gradient = [
            0.5 * variance * (np.vdot(inverse, slope) - dual @ slope @ dual)
            for variance, slope in zip(variances, slopes, strict=True)
        ]
        return float(value), np.array(gradient) + away / _WIDTH

    bounds = [(at - 6, at + 4) for at in start]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 80})
    return np.asarray(np.exp(found.x))
