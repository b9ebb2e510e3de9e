"""The part of a flow that is linear in the cell: dx/dt = Ax + b, solved for rather than trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import expm

from heldout.tasks.forecast.couplings import coupling, sample_chains

if TYPE_CHECKING:
    from collections.abc import Sequence

PENALTIES = (1e4, 1.0, 0.1, 0.01)
"""Ridge penalties of the slope that are tried, as shares of the number of pairs; the first leaves a constant velocity."""

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
class Pairs:
    """Cells before and after one interval, (n × k), how long it is, and the row of each first cell in its snapshot."""

    before: np.ndarray
    after: np.ndarray
    elapsed: float
    rows: np.ndarray


def fit_linear_flow(
    cells: Sequence[np.ndarray], times: np.ndarray, *, n_pairs: int, n_refinements: int, seed: int
) -> tuple[LinearFlow, list[Pairs]]:
    """Linear flow through all snapshots, and the pairs of cells that follow it.

    Optimal transport moves each snapshot the shortest way to the next one, so that within a snapshot all cells seem to
    move alike even if the whole turns; the slope between snapshots tells, and is blurred by that. Each refinement
    couples the cells that the flow found so far has moved on, as the reference process of a Schrödinger bridge is
    refined by what was found :cite:p:`shen2025`. The ridge penalty is the one that best predicts an interval from all
    others.

    Parameters
    ----------
    cells, times
        Snapshots (n_t × k), standardised, and their times (T,).
    n_pairs
        Pairs drawn from each coupling.
    n_refinements
        How often it is done again.
    seed
        Seed of couplings and draws.
    """
    rng = np.random.default_rng(seed)
    few = [c if len(c) <= _MOST else c[np.sort(rng.choice(len(c), _MOST, replace=False))] for c in cells]
    flow: LinearFlow | None = None
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
) -> list[Pairs]:
    found = []
    for before, after, elapsed in zip(cells[:-1], cells[1:], np.diff(times), strict=True):
        moved = before if flow is None else flow.move(before, float(elapsed))
        rows = sample_chains([coupling(moved, after, epsilon=EPSILON, rng=seed)], n_pairs, rng)
        found.append(Pairs(before[rows[:, 0]], after[rows[:, 1]], float(elapsed), rows[:, 0]))
    return found


def _solved(pairs: list[Pairs]) -> LinearFlow:
    """Ridge regression of the displacements on points of the paths, the penalty chosen by leaving out each interval."""
    if len(pairs) < 2:
        return _ridge([_Moments.of(one) for one in pairs], _FIRST_PENALTY)
    moments = [_Moments.of(one) for one in pairs]
    left_out = [moments[:i] + moments[i + 1 :] for i in range(len(moments))]

    def error(penalty: float) -> float:
        """Squared error of the mean displacement of an interval that was not seen, summed over intervals."""
        flows = [_ridge(rest, penalty) for rest in left_out]
        off = [
            one.elapsed * (one.x @ flow.slope + flow.intercept - one.y)
            for one, flow in zip(moments, flows, strict=True)
        ]
        return float(np.square(off).sum())

    return _ridge(moments, min(PENALTIES, key=error))


@dataclass(frozen=True)
class _Moments:
    """Means and products of points and velocities of one interval; long ones weigh more, as displacements are fitted."""

    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    elapsed: float

    @classmethod
    def of(cls, pairs: Pairs) -> _Moments:
        along = (np.arange(len(pairs.before)) + 0.5)[:, None] / len(pairs.before)  # the pairs are in random order
        x = pairs.before + along * (pairs.after - pairs.before)
        y = (pairs.after - pairs.before) / pairs.elapsed
        return cls(x.mean(axis=0), y.mean(axis=0), x.T @ x / len(x), x.T @ y / len(x), pairs.elapsed)


def _ridge(moments: list[_Moments], penalty: float) -> LinearFlow:
    weights = np.square([one.elapsed for one in moments])
    weights = weights / weights.sum()
    x = sum(w * one.x for w, one in zip(weights, moments, strict=True))
    y = sum(w * one.y for w, one in zip(weights, moments, strict=True))
    xx = sum(w * one.xx for w, one in zip(weights, moments, strict=True)) - np.outer(x, x)
    xy = sum(w * one.xy for w, one in zip(weights, moments, strict=True)) - np.outer(x, y)
    variance = np.diag(xx).clip(1e-12)
    slope = np.linalg.solve(xx + penalty * np.diag(variance), xy)  # a ridge on standardised coordinates
    return LinearFlow(slope, y - x @ slope, penalty)
