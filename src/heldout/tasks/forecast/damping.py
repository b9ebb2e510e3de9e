"""How much of a predicted movement to make: learnt by forecasting train times from those before them."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout.metrics import energy_distance

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout.tasks.forecast.interface import Snapshots

    Move = Callable[[Snapshots, float], list[np.ndarray]]

GRID = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares that are tried, in all combinations of directions."""

PRIOR = 0.1
"""Added to the sum over past times: this times the share. With few origins the best share is mostly luck, so that it
takes a gain to move; dynamics that go on as before gain so much that it does not matter."""

NOTHING = 0.02
"""Share of the spread of the cells below which a distance is noise, not something to gain on."""

FIRST = 2
"""Snapshots before the first origin: one change to learn from."""

_ORIGINS = 4
_MOST = 300


def horizon(times: np.ndarray, start_time: float, at: float) -> float:
    """How far ahead a time is, in longest steps between train times; at least 1."""
    return max(1.0, float((at - start_time) / np.diff(times).max())) if len(times) > 1 else 1.0


def effective(share: float, ahead: float) -> float:
    """Share of a movement over ``ahead`` steps: each further step counts ``share`` times the one before.

    The damped trend of exponential smoothing. A share of 1 goes on for ever, one of 0.1 stops after a step.
    """
    if share >= 1 or ahead <= 1:
        return share
    return float(share * (1 - share**ahead) / (1 - share) / ahead)


def backtest(data: Snapshots, move: Move, *, compounds: tuple[bool, ...] = (True,)) -> dict[str, Any]:
    """Share of each direction of movement, and what it was chosen by, as JSON values.

    Parameters
    ----------
    data
        Train snapshots. Each one from the third on (of many the last four) is forecast from those before it, and counts as
        many times as there were changes to learn from; nothing later is touched.
    move
        From past snapshots and a later time to the movements (n × k) of the last cells, one array a direction.
    compounds
        Whether a direction fades with the horizon, see :func:`effective`.
    """
    origins = range(FIRST, len(data.times))[-_ORIGINS:]
    if not len(origins):
        msg = (
            f"Choosing the damping needs 3 train times, there are {len(data.times)}: {data.times.tolist()}. Train on more "
            "times, or give config a damping, e.g. 0 for persistence."
        )
        raise ValueError(msg)
    shares = list(product(GRID, repeat=len(compounds)))
    gains = np.stack([_gains(data, origin, move, shares, compounds) for origin in origins])
    weights = np.array([origin - 1.0 for origin in origins])
    weights *= len(weights) / weights.sum()
    lost = PRIOR * np.sum(shares, axis=1) - weights @ gains
    best = np.lexsort([np.sum(shares, axis=1), lost.round(6)])[0]  # of equals the smallest movement
    return {
        "share": list(shares[best]),
        "origins": [float(data.times[origin]) for origin in origins],
        "skill_on_past": gains[:, best].round(4).tolist(),
    }


def _gains(
    data: Snapshots, origin: int, move: Move, shares: list[tuple[float, ...]], compounds: tuple[bool, ...]
) -> np.ndarray:
    """Skill against persistence of each combination of shares at one past time."""
    past, at = data.until(origin), float(data.times[origin])
    directions = move(past, at)
    rows = _rows(len(past.cells[-1]))
    start, truth = past.cells[-1][rows], data.cells[origin][_rows(len(data.cells[origin]))]
    ahead = horizon(past.times, float(past.times[-1]), at)
    distances = np.array(
        [energy_distance(truth, start + sum(m[rows] for m in damped(directions, s, compounds, ahead))) for s in shares]
    )
    spread = 2 * float(np.linalg.norm(truth - truth.mean(axis=0), axis=1).mean())
    return np.asarray((distances[0] - distances) / max(distances[0], NOTHING * spread))


def damped(
    directions: list[np.ndarray], shares: tuple[float, ...], compounds: tuple[bool, ...], ahead: float
) -> list[np.ndarray]:
    """The movements that are made."""
    factors = [effective(s, ahead) if c else s for s, c in zip(shares, compounds, strict=True)]
    return [factor * direction for factor, direction in zip(factors, directions, strict=True)]


def _rows(n: int) -> np.ndarray:
    """At most 300 rows, always the same."""
    return np.arange(n) if n <= _MOST else np.sort(np.random.default_rng(0).choice(n, _MOST, replace=False))
