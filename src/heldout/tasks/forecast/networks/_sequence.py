"""Networks that train on chains of cells."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from heldout._core.method import Fitted
from heldout._core.threads import network_policy
from heldout._core.training import local_seed
from heldout.tasks.forecast.baselines import ancestors, draw_column
from heldout.tasks.forecast.config import PublishedConfig, SequenceConfig
from heldout.tasks.forecast.couplings import coupling, sample_chains
from heldout.tasks.forecast.networks._method import Network, capped, scorer, standard
from heldout.tasks.forecast.networks._module import SequenceModule
from heldout.tasks.forecast.networks._trainingplan import train, whole_cells
from heldout.tasks.forecast.stored import keep_cells, kept_cells, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heldout.tasks.forecast.interface import Snapshots


class Sequence(Network):
    """A network over chains of cells. Subclasses choose the network."""

    default_config: ClassVar[Any] = SequenceConfig()
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
        """Draw chains through the couplings of neighbouring train times, and learn to continue the chains."""
        data = capped(data, seed)
        arrays = standard(data)
        scaled = [(cells - arrays["centre"]) / arrays["scale"] for cells in data.cells]
        rng = np.random.default_rng(seed)
        if data.chains is None:
            pairs = [coupling(a, b, rng=seed) for a, b in zip(scaled[:-1], scaled[1:], strict=True)]
            chains = sample_chains(pairs, config.n_chains, rng)
            before = [_drawn(ancestors(pair), rng) for pair in pairs]
        else:
            chains = data.chains
            before = [_of_chains(chains[:, i : i + 2], cells, rng) for i, cells in enumerate(scaled[1:])]
        X = np.concatenate([cells[chains[:, i]] for i, cells in enumerate(scaled)], axis=1).astype(np.float32)
        arrays |= keep_cells(data, seed=seed)
        arrays["ancestors"] = np.concatenate(before)
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
                score=scorer(data, lambda start, t0, at: self._moved(module, arrays, config, start, t0, at)),
                trainer_options=trainer_options,
            )
        return self._pack(module, arrays, config, k, history)

    def build(self, info: Mapping[str, Any]) -> SequenceModule:
        """The module of a fit."""
        times = np.array(info["times"])
        return SequenceModule(
            info["k"],
            times / np.diff(times).mean(),
            self.config_of(info),
            kind=self.kind,
            skip=self.skip,
        )

    def directions(self, fitted: Fitted, start: np.ndarray, start_time: float, at: float) -> list[np.ndarray]:
        """The predicted change."""
        config = self.config_of(fitted.info)
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
            with network_policy(module, len(given)):
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
    """LSTM as published: no skip connection, no times, squared error."""

    default_config: ClassVar[Any] = PublishedConfig()
    skip: ClassVar[bool] = False


class FeedForwardPublished(FeedForward):
    """Feed-forward network as published: no skip connection, no times, squared error."""

    default_config: ClassVar[Any] = PublishedConfig()
    skip: ClassVar[bool] = False


def _drawn(rows: Any, rng: np.random.Generator) -> np.ndarray:
    """One ancestor of each cell, drawn from the rows of (n1 × n0)."""
    draws = rng.random(rows.shape[0])
    return np.array([draw_column(rows, row, draw) for row, draw in enumerate(draws)], dtype=np.int32)


def _of_chains(links: np.ndarray, after: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One ancestor of each cell, (n,), from a chain (n_chains × 2) through the cell or its nearest neighbour."""
    links = rng.permutation(links)
    passed, first = np.unique(links[:, 1], return_index=True)
    at = nearest(after, after[passed]) if len(passed) < len(after) else np.arange(len(after))
    return links[first[at], 0].astype(np.int32)


def _histories(arrays: Mapping[str, np.ndarray], cells: list[np.ndarray], start: np.ndarray, last: int) -> np.ndarray:
    """Likely history of each start cell, (n × last + 1 × k): that of the nearest train cell of the same time."""
    offsets = np.cumsum([0, *[len(c) for c in cells[1:]]])
    rows = nearest(start, cells[last])
    path = [start]
    for i in range(last, 0, -1):
        rows = arrays["ancestors"][offsets[i - 1] : offsets[i]][rows]
        path.insert(0, cells[i - 1][rows])
    return np.stack(path, axis=1)
