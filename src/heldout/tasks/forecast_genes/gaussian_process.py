"""Gaussian process regression of the change on the components of the features of a gene."""

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

_START = np.log([0.3, 0.3, 1.0, 0.5])
_WIDTH = np.array([2.0, 2.0, 0.7, 2.0])
"""Prior of the logarithms of linear variance, squared-exponential variance, its length, and noise variance."""


class GaussianProcess:
    """Linear plus squared-exponential kernel and noise. Hyperparameters are at their mode given the train genes."""

    stochastic: ClassVar[bool] = False
    default_config: ClassVar[Any] = NoConfig()

    def fit(self, data: Data, config: NoConfig, *, seed: int) -> Fitted:
        """Maximise the marginal likelihood with weak priors, then invert once."""
        check_invertible(len(data.train), "gaussian_process")
        F = data.features
        components = fit_components(F, data.train, N_COMPS)
        Z = apply_components(components, F)[data.train]
        unit = np.sqrt((Z**2).sum(axis=1).mean()) or 1.0
        Z, change = Z / unit, data.change[data.train]
        level, spread = change.mean(), change.std() or 1.0
        y = (change - level) / spread
        log_parameters = _mode(Z, y)
        inverse = np.linalg.inv(_kernel(Z, Z, log_parameters) + np.exp(log_parameters[3]) * np.eye(len(Z)))
        dual = inverse @ y
        arrays = {
            **components,
            "points": Z,
            "dual": dual * spread,
            "log_parameters": log_parameters,
            "level": np.array([level]),
            "unit": np.array([unit]),
            "held_out": level + spread * (y - dual / np.diag(inverse)),
        }
        return Fitted(arrays)

    def predict(self, fitted: Fitted, history: History) -> np.ndarray:
        """Posterior mean."""
        arrays = fitted.arrays
        Z = apply_components(arrays, static_features(history)) / arrays["unit"][0]
        return np.asarray(arrays["level"][0] + _kernel(Z, arrays["points"], arrays["log_parameters"]) @ arrays["dual"])


def _kernel(A: np.ndarray, B: np.ndarray, log_parameters: np.ndarray) -> np.ndarray:
    """Kernel matrix (n × m). The constant 1 is the prior of the intercept."""
    linear, curved, length, _ = np.exp(log_parameters)
    return np.asarray(1.0 + linear * A @ B.T + curved * np.exp(-0.5 * _squares(A, B) / length**2))


def _squares(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    return np.maximum((A**2).sum(axis=1)[:, None] + (B**2).sum(axis=1) - 2 * A @ B.T, 0.0)


def _mode(Z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Logarithms of the hyperparameters with the highest posterior."""
    from scipy.optimize import minimize

    linear_part, squares, eye = Z @ Z.T, _squares(Z, Z), np.eye(len(Z))

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        linear, curved, length, noise = np.exp(x)
        bump = np.exp(-0.5 * squares / length**2)
        inverse = np.linalg.inv(1.0 + linear * linear_part + curved * bump + noise * eye)
        dual = inverse @ y
        value = 0.5 * y @ dual - 0.5 * np.linalg.slogdet(inverse)[1] + 0.5 * (((x - _START) / _WIDTH) ** 2).sum()
        slopes = (linear * linear_part, curved * bump, curved * bump * squares / length**2, noise * eye)
        gradient = [0.5 * (np.sum(inverse * slope) - dual @ slope @ dual) for slope in slopes]
        return float(value), np.array(gradient) + (x - _START) / _WIDTH**2

    bounds = list(zip(_START - 6, _START + 6, strict=True))
    return np.asarray(minimize(loss, _START, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 50}).x)
