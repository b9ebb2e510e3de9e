"""Population dynamics: the composition follows a Markov chain between states, and cells move within their state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from heldout._core.method import Fitted
from heldout.tasks.forecast.baselines import Moving
from heldout.tasks.forecast.chain import composition_after, growth_of, rates_of
from heldout.tasks.forecast.config import StatesConfig
from heldout.tasks.forecast.damping import Direction, horizon, shares_on_past
from heldout.tasks.forecast.grouping import centres_of, states_of
from heldout.tasks.forecast.growth import Pairing
from heldout.tasks.forecast.shared import shared_couplings
from heldout.tasks.forecast.stored import keep_cells, kept_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from heldout.tasks.forecast.interface import Snapshots

_ENOUGH = 10  # cells of a state at one time, to draw from them
_PRIOR_CELLS = 20.0
"""Cells of a state whose movement counts as much as that of all states together."""

RECENT = 0.5
"""Weight of a step, relative to the step after it."""

_KEPT = 1000  # cells of a time


class States(Moving):
    """Groups of similar cells that switch into each other, grow, and move.

    Train cells are grouped into states, see :func:`heldout.tasks.forecast.grouping.centres_of`. Optimal transport
    between neighbouring train times gives the flows between states, and the rates that make these flows most likely
    give the composition at a later time. Start cells of states that become rarer are exchanged for train cells of
    states that become more common. Within a state all cells move as cells that stayed in it moved before. The share of
    the new composition and that of the movement are chosen on past times.
    """

    default_config: ClassVar[Any] = StatesConfig()

    def names(self) -> tuple[str, ...]:
        """Name of each part."""
        return ("the new composition", "its movement within states")

    @shared_couplings()
    def fit(self, data: Snapshots, config: StatesConfig, *, seed: int) -> Fitted:
        """Learn states and rates, and choose the two shares on past times."""

        def past_cells(
            past: Snapshots, at: float, rows: np.ndarray
        ) -> tuple[int, Callable[[Sequence[float]], np.ndarray]]:
            fitted, start, start_time = self.learn(past, config, seed=seed), past.cells[-1][rows], float(past.times[-1])
            ahead = horizon(past.times, start_time, at)

            def made(shares: Sequence[float]) -> np.ndarray:
                return _population(fitted, start, start_time, at, shares, ahead, np.random.default_rng(seed))[0]

            return 2, made

        record: dict[str, Any] = {"share": [config.damping] * 2}
        if config.damping is None:
            record = shares_on_past(data, past_cells)
        record["of"] = list(self.names())
        return self._with_shares(data, config, record, seed=seed)

    def learn(self, data: Snapshots, config: StatesConfig, *, seed: int) -> Fitted:
        """Find states, their rates and their movements."""
        centres = centres_of(data.cells, config.n_states, seed=seed)
        k, steps = len(centres), np.diff(data.times).tolist()
        labels = [states_of(cells, centres) for cells in data.cells]
        members = [np.eye(k)[label] for label in labels]
        shares = np.array([member.mean(axis=0) for member in members])
        pairing = Pairing(data.times, data.cells, data.growth, config.estimate_growth)
        flows, moves, moved = [], np.zeros(data.cells[0].shape[1:] + (k,)).T, np.zeros(k)
        for i, step in enumerate(steps):
            pair = pairing.between(i, seed=seed)
            mass = pair.mass / len(pair.mass)
            flows.append(members[i].T @ (mass[:, None] * (pair.transition @ members[i + 1])))
            for j in np.flatnonzero(shares[i] * shares[i + 1]):
                here, there = labels[i] == j, labels[i + 1] == j
                stay = pair.transition[here][:, there]
                kept = mass[here] * np.asarray(stay.sum(axis=1)).ravel()
                change = stay @ data.cells[i + 1][there] * mass[here][:, None] - kept[:, None] * data.cells[i][here]
                recent = RECENT ** (len(steps) - 1 - i) * len(mass)
                moves[j] += recent * change.sum(axis=0)
                moved[j] += recent * kept.sum() * step
        growth = np.zeros(k) if data.growth is None else mean_growth(data.growth, labels, k)
        growth = growth_of(flows, list(shares[:-1]), steps) if config.estimate_growth else growth
        rates = rates_of(flows, steps, growth)
        everywhere = moves.sum(axis=0) / max(moved.sum(), 1e-12)
        prior = _PRIOR_CELLS * float(np.median(steps))
        velocity = (moves + prior * everywhere) / (moved + prior)[:, None]
        info = {"n_states": k, "composition": shares.round(4).tolist()}
        arrays = {"centres": centres, "rates": rates, "growth": growth, "velocity": velocity}
        return Fitted({**keep_cells(data, seed=seed, most=_KEPT), **arrays}, info)

    def move(self, fitted: Fitted, start: np.ndarray, start_time: float, at: float) -> np.ndarray:
        """Movement of the start cells within their states."""
        return np.asarray((at - start_time) * fitted.arrays["velocity"][states_of(start, fitted.arrays["centres"])])

    def predict(
        self, fitted: Fitted, start: np.ndarray, start_time: float, at: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Exchange start cells until the composition is that of the target, and move all cells."""
        return self._predicted(fitted, start, start_time, at, rng)[0]

    def _predicted(
        self, fitted: Fitted, start: np.ndarray, start_time: float, at: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        record = fitted.info["damping"]
        ahead = max(1.0, (at - start_time) / record["longest_step"])
        return _population(fitted, start, start_time, at, record["share"], ahead, rng)

    def kept(self, fitted: Fitted, start: np.ndarray, at: float) -> np.ndarray:
        """Whether each predicted cell is the start cell after its movement, (n,)."""
        times = fitted.arrays["times"]
        start_time = float(times[np.searchsorted(times, at) - 1])
        return self._predicted(fitted, start, start_time, at, np.random.default_rng(0))[1]


def mean_growth(rates: Sequence[np.ndarray], labels: Sequence[np.ndarray], k: int) -> np.ndarray:
    """Mean growth rate of the cells of each state, (K,). A state always has cells."""
    label, rate = np.concatenate(labels), np.concatenate(rates)
    return np.asarray(np.bincount(label, rate, minlength=k) / np.bincount(label, minlength=k).clip(1))


def _population(
    fitted: Fitted,
    start: np.ndarray,
    start_time: float,
    at: float,
    shares: Sequence[float],
    ahead: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Predicted cells (n × k), and whether each of them is the start cell of its row, (n,)."""
    known = fitted.arrays
    centres, k = known["centres"], len(known["centres"])
    labels, cells = states_of(start, centres), start.copy()
    before = np.bincount(labels, minlength=k) / len(labels)
    after = composition_after(before, known["rates"], known["growth"], at - start_time)
    wanted = before + min(shares[0], 1.0) * (after - before)
    exchanged, states = _exchange(labels, _counts(wanted, len(labels)))
    for j in np.unique(states):
        pool = _pool(fitted, j)
        rows = exchanged[states == j]
        cells[rows] = pool[rng.choice(len(pool), len(rows), replace=len(rows) > len(pool))]
    labels = labels.copy()
    labels[exchanged] = states
    whole = (at - start_time) * known["velocity"]
    kept = np.ones(len(start), dtype=bool)
    kept[exchanged] = False
    return cells + Direction(whole, whole / ahead).damped(shares[1], ahead)[labels], kept


def _counts(composition: np.ndarray, n: int) -> np.ndarray:
    """Whole numbers with the sum ``n`` in proportion to the composition, by the largest remainders, (K,)."""
    exact = composition * n
    counts = np.floor(exact + 1e-9).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: n - counts.sum()]] += 1
    return counts


def _exchange(labels: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that leave their state, and the state that each of them goes to. As few rows as possible."""
    have = np.bincount(labels, minlength=len(counts))
    leaving = []
    for j in np.flatnonzero(have > counts):
        rows = np.flatnonzero(labels == j)
        leaving.append(rows[np.linspace(0, len(rows) - 1, have[j] - counts[j]).round().astype(int)])
    missing = np.maximum(counts - have, 0)
    return np.concatenate([*leaving, np.empty(0, dtype=int)]), np.repeat(np.arange(len(counts)), missing)


def _pool(fitted: Fitted, state: int) -> np.ndarray:
    """Train cells of a state, from the latest time at which there are enough of them, or from all times."""
    _, cells = kept_cells(fitted)
    found = [c[states_of(c, fitted.arrays["centres"]) == state] for c in cells]
    return next((c for c in reversed(found) if len(c) >= _ENOUGH), np.concatenate(found))
