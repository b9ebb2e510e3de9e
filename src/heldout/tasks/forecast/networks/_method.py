"""What the forecast networks share, behind the two verbs of a forecast method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout._core.method import Fitted, with_prefix, without_prefix
from heldout._core.model import set_weights, weights_of
from heldout._core.training import local_seed
from heldout.metrics import energy_distance
from heldout.tasks.forecast.damping import Direction, backtest, horizon, moved_by
from heldout.tasks.forecast.stored import MOST, keep_cells, kept_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd

    from heldout.tasks.forecast.interface import Snapshots


class Network(ABC):
    """Base of the networks: standardised cells, damping that is learnt on past times, weights as arrays."""

    default_config: ClassVar[Any]
    min_times: ClassVar[int] = 3
    stochastic: ClassVar[bool] = True
    keeps_cells: ClassVar[bool] = True

    _fitted: Fitted | None = None
    _module: Any

    @abstractmethod
    def learn(self, data: Snapshots, config: Any, *, seed: int, trainer_options: Mapping[str, Any] | None) -> Fitted:
        """Train the network on all train times."""

    @abstractmethod
    def build(self, info: Mapping[str, Any]) -> Any:
        """The module of a fit, with initial weights."""

    @abstractmethod
    def directions(self, fitted: Fitted, start: np.ndarray, start_time: float, at: float) -> list[np.ndarray]:
        """Undamped movements of cells at or after the last train time, one array for each direction."""

    def config_of(self, info: Mapping[str, Any]) -> Any:
        """Options of a fit."""
        return type(self.default_config).from_stored(info["network"])

    def names(self, config: Any) -> tuple[str, ...]:
        """Name of each direction."""
        return ("its own",)

    def approach(self, fitted: Fitted, start: np.ndarray, start_time: float, at: float) -> np.ndarray:
        """Cells at ``at``, which is not after the last train time."""
        return start if start_time == at else start + self.directions(fitted, start, start_time, at)[0]

    def fit(
        self, data: Snapshots, config: Any, *, seed: int, trainer_options: Mapping[str, Any] | None = None
    ) -> Fitted:
        """Train, and learn on past times how much of the movement to apply."""
        fitted = self.learn(data, config, seed=seed, trainer_options=trainer_options)
        share = getattr(config, "damping", 1.0)
        record: dict[str, Any] = {"share": [share] if share is not None else None}
        if share is None and data.goes_beyond:

            def move(past: Snapshots, at: float) -> list[Direction]:
                earlier = self.learn(past, config, seed=seed, trainer_options=trainer_options)
                return self._directions(earlier, past.cells[-1], float(past.times[-1]), at)

            record = backtest(data, move)
        record["of"] = list(self.names(config))
        return Fitted(fitted.arrays, {**fitted.info, "damping": record}, fitted.history)

    def earlier(self, fitted: Fitted, past: Snapshots, config: Any, *, seed: int) -> Fitted:
        """What a whole fit would have been on fewer times, with the shares of the whole fit."""
        found = self.learn(past, config, seed=seed, trainer_options=None)
        return Fitted(found.arrays, {**found.info, "damping": fitted.info["damping"]}, found.history)

    def predict(
        self, fitted: Fitted, start: np.ndarray, start_time: float, at: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Move cells as learnt up to the last train time, and beyond it by the shares learnt on past times."""
        last = float(fitted.arrays["times"][-1])
        if start_time < last:
            start, start_time = self.approach(fitted, start, start_time, min(at, last)), min(at, last)
        if start_time == at:
            return start.copy()
        shares = fitted.info["damping"]["share"]
        if shares is None:
            msg = (
                f"at={at:g} is after the last train time {last:g}, but the fit was made for times between "
                "the train times, so the damping was not learnt. Fit on a split whose test time is after the train "
                "times."
            )
            raise ValueError(msg)
        directions = self._directions(fitted, start, start_time, at)
        return moved_by(start, directions, shares, horizon(fitted.arrays["times"], start_time, at))

    def _directions(self, fitted: Fitted, start: np.ndarray, start_time: float, at: float) -> list[Direction]:
        whole = self.directions(fitted, start, start_time, at)
        near = start_time + float(np.diff(fitted.arrays["times"]).max())
        first = whole if at <= near else self.directions(fitted, start, start_time, near)
        names = self.names(self.config_of(fitted.info))
        return [Direction(w, f, name != "reversion") for w, f, name in zip(whole, first, names, strict=True)]

    def module(self, fitted: Fitted) -> Any:
        """The trained module. It is rebuilt once for all predictions of a fit."""
        if self._fitted is not fitted:
            with local_seed(0):  # a new module draws initial weights
                module = self.build(fitted.info)
            set_weights(module.net, without_prefix(fitted.arrays, "net."))
            self._fitted, self._module = fitted, module.eval()
        return self._module

    def _pack(self, module: Any, arrays: dict[str, np.ndarray], config: Any, k: int, history: pd.DataFrame) -> Fitted:
        weights = with_prefix(weights_of(module.net), "net.")
        info = {"k": k, "times": [float(t) for t in arrays["times"]], "network": asdict(config)}
        return Fitted({**arrays, **weights}, info, history)


def standard(data: Snapshots) -> dict[str, np.ndarray]:
    """Centre of all cells, one scale for all coordinates, and the times."""
    pooled = np.concatenate(data.cells)
    centre = pooled.mean(axis=0)
    scale = np.sqrt(np.square(pooled - centre).mean()).clip(1e-9)
    return {"centre": centre, "scale": np.array([scale]), "times": np.asarray(data.times, dtype=np.float64)}


def capped(data: Snapshots, seed: int) -> Snapshots:
    """Limit the cells of each time. With given chains, all cells of the first chains are kept, and no others."""
    if max(map(len, data.cells)) <= MOST:
        return data
    if data.chains is None:
        return replace(data, cells=kept_cells(Fitted(keep_cells(data, seed=seed)))[1])
    chains = data.chains[:MOST]
    passed = [np.unique(rows, return_inverse=True) for rows in chains.T]
    cells = [cells[rows] for cells, (rows, _) in zip(data.cells, passed, strict=True)]
    return replace(data, cells=cells, chains=np.stack([at for _, at in passed], axis=1))


def scorer(data: Snapshots, move: Callable[[np.ndarray, float, float], np.ndarray]) -> Callable[[], float] | None:
    """Mean energy distance to the val cells of each time, forecast from the train time before it."""
    val = data.val
    if val is None:
        return None
    times = [(i, at) for i, at in enumerate(val.times) if at > data.times[0]]
    if not times:
        return None

    def score() -> float:
        found = []
        for i, at in times:
            before = int(np.searchsorted(data.times, at)) - 1
            moved = move(data.cells[before], float(data.times[before]), float(at))
            found.append(energy_distance(val.cells[i], moved))
        return float(np.mean(found))

    return score
