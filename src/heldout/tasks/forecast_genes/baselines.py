"""Simple methods that a network must beat, and the best linear method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout._core.method import Fitted
from heldout._core.options import NoConfig
from heldout.tasks.forecast_genes.features import static_features
from heldout.tasks.forecast_genes.regression import apply_components, apply_ridge, fit_components, fit_ridge

if TYPE_CHECKING:
    from heldout.tasks.forecast_genes.features import History
    from heldout.tasks.forecast_genes.interface import Data

N_COMPS = 4
"""Number of principal components of the features. Results were similar with 2 to 5 on two of three data sets."""


class Persistence:
    """No change."""

    stochastic: ClassVar[bool] = False
    default_config: ClassVar[Any] = NoConfig()

    def fit(self, data: Data, config: NoConfig, *, seed: int) -> Fitted:
        """Nothing to learn."""
        return Fitted({"held_out": np.zeros(len(data.train))})

    def predict(self, fitted: Fitted, history: History) -> np.ndarray:
        """Zero for each gene."""
        return np.zeros(len(history.last))


class Mean:
    """The mean change of the train genes, for every gene."""

    stochastic: ClassVar[bool] = False
    default_config: ClassVar[Any] = NoConfig()

    def fit(self, data: Data, config: NoConfig, *, seed: int) -> Fitted:
        """Take the mean."""
        change = data.change[data.train]
        others = (change.sum() - change) / max(len(change) - 1, 1)
        return Fitted({"change": np.array([change.mean()]), "held_out": others})

    def predict(self, fitted: Fitted, history: History) -> np.ndarray:
        """Repeat the mean."""
        return np.full(len(history.last), fitted.arrays["change"][0])


class Linear:
    """Each gene continues at the speed of its last step, over the real time to the target."""

    stochastic: ClassVar[bool] = False
    default_config: ClassVar[Any] = NoConfig()

    def fit(self, data: Data, config: NoConfig, *, seed: int) -> Fitted:
        """Keep only the length of the step."""
        ahead = np.array([data.at - data.history.times[-1]])
        speed = _speed(data.history)
        return Fitted({"ahead": ahead, "held_out": speed[data.train] * ahead[0]})

    def predict(self, fitted: Fitted, history: History) -> np.ndarray:
        """Speed times time."""
        return _speed(history) * fitted.arrays["ahead"][0]


def _speed(history: History) -> np.ndarray:
    return np.asarray((history.mean[:, -1] - history.mean[:, -2]) / (history.times[-1] - history.times[-2]))


class Ridge:
    """Ridge regression of the change on the history of a gene, centred over its times."""

    stochastic: ClassVar[bool] = False
    default_config: ClassVar[Any] = NoConfig()

    def fit(self, data: Data, config: NoConfig, *, seed: int) -> Fitted:
        """Solve in closed form. Leave-one-out over genes chooses the penalty."""
        return Fitted(fit_ridge(_centred(data.history)[data.train], data.change[data.train]))

    def predict(self, fitted: Fitted, history: History) -> np.ndarray:
        """Linear in the centred history."""
        return apply_ridge(fitted.arrays, _centred(history))


def _centred(history: History) -> np.ndarray:
    return np.asarray(history.mean - history.mean.mean(axis=1, keepdims=True))


class LowRank:
    """Ridge regression on the first principal components of all features of a gene.

    Beside the centred history, the features describe the distribution of the cells of the last time. With a few dozen
    train genes, their components predict better than the single features.
    """

    stochastic: ClassVar[bool] = False
    default_config: ClassVar[Any] = NoConfig()

    def fit(self, data: Data, config: NoConfig, *, seed: int) -> Fitted:
        """Compute the components of the train genes, then solve in closed form."""
        F = data.features
        components = fit_components(F, data.train, N_COMPS)
        return Fitted({**components, **fit_ridge(apply_components(components, F)[data.train], data.change[data.train])})

    def predict(self, fitted: Fitted, history: History) -> np.ndarray:
        """Linear in the components."""
        return apply_ridge(fitted.arrays, apply_components(fitted.arrays, static_features(history)))
