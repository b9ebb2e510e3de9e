"""Curves through the train times: how much each train time counts for the place of cells at a middle time."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

POWERS = (0.6, 0.8, 1.0, 1.25)
"""Cells may move evenly in a power of the time since the first train time."""

LENGTHS = (0.3, 0.4, 0.6, 0.8, 1.2, 1.6, 2.4)
"""How long a smooth curve keeps its direction, in spans of the train times. Shorter ones would oscillate."""

_STRAIGHT = 4.0
"""Length of the rough process. With this length it is a straight line between two neighbouring times, within 1 %."""

_NUGGET = 1e-4
"""Variance of the noise of a mean, as a share of the variance of the process."""


@dataclass(frozen=True)
class Curve:
    """The curve at one middle time.

    Parameters
    ----------
    weights
        How much the place at each train time counts, (T,). They sum to 1.
    share
        How far the target is between the two train times around it, 0 to 1, on the scale on which cells move evenly.
    first
        Number of the train time before the target.
    straight
        Probability that the means of the train times lie on straight lines and not on a smooth curve.
    power
        Mean power of time.
    """

    weights: np.ndarray
    share: float
    first: int
    straight: float
    power: float

    def bend(self, places: Sequence[np.ndarray]) -> np.ndarray:
        """Difference of the curve and of the straight line through the places at all train times, T of (n × k)."""
        line = (1 - self.share) * places[self.first] + self.share * places[self.first + 1]
        return np.asarray(sum(w * place for w, place in zip(self.weights, places, strict=True)) - line)


def curve_at(times: np.ndarray, means: np.ndarray, at: float, *, power: float | None = None) -> Curve:
    """Average straight lines and smooth curves by how likely each of them makes the means of the train times.

    The mean of the cells is a Gaussian process over time :cite:p:`rasmussen2006`: a rough one, whose best guess is a
    straight line between neighbouring times, or a smooth one (Matérn 5/2) with one of several lengths, on one of
    several scales of time. All coordinates have the same process. Each process is weighted by its marginal likelihood
    :cite:p:`hoeting1999`. Correlated coordinates count as fewer coordinates. Two train times cannot tell a curve from a
    line, so then cells move evenly on a straight line.

    Parameters
    ----------
    times
        Train times, ascending, (T,).
    means
        Mean of the cells at each of them, (T × k).
    at
        Target between two train times.
    power
        Power of time on which cells move evenly. None averages :data:`POWERS`.
    """
    since, target = (times - times[0]) / (times[-1] - times[0]), (at - times[0]) / (times[-1] - times[0])
    first = int(np.searchsorted(times, at)) - 1
    powers: tuple[float, ...] = POWERS if power is None else (power,)
    lengths: tuple[float | None, ...] = (None, *LENGTHS)
    if len(times) < 3:
        powers, lengths = (1.0 if power is None else power,), (None,)
    models = list(product(powers, lengths))
    counted = _n_coordinates(means)
    fits = [_fit(since**p, target**p, length, means, counted) for p, length in models]
    likely = np.array([fit[0] for fit in fits])
    chance = np.exp(likely - likely.max())
    chance /= chance.sum()
    clocks = np.array([p for p, _ in models])
    shares = (target**clocks - since[first] ** clocks) / (since[first + 1] ** clocks - since[first] ** clocks)
    rough = np.array([length is None for _, length in models])
    return Curve(
        weights=chance @ np.array([fit[1] for fit in fits]),
        share=float(chance @ shares),
        first=first,
        straight=float(chance @ rough),
        power=float(chance @ clocks),
    )


def _fit(
    since: np.ndarray, target: float, length: float | None, means: np.ndarray, counted: float
) -> tuple[float, np.ndarray]:
    """Logarithm of the marginal likelihood, and the weights of the times. The constant and the variance are free."""
    from sklearn.gaussian_process.kernels import Matern

    kernel = Matern(_STRAIGHT, nu=0.5) if length is None else Matern(length, nu=2.5)
    n = len(since)
    covariance = kernel(since[:, None]) + _NUGGET * np.eye(n)
    of_target = kernel(np.array([[target]]), since[:, None])[0]
    system = np.ones((n + 1, n + 1))
    system[:n, :n], system[n, n] = covariance, 0
    weights = np.linalg.solve(system, np.append(of_target, 1.0))[:n]

    steps = np.diff(np.eye(n), axis=0)  # differences of neighbouring times do not depend on the constant
    within, change = steps @ covariance @ steps.T, steps @ means
    variance = float(np.sum(change * np.linalg.solve(within, change))) / change.size
    log_determinant = float(np.linalg.slogdet(within)[1])
    likely = -0.5 * (log_determinant + (n - 1) * np.log(max(variance, 1e-300)))
    return counted * likely, weights


def _n_coordinates(means: np.ndarray) -> float:
    """Number of coordinates of the same variance that would be as correlated over time as these are."""
    variances = means.var(axis=0)
    return float(variances.sum() ** 2 / max((variances**2).sum(), 1e-300))
