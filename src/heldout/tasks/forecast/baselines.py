"""Simple forecasts that a network must beat. The reference is persistence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy import sparse

from heldout._core.method import Fitted
from heldout._core.options import NoConfig
from heldout.tasks.forecast.config import DampingConfig
from heldout.tasks.forecast.couplings import coupling
from heldout.tasks.forecast.damping import Direction, backtest, horizon, moved_by
from heldout.tasks.forecast.stored import keep_cells, kept_cells, nearest

if TYPE_CHECKING:
    from heldout.tasks.forecast.couplings import Coupling
    from heldout.tasks.forecast.interface import Snapshots


class Persistence:
    """The start cells, unchanged."""

    default_config: ClassVar[Any] = NoConfig()
    min_times: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False
    keeps_cells: ClassVar[bool] = True

    def fit(self, data: Snapshots, config: NoConfig, *, seed: int) -> Fitted:
        """Nothing to learn."""
        return Fitted({})

    def predict(
        self, fitted: Fitted, start: np.ndarray, start_time: float, at: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Repeat the start cells."""
        return start.copy()


class PooledPast:
    """Cells drawn from all train times before the target."""

    default_config: ClassVar[Any] = NoConfig()
    min_times: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False
    keeps_cells: ClassVar[bool] = False

    def fit(self, data: Snapshots, config: NoConfig, *, seed: int) -> Fitted:
        """Keep the cells."""
        return Fitted(keep_cells(data, seed=seed))

    def predict(
        self, fitted: Fitted, start: np.ndarray, start_time: float, at: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw as many cells as there are start cells, without replacement if there are enough."""
        times, cells = kept_cells(fitted)
        pool = np.concatenate([c for time, c in zip(times, cells, strict=True) if time < at])
        return pool[rng.choice(len(pool), len(start), replace=len(start) > len(pool))]


class Moving(ABC):
    """A method that moves each start cell. The share of the movement is chosen on past times."""

    default_config: ClassVar[Any] = DampingConfig()
    min_times: ClassVar[int] = 2
    stochastic: ClassVar[bool] = False
    keeps_cells: ClassVar[bool] = True
    fades: ClassVar[bool] = True
    """Whether the movement grows with the horizon, so that a damped movement must fade."""

    @abstractmethod
    def learn(self, data: Snapshots, config: Any, *, seed: int) -> Fitted:
        """Fit what moves the cells."""

    @abstractmethod
    def move(self, fitted: Fitted, start: np.ndarray, start_time: float, at: float) -> np.ndarray:
        """Undamped movement, (n × k)."""

    def names(self) -> tuple[str, ...]:
        """Name of each direction of movement."""
        return ("its own",)

    def fit(self, data: Snapshots, config: Any, *, seed: int) -> Fitted:
        """Learn the movement, and choose its share on past times."""

        def past_moves(past: Snapshots, at: float) -> list[Direction]:
            fitted, start_time = self.learn(past, config, seed=seed), float(past.times[-1])
            ahead = horizon(past.times, start_time, at)
            return self.directions(fitted, past.cells[-1], start_time, at, ahead)

        record: dict[str, Any] = {"share": [config.damping] * len(self.names())}
        if config.damping is None:
            record = backtest(data, past_moves)
        if len(self.names()) > 1:
            record["of"] = list(self.names())
        return self._with_shares(data, config, record, seed=seed)

    def earlier(self, fitted: Fitted, past: Snapshots, config: Any, *, seed: int) -> Fitted:
        """What a whole fit would have been on fewer times, with the shares of the whole fit."""
        return self._with_shares(past, config, fitted.info["damping"], seed=seed)

    def _with_shares(self, data: Snapshots, config: Any, record: dict[str, Any], *, seed: int) -> Fitted:
        fitted = self.learn(data, config, seed=seed)
        record = {**record, "longest_step": float(np.diff(data.times).max())}
        return Fitted(fitted.arrays, {**fitted.info, "damping": record}, fitted.history)

    def predict(
        self, fitted: Fitted, start: np.ndarray, start_time: float, at: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Move the start cells."""
        record = fitted.info["damping"]
        ahead = max(1.0, (at - start_time) / record["longest_step"])
        return moved_by(start, self.directions(fitted, start, start_time, at, ahead), record["share"], ahead)

    def directions(
        self, fitted: Fitted, start: np.ndarray, start_time: float, at: float, ahead: float
    ) -> list[Direction]:
        """Directions of movement, one for each share."""
        whole = self.move(fitted, start, start_time, at)
        return [Direction(whole, whole / ahead, self.fades)]  # what fades goes straight on


class DampedShift(Moving):
    """All cells move as the mean did between the last two times."""

    def learn(self, data: Snapshots, config: DampingConfig, *, seed: int) -> Fitted:
        """Change of the mean in one unit of time."""
        change = data.cells[-1].mean(axis=0) - data.cells[-2].mean(axis=0)
        return Fitted({"rate": change / (data.times[-1] - data.times[-2])})

    def move(self, fitted: Fitted, start: np.ndarray, start_time: float, at: float) -> np.ndarray:
        """The same movement for all cells."""
        return np.tile((at - start_time) * fitted.arrays["rate"], (len(start), 1))


class OTLinear(Moving):
    """Each cell continues its movement from the mean of its likely ancestors."""

    def learn(self, data: Snapshots, config: DampingConfig, *, seed: int) -> Fitted:
        """Change of each cell since the time before, in one unit of time."""
        pair = coupling(data.cells[-2], data.cells[-1], rng=seed)
        rate = (data.cells[-1] - ancestors(pair) @ data.cells[-2]) / (data.times[-1] - data.times[-2])
        return Fitted({"known": data.cells[-1].astype(np.float32), "rate": rate})

    def move(self, fitted: Fitted, start: np.ndarray, start_time: float, at: float) -> np.ndarray:
        """Move each cell. A cell that is not in train moves as the nearest train cell."""
        rows = nearest(start, fitted.arrays["known"].astype(np.float64))
        return np.asarray((at - start_time) * fitted.arrays["rate"][rows])


class VarRidge(Moving):
    """Ridge regression of the change of a cell, in one unit of time, on where it is: dx/dt = Ax + b.

    It is learnt from cells and the means of their likely descendants, between all neighbouring train times.
    """

    def learn(self, data: Snapshots, config: DampingConfig, *, seed: int) -> Fitted:
        """Solve on standardised coordinates."""
        at, change = [], []
        for i, step in enumerate(np.diff(data.times)):
            after = coupling(data.cells[i], data.cells[i + 1], rng=seed).transition @ data.cells[i + 1]
            at.append(data.cells[i])
            change.append((after - data.cells[i]) / step)
        X, Y = np.concatenate(at), np.concatenate(change)
        middle, scale = X.mean(axis=0), X.std(axis=0) + 1e-9
        Z = (X - middle) / scale
        slope = np.linalg.solve(Z.T @ Z + config.penalty * len(Z) * np.eye(Z.shape[1]), Z.T @ (Y - Y.mean(axis=0)))
        slope /= scale[:, None]
        return Fitted({"slope": slope, "intercept": Y.mean(axis=0) - middle @ slope})

    def move(self, fitted: Fitted, start: np.ndarray, start_time: float, at: float) -> np.ndarray:
        """One straight step."""
        return np.asarray((at - start_time) * (start @ fitted.arrays["slope"] + fitted.arrays["intercept"]))


def ancestors(pair: Coupling) -> sparse.csr_array:
    """Probability that each later cell came from each earlier one, (n1 × n0), rows sum to 1."""
    back = sparse.csr_array((sparse.diags_array(pair.mass) @ pair.transition).T)
    return sparse.csr_array(sparse.diags_array(1 / np.asarray(back.sum(axis=1)).ravel().clip(1e-12)) @ back)


def draw_column(matrix: sparse.csr_array, row: int, draw: float) -> int:
    """Column number that a draw in [0, 1) gives, in proportion to the entries of a row."""
    entries = slice(matrix.indptr[row], matrix.indptr[row + 1])
    cumulated = np.cumsum(matrix.data[entries])
    at = min(int(np.searchsorted(cumulated, draw * cumulated[-1])), len(cumulated) - 1)
    return int(matrix.indices[entries][at])
