"""The forecast networks behind the two verbs that all forecast methods have: what they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from heldout._core.training import local_seed
from heldout.metrics import energy_distance
from heldout.tasks.forecast.damping import Direction, backtest, horizon, moved_by
from heldout.tasks.forecast.interface import Fitted, Snapshots
from heldout.tasks.forecast.stored import MOST, keep_cells, kept_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd


class Network(ABC):
    """What the networks share: standardised cells, damping learnt on past times, weights as arrays."""

    config_class: ClassVar[type]
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
        """Undamped movements of cells at or after the last train time, one array a direction."""

    def names(self, config: Any) -> tuple[str, ...]:
        """Whose movement each direction is."""
        return ("its own",)

    def approach(self, fitted: Fitted, start: np.ndarray, start_time: float, at: float) -> np.ndarray:
        """Cells at ``at``, which is not after the last train time."""
        return start if start_time == at else start + self.directions(fitted, start, start_time, at)[0]

    def fit(
        self, data: Snapshots, config: Any, *, seed: int, trainer_options: Mapping[str, Any] | None = None
    ) -> Fitted:
        """Train, and learn on past times how much of the movement to make."""
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

    def predict(
        self, fitted: Fitted, start: np.ndarray, start_time: float, at: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Up to the last train time as learnt, beyond it by the share that was learnt on past times."""
        last = float(fitted.arrays["times"][-1])
        if start_time < last:
            start, start_time = self.approach(fitted, start, start_time, min(at, last)), min(at, last)
        if start_time == at:
            return start.copy()
        shares = fitted.info["damping"]["share"]
        if shares is None:
            msg = (
                f"at={at:g} is after the last train time {last:g}, but the fit was made for times between the train times: "
                "how far to trust the movement was not learnt. Fit on a split whose test time lies after the train times."
            )
            raise ValueError(msg)
        directions = self._directions(fitted, start, start_time, at)
        return moved_by(start, directions, shares, horizon(fitted.arrays["times"], start_time, at))

    def _directions(self, fitted: Fitted, start: np.ndarray, start_time: float, at: float) -> list[Direction]:
        whole = self.directions(fitted, start, start_time, at)
        near = start_time + float(np.diff(fitted.arrays["times"]).max())
        first = whole if at <= near else self.directions(fitted, start, start_time, near)
        names = self.names(self.config_class(**fitted.info["network"]))
        return [Direction(w, f, name != "reversion") for w, f, name in zip(whole, first, names, strict=True)]

    def module(self, fitted: Fitted) -> Any:
        """The trained module, rebuilt once for all predictions of a fit."""
        if self._fitted is not fitted:
            with local_seed(0):  # a new module draws initial weights
                module = self.build(fitted.info)
            weights = {n.removeprefix("net."): a for n, a in fitted.arrays.items() if n.startswith("net.")}
            module.net.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in weights.items()})
            self._fitted, self._module = fitted, module.eval()
        return self._module

    def _pack(self, module: Any, arrays: dict[str, np.ndarray], config: Any, k: int, history: pd.DataFrame) -> Fitted:
        weights = {f"net.{n}": t.detach().cpu().numpy().copy() for n, t in module.net.state_dict().items()}
        info = {"k": k, "times": [float(t) for t in arrays["times"]], "network": asdict(config)}
        return Fitted({**arrays, **weights}, info, history)


def standard(data: Snapshots) -> dict[str, np.ndarray]:
    """Centre of all cells, one scale for all coordinates, and the times."""
    pooled = np.concatenate(data.cells)
    centre = pooled.mean(axis=0)
    scale = np.sqrt(np.square(pooled - centre).mean()).clip(1e-9)
    return {"centre": centre, "scale": np.array([scale]), "times": np.asarray(data.times, dtype=np.float64)}


def capped(data: Snapshots, seed: int) -> Snapshots:
    """At most as many cells of each time as are kept; of chains that were given all cells, and no others then."""
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
