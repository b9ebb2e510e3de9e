"""Learn how much of a predicted movement to apply, by forecasting train times from earlier train times."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout.metrics import energy_distance
from heldout.tasks.forecast.interface import some_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from heldout.tasks.forecast.interface import Snapshots

GRID = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Candidate shares."""

PRIOR = 0.1
"""Cost of a share of 1. A movement must gain more than noise does."""

LAW = 0.9
"""With this mean skill on two or more past times, a movement is applied in full."""

NOTHING = 0.02
"""A distance below this share of the spread of the cells is noise."""

FIRST = 2
"""Number of snapshots before the first past time that is forecast: one change to learn from."""

ORIGINS = 4
"""Largest number of past times that are forecast."""

MOST_SCORED = 300
"""Largest number of cells that are scored at a past time."""

MOST_LEARNT = 1000
"""Largest number of cells of each time that a forecast of a past time learns from."""


def horizon(times: np.ndarray, start_time: float, at: float) -> float:
    """How far ahead a time is, in units of the longest step between train times. At least 1."""
    return max(1.0, float((at - start_time) / np.diff(times).max())) if len(times) > 1 else 1.0


@dataclass(frozen=True)
class Direction:
    """A movement of cells to a later time.

    Parameters
    ----------
    whole
        The whole movement, (n × k).
    first
        The movement of the first step, which is the longest step between train times. The whole movement if the time is
        nearer.
    fades
        Whether a damped movement fades with each further step. Otherwise it does not depend on how far the time is.
    """

    whole: np.ndarray
    first: np.ndarray
    fades: bool = True

    def damped(self, share: float, ahead: float) -> np.ndarray:
        """Movement that is applied over ``ahead`` steps: each further step is ``share`` times the step before.

        This is the damped trend of exponential smoothing. With a share of 1 the whole movement is applied. With a share
        of 0.1 it almost stops after one step.
        """
        if share >= 1 or ahead <= 1 or not self.fades:
            return share * self.whole
        return np.asarray(share * (1 - share**ahead) / (1 - share) * self.first)


if TYPE_CHECKING:
    Move = Callable[[Snapshots, float], list[Direction]]
    Made = Callable[[Sequence[float]], np.ndarray]
    Predict = Callable[[Snapshots, float, np.ndarray], tuple[int, Made]]


def backtest(data: Snapshots, move: Move) -> dict[str, Any]:
    """Choose the share of each direction of movement on past times. Returns JSON values, see :func:`shares_on_past`.

    ``move`` is a function of past snapshots and a later time that returns the directions of the last cells.
    """

    def predict(past: Snapshots, at: float, rows: np.ndarray) -> tuple[int, Made]:
        last, ahead = past.cells[-1], horizon(past.times, float(past.times[-1]), at)
        ways = [replace(way, whole=way.whole[rows], first=way.first[rows]) for way in move(past, at)]
        return len(ways), lambda shares: moved_by(last[rows], ways, shares, ahead)

    return shares_on_past(data, predict)


