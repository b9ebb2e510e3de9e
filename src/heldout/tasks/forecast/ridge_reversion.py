"""Cells move as ``var_ridge`` and ``reversion`` move them, with a share of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.method import Fitted, with_prefix, without_prefix
from heldout.tasks.forecast.baselines import Moving, VarRidge
from heldout.tasks.forecast.reversion import Reversion

if TYPE_CHECKING:
    from heldout.tasks.forecast.config import DampingConfig
    from heldout.tasks.forecast.damping import Direction
    from heldout.tasks.forecast.interface import Snapshots

_PARTS: dict[str, type[Moving]] = {"var_ridge": VarRidge, "reversion": Reversion}


class RidgeReversion(Moving):
    """The sum of two movements: where cells of this state went, and how genes return towards their history.

    Either movement corrects the other, so the shares are chosen together on past times. With ``damping`` in the
    options, both have this share.
    """

    def names(self) -> tuple[str, ...]:
        """Name of each movement."""
        return tuple(_PARTS)

    def learn(self, data: Snapshots, config: DampingConfig, *, seed: int) -> Fitted:
        """Learn each of the two."""
        parts = {name: part().learn(data, config, seed=seed) for name, part in _PARTS.items()}
        arrays: dict[str, np.ndarray] = {}
        for name, fitted in parts.items():
            arrays |= with_prefix(fitted.arrays, f"{name}.")
        return Fitted(arrays, {"parts": {name: fitted.info for name, fitted in parts.items()}})

    def directions(
        self, fitted: Fitted, start: np.ndarray, start_time: float, at: float, ahead: float
    ) -> list[Direction]:
        """The movement of each of the two."""
        found: list[Direction] = []
        for name, part in _PARTS.items():
            info: dict[str, Any] = fitted.info["parts"][name]
            fit = Fitted(without_prefix(fitted.arrays, f"{name}."), info)
            found += part().directions(fit, start, start_time, at, ahead)
        return found

    def move(self, fitted: Fitted, start: np.ndarray, start_time: float, at: float) -> np.ndarray:
        """Both whole movements."""
        return np.sum([way.whole for way in self.directions(fitted, start, start_time, at, 1.0)], axis=0)
