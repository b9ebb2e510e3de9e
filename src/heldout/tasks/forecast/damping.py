"""How much of a predicted movement to make: learnt by forecasting train times from those before them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout.metrics import energy_distance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from heldout.tasks.forecast.interface import Snapshots

GRID = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares that are tried."""

PRIOR = 0.1
"""What a share of 1 costs, whatever the past says: a movement has to gain more than noise does."""

LAW = 0.9
"""Mean skill on two past times or more from which a movement is taken for a law: it is made whole."""

NOTHING = 0.02
"""Share of the spread of the cells below which a distance is noise, not something to gain on."""

FIRST = 2
"""Snapshots before the first origin: one change to learn from."""

_ORIGINS = 4
_MOST = 300


def horizon(times: np.ndarray, start_time: float, at: float) -> float:
    """How far ahead a time is, in longest steps between train times; at least 1."""
    return max(1.0, float((at - start_time) / np.diff(times).max())) if len(times) > 1 else 1.0


@dataclass(frozen=True)
class Direction:
    """A movement of cells to a later time.

    Parameters
    ----------
    whole
        All of it, (n × k).
    first
        Of its first step, the longest between train times; all of it if the time is nearer.
    fades
        Whether a damped one fades with each further step, or does not depend on how far the time is.
    """

    whole: np.ndarray
    first: np.ndarray
    fades: bool = True

    def damped(self, share: float, ahead: float) -> np.ndarray:
        """The movement that is made over ``ahead`` steps: each further step is ``share`` times the one before.

        The damped trend of exponential smoothing. A share of 1 takes the movement for a law and follows it; one of 0.1
        stops after a step, wherever the law would lead.
        """
        if share >= 1 or ahead <= 1 or not self.fades:
            return share * self.whole
        return np.asarray(share * (1 - share**ahead) / (1 - share) * self.first)


if TYPE_CHECKING:
    Move = Callable[[Snapshots, float], list[Direction]]


def backtest(data: Snapshots, move: Move) -> dict[str, Any]:
    """Share of each direction of movement, and what it was chosen by, as JSON values.

    Shares have a prior, as in ridge regression: squared, they cost what persistence costs at one past time, times what
    no movement explains of the past. Where little is explained the best share is mostly luck, and with one past time it
    is shrunk by half or more; each further past time halves the doubt. Where dynamics go on as before nothing is left
    unexplained, and the shares stay what they are.

    Parameters
    ----------
    data
        Train snapshots. Each one from the third on (of many the last four) is forecast from those before it, in a space
        that was fitted on those before it, and counts as many times as there were changes to learn from; nothing later
        is touched.
    move
        From past snapshots and a later time to the directions of the last cells.
    """
    origins = range(FIRST, len(data.times))[-_ORIGINS:]
    if not len(origins):
        msg = (
            f"Choosing the damping needs 3 train times, there are {len(data.times)}: {data.times.tolist()}. Train on "
            "more "
            "times, or give config a damping, e.g. 0 for persistence."
        )
        raise ValueError(msg)
    past_times = [_PastTime.of(data, origin, move) for origin in origins]
    n = len(past_times[0].directions)
    weights = np.array([origin - 1.0 for origin in origins])
    weights *= len(weights) / weights.sum()
    gains: dict[tuple[float, ...], np.ndarray] = {}

    def lost(shares: tuple[float, ...]) -> tuple[float, float]:
        if shares not in gains:
            gains[shares] = np.array([one.gain(shares) for one in past_times])
        gained = float(weights @ gains[shares])
        unexplained = 1 - np.clip(gained / len(weights), 0, 1)
        cost = PRIOR * sum(shares) + unexplained * sum(share**2 for share in shares)
        return round(cost - gained, 6), sum(shares)  # of equals the smallest movement

    shares = _search(lost, n)
    whole = (1.0, *[0.0] * (n - 1))
    lost(whole)
    if len(origins) > 1 and weights @ gains[whole] >= LAW * len(weights):
        shares = whole
    return {
        "share": list(shares),
        "origins": [float(data.times[origin]) for origin in origins],
        "skill_on_past": gains[shares].round(4).tolist(),
    }


def _search(lost: Callable[[tuple[float, ...]], tuple[float, float]], n: int) -> tuple[float, ...]:
    """From persistence on, change one share at a time for the better, until none is."""
    shares = (0.0,) * n
    while True:
        near = {(*shares[:i], share, *shares[i + 1 :]) for i in range(n) for share in GRID}
        best = min(sorted(near), key=lost)
        if best == shares:
            return shares
        shares = best


@dataclass(frozen=True)
class _PastTime:
    """A time that is known, to be forecast from those before it."""

    start: np.ndarray
    truth: np.ndarray
    directions: list[Direction]
    ahead: float
    before: float
    scale: float

    @classmethod
    def of(cls, data: Snapshots, origin: int, move: Move) -> _PastTime:
        """At most 300 cells of the start and of the truth."""
        past, truth = data.origin(origin)
        at, last = float(data.times[origin]), past.cells[-1]
        rows = _rows(len(last))
        directions = [replace(one, whole=one.whole[rows], first=one.first[rows]) for one in move(past, at)]
        start, truth = last[rows], truth[_rows(len(truth))]
        before = energy_distance(truth, start)
        spread = 2 * float(np.linalg.norm(truth - truth.mean(axis=0), axis=1).mean())
        ahead = horizon(past.times, float(past.times[-1]), at)
        return cls(start, truth, directions, ahead, before, max(before, NOTHING * spread))

    def gain(self, shares: tuple[float, ...]) -> float:
        """Skill of a movement against persistence."""
        moved = moved_by(self.start, self.directions, shares, self.ahead)
        return (self.before - energy_distance(self.truth, moved)) / self.scale


def moved_by(start: np.ndarray, directions: list[Direction], shares: Sequence[float], ahead: float) -> np.ndarray:
    """Cells after as much of each movement as is made; of a direction that has no share, nothing."""
    made = [one.damped(share, ahead) for one, share in zip(directions, shares, strict=False)]
    return np.asarray(start + sum(made))


def _rows(n: int) -> np.ndarray:
    """At most 300 rows, always the same."""
    return np.arange(n) if n <= _MOST else np.sort(np.random.default_rng(0).choice(n, _MOST, replace=False))
