"""Optimal-transport flow matching."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from heldout._core.method import Fitted, with_prefix, without_prefix
from heldout._core.threads import network_policy
from heldout._core.training import local_seed
from heldout.tasks.forecast.baselines import VarRidge
from heldout.tasks.forecast.config import DampingConfig, FlowConfig
from heldout.tasks.forecast.linear_flow import LinearFlow, fit_linear_flow
from heldout.tasks.forecast.networks._method import Network, capped, scorer, standard
from heldout.tasks.forecast.networks._module import UNKNOWN, FlowModule
from heldout.tasks.forecast.networks._trainingplan import train, whole_cells
from heldout.tasks.forecast.reversion import Reversion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heldout.tasks.forecast.interface import Snapshots


class Flow(Network):
    """Optimal-transport flow matching through the train times, integrated onward."""

    default_config: ClassVar[Any] = FlowConfig()

    def learn(
        self, data: Snapshots, config: FlowConfig, *, seed: int, trainer_options: Mapping[str, Any] | None = None
    ) -> Fitted:
        """Pair cells of neighbouring times by optimal transport, and regress the velocity between them."""
        data = capped(data, seed)
        arrays = standard(data)
        scaled = [(cells - arrays["centre"]) / arrays["scale"] for cells in data.cells]
        times = (data.times - data.times[0]) / data.span
        linear, pairs = fit_linear_flow(
            scaled, times, n_pairs=config.n_pairs, n_refinements=config.n_refinements, seed=seed
        )
        firsts = np.cumsum([0, *map(len, scaled[:-2])])
        k = scaled[0].shape[1]
        with local_seed(seed):
            module = FlowModule(k, times, config)
            module.net.set_linear(linear.slope, linear.intercept)
            history = train(
                module,
                np.concatenate([np.concatenate([p.before, p.after], axis=1) for p in pairs]).astype(np.float32),
                {
                    "times": np.repeat(np.stack([times[:-1], times[1:]], axis=1), config.n_pairs, axis=0).astype(
                        np.float32
                    )
                },
                whole_cells(np.concatenate([p.rows + f for p, f in zip(pairs, firsts, strict=True)]), seed=seed),
                config,
                seed=seed,
                score=scorer(data, lambda start, t0, at: _integrate(module, arrays, start, t0, at, config.n_steps)),
                trainer_options=trainer_options,
            )
        if config.var_ridge:
            arrays |= with_prefix(VarRidge().learn(data, DampingConfig(), seed=seed).arrays, "var_ridge.")
        if config.reversion:
            arrays["reversion"] = Reversion().learn(data, DampingConfig(), seed=seed).arrays["change"]
        return self._pack(module, arrays, config, k, history)

    def names(self, config: FlowConfig) -> tuple[str, ...]:
        """What is linear in the flow comes first: it is what a known law would look like."""
        others = [name for name in ("var_ridge", "reversion") if getattr(config, name)]
        return ("its linear part", "its network", *others)

    def build(self, info: Mapping[str, Any]) -> FlowModule:
        """The module of a fit."""
        return FlowModule(info["k"], np.array(info["times"]), self.config_of(info))

    def approach(self, fitted: Fitted, start: np.ndarray, start_time: float, at: float) -> np.ndarray:
        """Along the velocity."""
        n_steps = fitted.info["network"]["n_steps"]
        return _integrate(self.module(fitted), fitted.arrays, start, start_time, at, n_steps)

    def directions(self, fitted: Fitted, start: np.ndarray, start_time: float, at: float) -> list[np.ndarray]:
        """Along what is linear in the velocity, what the network adds to it, and as the baselines would move them."""
        arrays = fitted.arrays
        whole = self.approach(fitted, start, start_time, at) - start
        linear = LinearFlow(
            arrays["net.linear.weight"].T.astype(np.float64), arrays["net.linear.bias"].astype(np.float64)
        )
        scaled = (start - arrays["centre"]) / arrays["scale"]
        elapsed = (at - start_time) / (arrays["times"][-1] - arrays["times"][0])
        straight = (linear.move(scaled, elapsed) - scaled) * arrays["scale"]
        moves = [straight, whole - straight]
        if "var_ridge.slope" in arrays:
            fit = Fitted(without_prefix(arrays, "var_ridge."))
            moves.append(VarRidge().move(fit, start, start_time, at))
        if "reversion" in arrays:
            moves.append(np.tile(arrays["reversion"], (len(start), 1)))
        return moves


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

    with network_policy(module, len(x)):
        for _ in range(n):
            v = velocity(x, t)
            x = x + h / 2 * (v + velocity(x + h * v, t + h))
            t += h
    module.train(was_training)
    return np.asarray(x.cpu().numpy().astype(np.float64) * arrays["scale"] + arrays["centre"])
