"""Scores of predicted cells at one target time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from heldout.metrics import (
    change_correlation,
    change_sign_accuracy,
    energy_distance,
    mae,
    median_bandwidths,
    mmd,
    r2,
    rmse,
    split_half,
    variance_error,
    wasserstein,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from heldout.tasks.forecast.space import Space

DISTANCE = "energy_distance"
"""The metric that skill is computed from."""

_W2_CELLS = 300


@dataclass(frozen=True)
class Target:
    """One target time.

    Parameters
    ----------
    time, start_time
        The target time, and the time of the start cells.
    truth, last
        Observed cells at the target and start cells, (n × k) in the space of the fit.
    predicted
        Cells by method, the judged method first.
    seeds
        Cells of the judged method fitted with other seeds.
    groups
        Library of each observed cell, (n,), if there is one.
    """

    time: float
    start_time: float
    truth: np.ndarray
    last: np.ndarray
    predicted: dict[str, np.ndarray]
    seeds: list[np.ndarray] = field(default_factory=list)
    groups: np.ndarray | None = None


class Scorer:
    """Score predictions of one target. Quantities that do not depend on the prediction are computed once."""

    def __init__(self, truth: np.ndarray, last: np.ndarray, space: Space) -> None:
        self.truth, self.space = truth, space
        self.widths = median_bandwidths(truth)
        genes, before = space.decode(truth), space.decode(last)
        self.mean, self.last = genes.mean(axis=0), before.mean(axis=0)
        self.error = np.sqrt(genes.var(axis=0, ddof=1) / len(genes) + before.var(axis=0, ddof=1) / len(before))

    def __call__(self, cells: np.ndarray, *, primary: bool = False) -> dict[str, float]:
        """All metrics except skill. With ``primary`` only the energy distance."""
        distance = {DISTANCE: energy_distance(self.truth, cells)}
        if primary:
            return distance
        mean = self.space.decode(cells.mean(axis=0))
        change = (self.mean, mean, self.last)
        same = np.allclose(mean, self.last, rtol=0, atol=1e-9 * max(1.0, float(np.abs(self.last).max())))
        return {
            **distance,
            **self._distances(cells, self.truth),
            **_of_means(self.mean, mean),
            "change_correlation": np.nan if same else change_correlation(*change, error=self.error),
            "change_sign_accuracy": 0.5 if same else change_sign_accuracy(*change, error=self.error),
        }

    def _distances(self, cells: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        return {
            "mmd": mmd(truth, cells, bandwidths=self.widths),
            "variance_error": variance_error(truth, cells),
            "wasserstein2": wasserstein(truth, cells, p=2, n_max=_W2_CELLS),
        }

    def _one(self, name: str) -> Callable[[np.ndarray, np.ndarray], float]:
        return lambda a, b: self._distances(b, a)[name]

    def floor(self, groups: np.ndarray | None, of_halves: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
        """Scores of one half of the truth against the other half. Errors of means are scaled to whole samples.

        Parameters
        ----------
        groups
            Groups of which whole ones are halved, (n,), see :func:`halved`.
        of_halves
            Energy distances of halves.
        rng
            Generator that draws the halves of the other scores.
        """

        def halves(score: Callable[[np.ndarray, np.ndarray], float]) -> float:
            return float(split_half(self.truth, score, n=5, groups=groups, rng=rng).mean())

        def means(name: str) -> float:
            return halves(
                lambda a, b: _of_means(self.space.decode(a.mean(axis=0)), self.space.decode(b.mean(axis=0)))[name]
            )

        floor = {name: halves(self._one(name)) for name in ("mmd", "variance_error", "wasserstein2")}
        floor |= {name: means(name) / np.sqrt(2) for name in ("rmse", "mae")}
        return {DISTANCE: max(float(of_halves.mean()), 0.0), **floor, "r2": means("r2"), "skill_corrected": 1.0}


def halved(groups: np.ndarray | None) -> np.ndarray | None:
    """Groups of which whole ones are halved, if there are enough."""
    return groups if groups is not None and len(np.unique(groups)) >= 4 else None


def _of_means(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """Errors of the mean of each gene."""
    return {name: float(f(truth, prediction)) for name, f in (("rmse", rmse), ("mae", mae), ("r2", r2))}
