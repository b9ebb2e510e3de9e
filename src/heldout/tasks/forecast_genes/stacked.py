"""A weighted mean of the closed forms. The weights depend on how well they predict held-out train genes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout._core.method import Fitted, with_prefix, without_prefix
from heldout._core.options import NoConfig
from heldout._core.stacking import nonnegative_weights
from heldout.tasks.forecast_genes.baselines import LowRank
from heldout.tasks.forecast_genes.coexpression import Coexpression
from heldout.tasks.forecast_genes.gaussian_process import GaussianProcess

if TYPE_CHECKING:
    from heldout.tasks.forecast_genes.features import History
    from heldout.tasks.forecast_genes.interface import Data

_MEMBERS: dict[str, Any] = {
    "low_rank": LowRank,
    "gaussian_process": GaussianProcess,
    "coexpression": Coexpression,
}
_PRIOR = np.array([0.5, 0.5, 0.0])
"""Prior of the weights. The weight of coexpression must come from the data."""

_STRENGTH = 0.03
"""Strength of the shrinkage, in units of the sum of squared changes of the train genes."""


class Stacked:
    """Stacking: non-negative weights that sum to one, predict held-out train genes best, and are shrunk to a prior."""

    stochastic: ClassVar[bool] = False
    default_config: ClassVar[Any] = NoConfig()

    def fit(self, data: Data, config: NoConfig, *, seed: int) -> Fitted:
        """Fit the members, then the weights by non-negative least squares."""
        members = {name: method().fit(data, NoConfig(), seed=seed) for name, method in _MEMBERS.items()}
        held_out = np.stack([fitted.arrays["held_out"] for fitted in members.values()], axis=1)
        truth = data.change[data.train]
        weights = nonnegative_weights(held_out, truth, _PRIOR, strength=_STRENGTH, sum_to_one=True)
        arrays: dict[str, np.ndarray] = {}
        for name, fitted in members.items():
            arrays |= with_prefix(fitted.arrays, f"{name}.")
        info = {
            "weights": dict(zip(members, weights.tolist(), strict=True)),
            "members": {name: fitted.info for name, fitted in members.items()},
        }
        return Fitted({**arrays, "weights": weights, "held_out": held_out @ weights}, info)

    def predict(self, fitted: Fitted, history: History) -> np.ndarray:
        """Weighted mean of what the members predict."""
        total = np.zeros(len(history.last))
        for weight, (name, method) in zip(fitted.arrays["weights"], _MEMBERS.items(), strict=True):
            if weight > 0:
                member_arrays = without_prefix(fitted.arrays, f"{name}.")
                member = replace(fitted, arrays=member_arrays, info=fitted.info["members"][name])
                total += weight * method().predict(member, history)
        return total
