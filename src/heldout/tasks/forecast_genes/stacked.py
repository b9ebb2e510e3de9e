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
from heldout.tasks.forecast_genes.multi_kernel import MultiKernel

if TYPE_CHECKING:
    from heldout.tasks.forecast_genes.features import History
    from heldout.tasks.forecast_genes.interface import Data

_MEMBERS: dict[str, Any] = {
    "multi_kernel": MultiKernel,
    "coexpression": Coexpression,
    "gaussian_process": GaussianProcess,
}
_STORED: dict[str, Any] = {**_MEMBERS, "low_rank": LowRank}
"""Members that stored fits can have. ``low_rank`` was one in earlier versions."""

_PRIOR = np.array([0.4, 0.4, 0.2])
"""Prior of the weights."""

_STRENGTH = 0.1
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
        weights = fitted.info["weights"]
        for name, implementation in _STORED.items():
            if weights.get(name, 0.0) > 0:
                member_arrays = without_prefix(fitted.arrays, f"{name}.")
                member = replace(fitted, arrays=member_arrays, info=fitted.info["members"][name])
                total += weights[name] * implementation().predict(member, history)
        return total
