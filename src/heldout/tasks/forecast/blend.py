"""Middle times: cells that travel along curved transport, blended with cells of both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.spatial.distance import cdist

from heldout._core.method import Fitted
from heldout.tasks.forecast.config import BlendConfig
from heldout.tasks.forecast.curves import curve_at
from heldout.tasks.forecast.damping import NOTHING
from heldout.tasks.forecast.paths import draw, interval_of, stayed, stays, travelled
from heldout.tasks.forecast.shared import shared_couplings
from heldout.tasks.forecast.stored import keep_cells, kept_cells, nearest, thinned

if TYPE_CHECKING:
    from heldout.tasks.forecast.interface import Snapshots

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
PRIOR = 0.5
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
        chosen = learn(data.times, data.cells, config, seed=seed)
        chosen |= {"power": config.power, "curvature": config.curvature, "n_neighbors": config.n_neighbors}
        return Fitted(keep_cells(data, seed=seed, most=_KEPT), {"blend": chosen})

    @shared_couplings()
    def predict(
        self, fitted: Fitted, start: np.ndarray, start_time: float, at: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw as many cells as there are start cells. Start cells that are not kept travel as the nearest kept one."""
        times, cells = kept_cells(fitted)
        chosen = fitted.info["blend"]
        interval = interval_of(cells, int(np.searchsorted(times, at)) - 1, n_neighbors=chosen["n_neighbors"])
        curve = curve_at(times, interval.means, at, power=chosen["power"])
        drawn = draw(interval, nearest(start, interval.before), rng)
        moving, staying = travelled(drawn, curve, chosen["curvature"]), stayed(drawn, curve)
        moving += np.where((drawn.side < curve.share)[:, None], 0.0, start - interval.before[drawn.rows])
        return np.where(stays(drawn, chosen["weight"])[:, None], staying, moving)


@shared_couplings()
def learn(times: np.ndarray, cells: list[np.ndarray], config: BlendConfig, *, seed: int) -> dict[str, Any]:
    """Choose how many cells stay by leaving out inner train times. Returns JSON values.

    Each inner train time is predicted from the other train times. The error is the energy distance, relative to that
    of persistence. The weight with the lowest mean error is taken. Deviations from :data:`PRIOR` have a cost, which
    falls with the number of times, so that a single time decides little.
    """
    inner = range(1, len(times) - 1)
    if not len(inner) or config.weight is not None:
        weight = PRIOR if config.weight is None else config.weight
        return {"weight": weight, "origins": [], "skill_on_origins": []}
    few = [thinned(c, _LEARNT, seed=seed) for c in cells]
    errors = np.array([_errors(times, few, j, config, seed) for j in inner])
    lost = errors.mean(axis=0) + PENALTY / len(errors) * (np.array(WEIGHTS) - PRIOR) ** 2
    best = int(lost.argmin())
    skills = [round(1 - float(error), 4) for error in errors[:, best]]
    return {"weight": WEIGHTS[best], "origins": [float(times[j]) for j in inner], "skill_on_origins": skills}


def _errors(times: np.ndarray, cells: list[np.ndarray], j: int, config: BlendConfig, seed: int) -> np.ndarray:
    """Error of each weight at the time ``j``, which is left out, relative to persistence, (weights,)."""
    rest, others = [c for k, c in enumerate(cells) if k != j], np.delete(times, j)
    interval = interval_of(rest, j - 1, n_neighbors=config.n_neighbors)
    curve = curve_at(others, interval.means, float(times[j]), power=config.power)
    rng = np.random.default_rng(seed)
    drawn = draw(interval, np.sort(rng.permutation(len(interval.before))[:_JUDGED]), rng)
    moving, staying = travelled(drawn, curve, config.curvature), stayed(drawn, curve)
    truth, start = (thinned(c, _JUDGED, seed=seed) for c in (cells[j], interval.before))
    within = _within(truth)
    before = 2 * _between(truth, start) - within - _within(start)
    found = []
    for weight in WEIGHTS:
        predicted = np.where(stays(drawn, weight)[:, None], staying, moving)
        found.append(2 * _between(truth, predicted) - within - _within(predicted))
    return np.array(found) / max(before, NOTHING * within)


def _between(X: np.ndarray, Y: np.ndarray) -> float:
    return float(cdist(X, Y).mean())


def _within(X: np.ndarray) -> float:
    """Mean distance between two different cells."""
    return float(cdist(X, X).sum() / (len(X) * (len(X) - 1)))
