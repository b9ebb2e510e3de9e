"""Middle times: cells that travel along curved transport, blended with cells of both sides."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.spatial.distance import cdist

from heldout._core.method import Fitted
from heldout.tasks.forecast.config import BlendConfig
from heldout.tasks.forecast.paths import draw, interval_of, stayed, travelled
from heldout.tasks.forecast.shared import shared_couplings
from heldout.tasks.forecast.stored import keep_cells, kept_cells, nearest, thinned

if TYPE_CHECKING:
    from heldout.tasks.forecast.interface import Snapshots

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
POWERS = (0.6, 0.8, 1.0, 1.25)
CURVATURES = (0.0, 0.5, 1.0)
PRIOR = {"weight": 0.5, "power": 1.0, "curvature": 1.0}
"""Candidates, and what is taken if there is no inner train time to learn from."""

PENALTY = 0.5
"""Cost of a squared distance to the prior, in errors of persistence at one time. A power counts by its logarithm."""

_KEPT = 2000  # cells of a time; one problem of optimal transport
_LEARNT = 400  # cells of a time, to learn from
_JUDGED = 300


class Blend:
    """Cells on curved paths between likely pairs, and cells that stay at one side.

    What is learnt, by leaving out each inner train time in turn: how many cells stay, how fast cells move early and
    late, and how much their paths bend.
    """

    default_config: ClassVar[Any] = BlendConfig()
    min_times: ClassVar[int] = 2
    stochastic: ClassVar[bool] = False
    keeps_cells: ClassVar[bool] = False

    def fit(self, data: Snapshots, config: BlendConfig, *, seed: int) -> Fitted:
        """Learn the options that are not given, and keep cells."""
        chosen = learn(data.times, data.cells, config, seed=seed)
        chosen["n_neighbors"] = config.n_neighbors
        return Fitted(keep_cells(data, seed=seed, most=_KEPT), {"blend": chosen})

    @shared_couplings()
    def predict(
        self, fitted: Fitted, start: np.ndarray, start_time: float, at: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw as many cells as there are start cells. Start cells that are not kept travel as the nearest kept one."""
        times, cells = kept_cells(fitted)
        chosen = fitted.info["blend"]
        i = int(np.searchsorted(times, at)) - 1
        interval = interval_of(cells, i, n_neighbors=chosen["n_neighbors"])
        drawn = draw(interval, nearest(start, interval.before), rng)
        ends, target = clock(times, i, at, chosen["power"])
        share = (target - ends[1]) / (ends[2] - ends[1])
        moving, staying = travelled(drawn, ends, target, chosen["curvature"]), stayed(drawn, share)
        moving += np.where((drawn.side < share)[:, None], 0.0, start - interval.before[drawn.rows])
        return np.where((drawn.kind < chosen["weight"])[:, None], staying, moving)


def clock(times: np.ndarray, i: int, at: float, power: float) -> tuple[np.ndarray, float]:
    """The four train times around interval ``i`` and the target, as powers of the time since the first train time.

    With a power below 1 cells move fast at first and then more slowly, as after a treatment.
    """
    span = times[-1] - times[0]
    around = [times[j] if 0 <= j < len(times) else np.nan for j in range(i - 1, i + 3)]
    return ((np.array(around) - times[0]) / span) ** power, float(((at - times[0]) / span) ** power)


@shared_couplings()
def learn(times: np.ndarray, cells: list[np.ndarray], config: BlendConfig, *, seed: int) -> dict[str, Any]:
    """Choose the options that are None by leaving out inner train times. Returns JSON values.

    Each inner train time is predicted from the other train times. The error is the energy distance, relative to that
    of persistence. The options with the lowest mean error are taken. Deviations from :data:`PRIOR` have a cost, which
    falls with the number of times, so that a single time decides little.
    """
    given = {name: getattr(config, name) for name in PRIOR}
    found: dict[str, Any] = {name: PRIOR[name] if value is None else value for name, value in given.items()}
    inner = range(1, len(times) - 1)
    if not len(inner) or None not in given.values():
        return {**found, "origins": [], "skill_on_origins": []}
    few = [thinned(c, _LEARNT, seed=seed) for c in cells]
    powers, curvatures, weights = (
        candidates if given[name] is None else (given[name],)
        for name, candidates in (("power", POWERS), ("curvature", CURVATURES), ("weight", WEIGHTS))
    )
    errors = np.array([_errors(times, few, j, powers, curvatures, np.array(weights), config, seed) for j in inner])
    off = [_off(np.log(powers), 0.0), _off(curvatures, PRIOR["curvature"]), _off(weights, PRIOR["weight"])]
    cost = off[0][:, None, None] + off[1][:, None] + off[2]
    lost = np.nanmean(errors, axis=0) + PENALTY / len(errors) * cost
    best = np.unravel_index(np.nanargmin(lost), lost.shape)
    found = dict(
        zip(("power", "curvature", "weight"), (powers[best[0]], curvatures[best[1]], weights[best[2]]), strict=True)
    )
    skills = [round(1 - float(error[best]), 4) for error in errors]
    return {**found, "origins": [float(times[j]) for j in inner], "skill_on_origins": skills}


def _off(values: Any, prior: float) -> np.ndarray:
    return np.asarray((np.asarray(values) - prior) ** 2)


def _errors(
    times: np.ndarray,
    cells: list[np.ndarray],
    j: int,
    powers: tuple[float, ...],
    curvatures: tuple[float, ...],
    weights: np.ndarray,
    config: BlendConfig,
    seed: int,
) -> np.ndarray:
    """Error of every choice at the time ``j``, which is left out, (powers × curvatures × weights).

    The energy distance of a mixture is a quadratic function of its weights, so the distances between its parts suffice.
    """
    rest, others = [c for k, c in enumerate(cells) if k != j], np.delete(times, j)
    interval = interval_of(rest, j - 1, n_neighbors=config.n_neighbors)
    rng = np.random.default_rng(seed)
    drawn = draw(interval, np.sort(rng.permutation(max(_JUDGED, len(interval.before))) % len(interval.before)), rng)
    truth, first, last = (thinned(c, _JUDGED, seed=seed) for c in (cells[j], interval.before, interval.after))
    within, truth_first, truth_last = _within(truth), _between(truth, first), _between(truth, last)
    first_last, first_within, last_within = _between(first, last), _within(first), _within(last)
    before = 2 * truth_first - within - first_within
    found = np.empty((len(powers), len(curvatures), len(weights)))
    for (a, power), (b, curvature) in product(enumerate(powers), enumerate(curvatures)):
        ends, target = clock(others, j - 1, float(times[j]), power)
        share = (target - ends[1]) / (ends[2] - ends[1])
        moving = thinned(travelled(drawn, ends, target, curvature), _JUDGED, seed=seed)
        to_truth = (1 - weights) * _between(truth, moving)
        to_truth += weights * ((1 - share) * truth_first + share * truth_last)
        staying = (1 - share) ** 2 * first_within + share**2 * last_within + 2 * share * (1 - share) * first_last
        crossed = (1 - share) * _between(moving, first) + share * _between(moving, last)
        spread = (1 - weights) ** 2 * _within(moving) + weights**2 * staying + 2 * weights * (1 - weights) * crossed
        found[a, b] = 2 * to_truth - within - spread
    return found / before if before > 0 else np.full_like(found, np.nan)


def _between(X: np.ndarray, Y: np.ndarray) -> float:
    return float(cdist(X, Y).mean())


def _within(X: np.ndarray) -> float:
    """Mean distance between two different cells."""
    return float(cdist(X, X).sum() / (len(X) * (len(X) - 1)))
