"""The part of a flow that is linear in the cell: dx/dt = Ax + b. It is solved for, not trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import expm

from heldout._core.threads import thread_policy
from heldout.tasks.forecast.couplings import coupling, sample_chains

if TYPE_CHECKING:
    from collections.abc import Sequence

PENALTIES = (1e4, 1.0, 0.1, 0.01)
"""Candidate ridge penalties of the slope, as shares of the number of pairs. The first gives a constant velocity."""

EPSILON = 0.02
"""Entropy of the couplings."""

_FIRST_PENALTY = 0.1  # with one interval there is none to leave out
_MOST = 1000  # cells of a time in all couplings but the last


@dataclass(frozen=True)
class LinearFlow:
    """Velocity Ax + b: ``slope`` is A transposed (k × k), ``intercept`` is b (k,)."""

    slope: np.ndarray
    intercept: np.ndarray
    penalty: float = 0.0

    def move(self, cells: np.ndarray, elapsed: float) -> np.ndarray:
        """Cells (n × k) after a time, exactly."""
        k = len(self.intercept)
        generator = np.zeros((k + 1, k + 1))
        generator[:k, :k], generator[k, :k] = self.slope, self.intercept
        whole = expm(elapsed * generator)
        return np.asarray(cells @ whole[:k, :k] + whole[k, :k])


@dataclass(frozen=True)
class CellPairs:
    """Cells before and after an interval, (n × k), its length, and the row of each first cell in its snapshot."""

    before: np.ndarray
    after: np.ndarray
    elapsed: float
    rows: np.ndarray


def fit_linear_flow(
    cells: Sequence[np.ndarray], times: np.ndarray, *, n_pairs: int, n_refinements: int, seed: int
) -> tuple[LinearFlow, list[CellPairs]]:
    """Fit a linear flow through all snapshots, and return it with the pairs of cells that it was fitted on.

    Optimal transport moves each snapshot to the next one by the shortest way. So all cells of a snapshot seem to move
    in the same direction, even if the whole population rotates, and the slope of the flow is blurred. Each refinement
    first moves the cells along the flow found so far, and couples them again, in the same way as the reference process
    of a Schrödinger bridge is refined :cite:p:`shen2025`. The ridge penalty is the one that best predicts an interval
    from all others.

    Parameters
    ----------
    cells, times
        Snapshots (n_t × k), standardised, and their times (T,).
    n_pairs
        Number of pairs that are drawn from each coupling.
    n_refinements
        Number of refinements.
    seed
        Seed of couplings and draws.
    """
    rng = np.random.default_rng(seed)
    few = [c if len(c) <= _MOST else c[np.sort(rng.choice(len(c), _MOST, replace=False))] for c in cells]
    flow: LinearFlow | None = None
    with thread_policy(max(n_pairs, *map(len, cells)) * cells[0].shape[1] ** 2):
        for _ in range(n_refinements):
            flow = _solved(_pairs(few, times, flow, n_pairs, rng, seed))
        pairs = _pairs(cells, times, flow, n_pairs, rng, seed)
        return _solved(pairs), pairs


def _pairs(
    cells: Sequence[np.ndarray],
    times: np.ndarray,
    flow: LinearFlow | None,
    n_pairs: int,
    rng: np.random.Generator,
    seed: int,
) -> list[CellPairs]:
    found = []
    for before, after, elapsed in zip(cells[:-1], cells[1:], np.diff(times), strict=True):
        moved = before if flow is None else flow.move(before, float(elapsed))
        rows = sample_chains([coupling(moved, after, epsilon=EPSILON, rng=seed)], n_pairs, rng)
        found.append(CellPairs(before[rows[:, 0]], after[rows[:, 1]], float(elapsed), rows[:, 0]))
    return found


def _solved(pairs: list[CellPairs]) -> LinearFlow:
    """Ridge regression of displacements on points of the paths. Leaving out each interval chooses the penalty."""
    if len(pairs) < 2:
        return _ridge([_Moments.of(interval) for interval in pairs], _FIRST_PENALTY)
    moments = [_Moments.of(interval) for interval in pairs]
    left_out = [moments[:i] + moments[i + 1 :] for i in range(len(moments))]

    def error(penalty: float) -> float:
        """Squared error of the mean displacement of an interval that was not seen, summed over intervals."""
        flows = [_ridge(rest, penalty) for rest in left_out]
        off = [
            moment.elapsed * (moment.x @ flow.slope + flow.intercept - moment.y)
            for moment, flow in zip(moments, flows, strict=True)
        ]
        return float(np.square(off).sum())

    return _ridge(moments, min(PENALTIES, key=error))


@dataclass(frozen=True)
class _Moments:
    """Means and products of points and velocities of one interval. Long intervals have more weight."""

    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    elapsed: float

    @classmethod
    def of(cls, pairs: CellPairs) -> _Moments:
        along = (np.arange(len(pairs.before)) + 0.5)[:, None] / len(pairs.before)  # the pairs are in random order
        x = pairs.before + along * (pairs.after - pairs.before)
        y = (pairs.after - pairs.before) / pairs.elapsed
        return cls(x.mean(axis=0), y.mean(axis=0), x.T @ x / len(x), x.T @ y / len(x), pairs.elapsed)


def _ridge(moments: list[_Moments], penalty: float) -> LinearFlow:
    weights = np.square([moment.elapsed for moment in moments])
    weights = weights / weights.sum()
    x = sum(w * moment.x for w, moment in zip(weights, moments, strict=True))
    y = sum(w * moment.y for w, moment in zip(weights, moments, strict=True))
    xx = sum(w * moment.xx for w, moment in zip(weights, moments, strict=True)) - np.outer(x, x)
    xy = sum(w * moment.xy for w, moment in zip(weights, moments, strict=True)) - np.outer(x, y)
    variance = np.diag(xx).clip(1e-12)
    slope = np.linalg.solve(xx + penalty * np.diag(variance), xy)  # a ridge on standardised coordinates
    return LinearFlow(slope, y - x @ slope, penalty)
