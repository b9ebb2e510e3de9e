"""The forecast networks behind the two verbs that all forecast methods have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from heldout._core.training import local_seed
from heldout.metrics import energy_distance
from heldout.tasks.forecast.baselines import ancestors
from heldout.tasks.forecast.config import DampingConfig, FlowConfig, PublishedConfig, SequenceConfig
from heldout.tasks.forecast.couplings import coupling, sample_chains
from heldout.tasks.forecast.damping import backtest, damped, horizon
from heldout.tasks.forecast.interface import Fitted, Snapshots
from heldout.tasks.forecast.networks._module import UNKNOWN, FlowModule, SequenceModule
from heldout.tasks.forecast.networks._trainingplan import train, whole_cells
from heldout.tasks.forecast.reversion import Reversion
from heldout.tasks.forecast.stored import MOST, keep_cells, kept_cells, nearest

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

    def fades(self, config: Any) -> tuple[bool, ...]:
        """Of each direction, whether its movement grows with the horizon, so that a damped one must fade."""
        return (True,)

    def approach(self, fitted: Fitted, start: np.ndarray, start_time: float, at: float) -> np.ndarray:
        """Cells at ``at``, which is not after the last train time."""
        if start_time == at:
            return start
        moved: np.ndarray = start + self.directions(fitted, start, start_time, at)[0]
        return moved

    def fit(
        self, data: Snapshots, config: Any, *, seed: int, trainer_options: Mapping[str, Any] | None = None
    ) -> Fitted:
        """Train, and learn on past times how much of the movement to make."""
        fitted = self.learn(data, config, seed=seed, trainer_options=trainer_options)
        share = getattr(config, "damping", 1.0)
        record: dict[str, Any] = {"share": [share] if share is not None else None}
        if share is None and data.goes_beyond:

            def move(past: Snapshots, at: float) -> list[np.ndarray]:
                earlier = self.learn(past, config, seed=seed, trainer_options=trainer_options)
                return self.directions(earlier, past.cells[-1], float(past.times[-1]), at)

            record = backtest(data, move, compounds=self.fades(config))
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
        moves = self.directions(fitted, start, start_time, at)
        fades = self.fades(self.config_class(**fitted.info["network"]))
        ahead = horizon(fitted.arrays["times"], start_time, at)
        shares = (*shares, *[0.0] * len(fades))[: len(fades)]  # a damping that was given is that of the first direction
        return start + sum(damped(moves, shares, fades, ahead))

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


class Flow(Network):
    """Optimal-transport flow matching through the train times, integrated onward."""

    config_class: ClassVar[type] = FlowConfig

    def learn(
        self, data: Snapshots, config: FlowConfig, *, seed: int, trainer_options: Mapping[str, Any] | None = None
    ) -> Fitted:
        """Pair cells of neighbouring times by optimal transport, and regress the velocity between them."""
        data = _capped(data, seed)
        arrays = _standard(data)
        scaled = [(cells - arrays["centre"]) / arrays["scale"] for cells in data.cells]
        times = (data.times - data.times[0]) / data.span
        rng = np.random.default_rng(seed)
        pairs, spans, firsts = [], [], []
        for i in range(len(times) - 1):
            rows = sample_chains([coupling(scaled[i], scaled[i + 1], epsilon=0.02, rng=seed)], config.n_pairs, rng)
            pairs.append(np.concatenate([scaled[i][rows[:, 0]], scaled[i + 1][rows[:, 1]]], axis=1))
            spans.append(np.tile(times[i : i + 2], (len(rows), 1)))
            firsts.append(rows[:, 0] + sum(map(len, scaled[:i])))
        k = scaled[0].shape[1]
        with local_seed(seed):
            module = FlowModule(k, times, config)
            history = train(
                module,
                np.concatenate(pairs).astype(np.float32),
                {"times": np.concatenate(spans).astype(np.float32)},
                whole_cells(np.concatenate(firsts), seed=seed),
                config,
                seed=seed,
                score=_scorer(data, lambda start, t0, at: _integrate(module, arrays, start, t0, at, config.n_steps)),
                trainer_options=trainer_options,
            )
        if config.reversion:
            arrays["reversion"] = Reversion().learn(data, DampingConfig(), seed=seed).arrays["change"]
        return self._pack(module, arrays, config, k, history)

    def fades(self, config: FlowConfig) -> tuple[bool, ...]:
        """The return to the history of a gene does not grow with the horizon."""
        return (True, False) if config.reversion else (True,)

    def build(self, info: Mapping[str, Any]) -> FlowModule:
        """The module of a fit."""
        return FlowModule(info["k"], np.array(info["times"]), FlowConfig(**info["network"]))

    def directions(self, fitted: Fitted, start: np.ndarray, start_time: float, at: float) -> list[np.ndarray]:
        """Along the velocity, and back towards the history of each gene."""
        n_steps = fitted.info["network"]["n_steps"]
        moved = _integrate(self.module(fitted), fitted.arrays, start, start_time, at, n_steps)
        back = fitted.arrays.get("reversion")
        return [moved - start] if back is None else [moved - start, np.tile(back, (len(start), 1))]


class Sequence(Network):
    """A network over chains of cells; subclasses say which."""

    config_class: ClassVar[type] = SequenceConfig
    kind: ClassVar[str]
    skip: ClassVar[bool] = True

    def learn(
        self,
        data: Snapshots,
        config: SequenceConfig | PublishedConfig,
        *,
        seed: int,
        trainer_options: Mapping[str, Any] | None = None,
    ) -> Fitted:
        """Draw chains through the couplings of neighbouring train times, and learn to continue them."""
        data = _capped(data, seed)
        arrays = _standard(data)
        scaled = [(cells - arrays["centre"]) / arrays["scale"] for cells in data.cells]
        rng = np.random.default_rng(seed)
        pairs = [coupling(a, b, rng=seed) for a, b in zip(scaled[:-1], scaled[1:], strict=True)]
        chains = sample_chains(pairs, config.n_chains, rng) if data.chains is None else data.chains
        X = np.concatenate([cells[chains[:, i]] for i, cells in enumerate(scaled)], axis=1).astype(np.float32)
        arrays |= keep_cells(data, seed=seed)
        arrays["ancestors"] = np.concatenate([_drawn(ancestors(pair), rng) for pair in pairs])
        k = scaled[0].shape[1]
        info = {"k": k, "times": data.times.tolist(), "network": asdict(config)}
        with local_seed(seed):
            module = self.build(info)
            history = train(
                module,
                X,
                {},
                whole_cells(chains[:, 0], seed=seed),
                config,
                seed=seed,
                score=_scorer(data, lambda start, t0, at: self._moved(module, arrays, config, start, t0, at)),
                trainer_options=trainer_options,
            )
        return self._pack(module, arrays, config, k, history)

    def build(self, info: Mapping[str, Any]) -> SequenceModule:
        """The module of a fit."""
        times = np.array(info["times"])
        return SequenceModule(
            info["k"],
            times / np.diff(times).mean(),
            self.config_class(**info["network"]),
            kind=self.kind,
            skip=self.skip,
        )

    def directions(self, fitted: Fitted, start: np.ndarray, start_time: float, at: float) -> list[np.ndarray]:
        """The predicted change."""
        config = self.config_class(**fitted.info["network"])
        return [self._moved(self.module(fitted), fitted.arrays, config, start, start_time, at) - start]

    @torch.inference_mode()
    def _moved(
        self,
        module: Any,
        arrays: Mapping[str, np.ndarray],
        config: Any,
        start: np.ndarray,
        start_time: float,
        at: float,
    ) -> np.ndarray:
        times, cells = kept_cells(Fitted(dict(arrays)))
        unit = np.diff(times).mean()
        last = max(int(np.searchsorted(times, start_time, side="right")) - 1, 0)
        history = _histories(arrays, cells, start, last)
        seen = [*times[:last], start_time]
        n_steps = 1
        if getattr(config, "rollout", "straight") == "steps":
            n_steps = int(np.ceil((at - start_time) / np.diff(times).max() - 1e-9))
        device = next(module.parameters()).device
        was_training = module.training
        module.eval()
        x = (history - arrays["centre"]) / arrays["scale"]
        for step in range(1, n_steps + 1):
            now = start_time + (at - start_time) * step / n_steps
            gaps = torch.as_tensor(np.diff([*seen, now]) / unit, dtype=torch.float32, device=device)
            given = torch.as_tensor(x, dtype=torch.float32, device=device)
            if not self.skip:  # as many times as it was trained on, the latest
                given = given[:, -(len(times) - 1) :]
                gaps = gaps[-given.shape[1] :]
            after = module.net(given, gaps)[:, -1:].cpu().numpy().astype(np.float64)
            x, seen = np.concatenate([x, after], axis=1), [*seen, now]
        module.train(was_training)
        return np.asarray(x[:, -1] * arrays["scale"] + arrays["centre"])


class LSTM(Sequence):
    """LSTM that predicts the change of a cell."""

    kind: ClassVar[str] = "lstm"


class FeedForward(Sequence):
    """Feed-forward network that predicts the change of a cell."""

    kind: ClassVar[str] = "feedforward"


class LSTMPublished(LSTM):
    """LSTM as published: no skip, no times, squared error."""

    config_class: ClassVar[type] = PublishedConfig
    skip: ClassVar[bool] = False


class FeedForwardPublished(FeedForward):
    """Feed-forward network as published: no skip, no times, squared error."""

    config_class: ClassVar[type] = PublishedConfig
    skip: ClassVar[bool] = False


def _standard(data: Snapshots) -> dict[str, np.ndarray]:
    """Centre of all cells, one scale for all coordinates, and the times."""
    pooled = np.concatenate(data.cells)
    centre = pooled.mean(axis=0)
    scale = np.sqrt(np.square(pooled - centre).mean()).clip(1e-9)
    return {"centre": centre, "scale": np.array([scale]), "times": np.asarray(data.times, dtype=np.float64)}


def _capped(data: Snapshots, seed: int) -> Snapshots:
    """At most as many cells of each time as are kept."""
    if max(map(len, data.cells)) <= MOST:
        return data
    kept = keep_cells(data, seed=seed)
    return replace(data, cells=kept_cells(Fitted(kept))[1], chains=None)


def _scorer(data: Snapshots, move: Callable[[np.ndarray, float, float], np.ndarray]) -> Callable[[], float] | None:
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


@torch.inference_mode()
def _integrate(
    module: FlowModule, arrays: Mapping[str, np.ndarray], start: np.ndarray, start_time: float, at: float, n_steps: int
) -> np.ndarray:
    """Heun's method; after the last train time the velocity is that of a cell whose time is unknown."""
    times = arrays["times"]
    span = times[-1] - times[0]
    device = next(module.parameters()).device
    was_training = module.training
    module.eval()
    n = max(1, int(np.ceil(n_steps * (at - start_time) / np.diff(times).mean())))
    h = (at - start_time) / span / n
    x = torch.as_tensor((start - arrays["centre"]) / arrays["scale"], dtype=torch.float32, device=device)
    t = (start_time - times[0]) / span

    def velocity(x: torch.Tensor, t: float) -> torch.Tensor:
        given = t if start_time < times[-1] else UNKNOWN
        return module.net(x, torch.full((len(x), 1), given, device=device))

    for _ in range(n):
        v = velocity(x, t)
        x = x + h / 2 * (v + velocity(x + h * v, t + h))
        t += h
    module.train(was_training)
    return np.asarray(x.cpu().numpy().astype(np.float64) * arrays["scale"] + arrays["centre"])


def _drawn(rows: Any, rng: np.random.Generator) -> np.ndarray:
    """One ancestor of each cell, drawn from the rows of (n1 × n0)."""
    draws = rng.random(rows.shape[0])
    found = np.empty(rows.shape[0], dtype=np.int32)
    for i, draw in enumerate(draws):
        entries = slice(rows.indptr[i], rows.indptr[i + 1])
        cumulated = np.cumsum(rows.data[entries])
        at = min(int(np.searchsorted(cumulated, draw * cumulated[-1])), len(cumulated) - 1)
        found[i] = rows.indices[entries][at]
    return found


def _histories(arrays: Mapping[str, np.ndarray], cells: list[np.ndarray], start: np.ndarray, last: int) -> np.ndarray:
    """Likely history of each start cell, (n × last + 1 × k): of the train cell at that time that is nearest to it."""
    offsets = np.cumsum([0, *[len(c) for c in cells[1:]]])
    rows = nearest(start, cells[last])
    path = [start]
    for i in range(last, 0, -1):
        rows = arrays["ancestors"][offsets[i - 1] : offsets[i]][rows]
        path.insert(0, cells[i - 1][rows])
    return np.stack(path, axis=1)