def shares_on_past(data: Snapshots, predict: Predict) -> dict[str, Any]:
    """Choose the share of each part of a prediction on past times. Returns JSON values.

    ``skill_left_out`` has the skill at each past time with shares from the other past times; empty with one.

    Shares have a prior, as in ridge regression. The cost of a squared share is the error of persistence at one past
    time, times the part of the past that no movement explains. If little is explained, the best share is mostly luck.
    With one past time it is shrunk by half or more, and with each further past time by less. If the dynamics are
    regular, nothing is left unexplained, and the shares are not shrunk.

    Parameters
    ----------
    data
        Train snapshots. Each from the third on (at most the last four) is forecast from those before it, in a space
        that was fitted on those before it. Its weight is the number of changes to learn from. Later snapshots are not
        used.
    predict
        Function of past snapshots, a later time, and row numbers of the last cells. It returns the number of parts,
        and a function of the shares that predicts from these cells. With all shares at 0 that is the cells themselves.
    """
    origins = range(FIRST, len(data.times))[-ORIGINS:]
    if not len(origins):
        msg = (
            f"Choosing the damping needs 3 train times, there are {len(data.times)}: {data.times.tolist()}. Train on "
            "more times, or set damping in the config, e.g. 0 for persistence."
        )
        raise ValueError(msg)
    past_times = [_PastTime.of(data, origin, predict) for origin in origins]
    n_shares = past_times[0].n_shares
    weights = np.array([origin - 1.0 for origin in origins])
    weights *= len(weights) / weights.sum()
    known: dict[tuple[float, ...], np.ndarray] = {}

    def gains(shares: tuple[float, ...]) -> np.ndarray:
        if shares not in known:
            known[shares] = np.array([past.gain(shares) for past in past_times])
        return known[shares]

    shares = _chosen(gains, n_shares, weights)
    left_out = []
    for i in range(len(origins) if len(origins) > 1 else 0):
        others = np.where(np.arange(len(origins)) == i, 0.0, weights)
        others *= (len(origins) - 1) / others.sum()
        left_out.append(gains(_chosen(gains, n_shares, others))[i])
    return {
        "share": list(shares),
        "origins": [float(data.times[origin]) for origin in origins],
        "skill_on_past": gains(shares).round(4).tolist(),
        "skill_left_out": np.round(left_out, 4).tolist(),
    }


def _chosen(gains: Callable[[tuple[float, ...]], np.ndarray], n: int, weights: np.ndarray) -> tuple[float, ...]:
    """Shares of ``n`` directions for the gains at past times, whose weights sum to the number of times that count."""
    n_times = int((weights > 0).sum())

    def lost(shares: tuple[float, ...]) -> tuple[float, float]:
        gained = float(weights @ gains(shares))
        unexplained = 1 - np.clip(gained / n_times, 0, 1)
        cost = PRIOR * sum(shares) + unexplained * sum(share**2 for share in shares)
        return round(cost - gained, 6), sum(shares)  # of equals the smallest movement

    whole = (1.0, *[0.0] * (n - 1))
    if n_times > 1 and weights @ gains(whole) >= LAW * n_times:
        return whole
    return _search(lost, n)


def _search(lost: Callable[[tuple[float, ...]], tuple[float, float]], n: int) -> tuple[float, ...]:
    """Start from persistence, and change one share at a time as long as this is better."""
    shares = (0.0,) * n
    while True:
        near = {(*shares[:i], share, *shares[i + 1 :]) for i in range(n) for share in GRID}
        best = min(sorted(near), key=lost)
        if best == shares:
            return shares
        shares = best


@dataclass(frozen=True)
class _PastTime:
    """A known time, which is forecast from earlier times."""

    truth: np.ndarray
    n_shares: int
    made: Made
    before: float
    scale: float

    @classmethod
    def of(cls, data: Snapshots, origin: int, predict: Predict) -> _PastTime:
        """Take at most 300 cells of the start and of the truth."""
        past, later = data.origin(origin)
        past, truth = past.thinned(MOST_LEARNT), later[0]
        rows = some_rows(len(past.cells[-1]), MOST_SCORED)
        n_shares, made = predict(past, float(data.times[origin]), rows)
        truth = truth[some_rows(len(truth), MOST_SCORED)]
        before = energy_distance(truth, past.cells[-1][rows])
        spread = 2 * float(np.linalg.norm(truth - truth.mean(axis=0), axis=1).mean())
        return cls(truth, n_shares, made, before, max(before, NOTHING * spread))

    def gain(self, shares: tuple[float, ...]) -> float:
        """Skill of a prediction compared with persistence."""
        return (self.before - energy_distance(self.truth, self.made(shares))) / self.scale


def moved_by(start: np.ndarray, directions: list[Direction], shares: Sequence[float], ahead: float) -> np.ndarray:
    """Cells after the share of each movement. A direction without a share is not applied."""
    made = [direction.damped(share, ahead) for direction, share in zip(directions, shares, strict=False)]
    return np.asarray(start + sum(made))
