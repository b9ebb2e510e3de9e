"""Middle times: cells that travel along curved transport, blended with cells of both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.spatial.distance import cdist

from heldout._core.method import Fitted
from heldout.metrics import wasserstein
from heldout.tasks.forecast.config import BlendConfig
from heldout.tasks.forecast.curves import curve_at
from heldout.tasks.forecast.damping import NOTHING
from heldout.tasks.forecast.growth import Pairing, multiplied
from heldout.tasks.forecast.paths import draw, interval_of, stayed, stays, travelled
from heldout.tasks.forecast.shared import shared_couplings
from heldout.tasks.forecast.stored import keep_cells, kept_cells, kept_growth, nearest, thinned

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout.tasks.forecast.curves import Curve
    from heldout.tasks.forecast.interface import Snapshots
    from heldout.tasks.forecast.paths import Passage

WEIGHTS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0)
PRIOR = 0.25
"""Candidates for the share of cells that stay, and the share that is taken if there is no inner train time."""

PENALTY = 0.5
"""Cost of a squared distance to the prior, in errors of persistence at one time."""

_KEPT = 2000  # cells of a time; one problem of optimal transport
_LEARNT = 400  # cells of a time, to learn from
_JUDGED = 300


class Blend:
    """Cells on curves between likely pairs, and cells that stay at one side if the pair is far apart.

    The curves follow from the means of all train times, see :func:`heldout.tasks.forecast.curves.curve_at`. How many
    cells stay is learnt by leaving out each inner train time in turn.
    """

    default_config: ClassVar[Any] = BlendConfig()
    min_times: ClassVar[int] = 2
    stochastic: ClassVar[bool] = False
    keeps_cells: ClassVar[bool] = False

    def fit(self, data: Snapshots, config: BlendConfig, *, seed: int) -> Fitted:
        """Learn how many cells stay if this is not given, and keep cells."""
        pairing = Pairing(data.times, data.cells, data.growth, config.estimate_growth)
        chosen = learn(pairing, config, seed=seed)
        chosen |= {"power": config.power, "curvature": config.curvature, "n_neighbors": config.n_neighbors}
        chosen |= {"estimate_growth": config.estimate_growth, "score": config.score}
        return Fitted(keep_cells(data, seed=seed, most=_KEPT), {"blend": chosen})

    @shared_couplings()
    def predict(
        self, fitted: Fitted, start: np.ndarray, start_time: float, at: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw as many cells as there are start cells. Start cells that are not kept travel as the nearest kept one."""
        times, cells = kept_cells(fitted)
        chosen = fitted.info["blend"]
        pairing = Pairing(times, cells, kept_growth(fitted), chosen.get("estimate_growth", False))
        interval = interval_of(pairing, int(np.searchsorted(times, at)) - 1, n_neighbors=chosen["n_neighbors"])
        curve = curve_at(times, interval.means, at, power=chosen["power"])
        rows, start = _grown(interval, nearest(start, interval.before), start, curve)
        drawn = draw(interval, rows, rng)
        moving, staying = travelled(drawn, curve, chosen["curvature"]), stayed(drawn, curve)
        moving += np.where((drawn.side < curve.share)[:, None], 0.0, start - interval.before[drawn.rows])
        return np.where(stays(drawn, chosen["weight"])[:, None], staying, moving)


@shared_couplings()
def learn(pairing: Pairing, config: BlendConfig, *, seed: int) -> dict[str, Any]:
    """Choose how many cells stay by leaving out inner train times. Returns JSON values.

    Each inner train time is predicted from the other train times. The error is the distance to its cells, relative to
    that of persistence. The weight with the lowest mean error is taken. Deviations from :data:`PRIOR` have a cost,
    which falls with the number of times, so that a single time decides little.
    """
    times = pairing.times
    inner = range(1, len(times) - 1)
    if not len(inner) or config.weight is not None:
        weight = PRIOR if config.weight is None else config.weight
        return {"weight": weight, "origins": [], "skill_on_origins": []}
    rows = [thinned(np.arange(len(c)), _LEARNT, seed=seed) for c in pairing.cells]
    cells = [c[kept] for c, kept in zip(pairing.cells, rows, strict=True)]
    rates = pairing.rates and [r[kept] for r, kept in zip(pairing.rates, rows, strict=True)]
    few = Pairing(times, cells, rates, pairing.estimate)
    errors = np.array([_errors(few, j, config, seed) for j in inner])
    lost = errors.mean(axis=0) + PENALTY / len(errors) * (np.array(WEIGHTS) - PRIOR) ** 2
    best = int(lost.argmin())
    skills = [round(1 - float(error), 4) for error in errors[:, best]]
    return {"weight": WEIGHTS[best], "origins": [float(times[j]) for j in inner], "skill_on_origins": skills}


def _errors(pairing: Pairing, j: int, config: BlendConfig, seed: int) -> np.ndarray:
    """Error of each weight at the time ``j``, which is left out, relative to persistence, (weights,)."""
    rest, truth = pairing.without(j), pairing.cells[j]
    interval = interval_of(rest, j - 1, n_neighbors=config.n_neighbors)
    curve = curve_at(rest.times, interval.means, float(pairing.times[j]), power=config.power)
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(interval.before))[:_JUDGED])
    drawn = draw(interval, _grown(interval, rows, interval.before[rows], curve)[0], rng)
    moving, staying = travelled(drawn, curve, config.curvature), stayed(drawn, curve)
    truth, start = (thinned(c, _JUDGED, seed=seed) for c in (truth, interval.before))
    distance_to_truth = _DISTANCES[config.score](truth)
    before, nothing = distance_to_truth(start), NOTHING * _within(truth)
    clouds = [np.where(stays(drawn, weight)[:, None], staying, moving) for weight in WEIGHTS]
    return np.array([distance_to_truth(cloud) for cloud in clouds]) / max(before, nothing)


def _energy_distance_to(truth: np.ndarray) -> Callable[[np.ndarray], float]:
    within = _within(truth)
    return lambda cells: 2 * _between(truth, cells) - within - _within(cells)


def _wasserstein_to(truth: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda cells: wasserstein(truth, cells)


_DISTANCES = {"energy_distance": _energy_distance_to, "wasserstein": _wasserstein_to}


def _grown(interval: Passage, rows: np.ndarray, start: np.ndarray, curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Rows and start cells in proportion to their descendants at the target."""
    if interval.mass is None:
        return rows, start
    grown = multiplied(interval.mass[rows] ** curve.share)
    return rows[grown], start[grown]


def _between(X: np.ndarray, Y: np.ndarray) -> float:
    return float(cdist(X, Y).mean())


def _within(X: np.ndarray) -> float:
    """Mean distance between two different cells."""
    return float(cdist(X, X).sum() / (len(X) * (len(X) - 1)))
