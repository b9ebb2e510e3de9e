"""Weights of a mixture of forecasts: the energy distance of a mixture is a quadratic form in the weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.stacking import nonnegative_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

_NO_SHRINKAGE = 1e-6
"""Strength with which the part of the past that no mixture explains is measured."""


_NEGLIGIBLE = 0.02
"""Candidates with a smaller weight are left out."""


@dataclass(frozen=True)
class Past:
    """Distances of B backtests of M candidates, of which one is persistence.

    Parameters
    ----------
    within
        Mean distance of two cells of candidates i and j, (B × M × M). Cells that are the same start cell are not
        compared.
    to_truth
        Mean distance of a cell of a candidate and an observed cell, (B × M).
    of_truth
        Mean distance of two observed cells, (B,).
    least
        Smallest distance that a gain is relative to, (B,). Otherwise a backtest in which little changes would count for
        more than all others.
    ahead
        How far ahead the target was, in longest steps between the times before it, (B,).
    evidence
        How much each backtest counts, 0 to 1, (B,).
    at
        Time that was predicted, (B,). Backtests of the same time are never used to weight each other.
    reference
        Number of persistence among the candidates.
    """

    within: np.ndarray
    to_truth: np.ndarray
    of_truth: np.ndarray
    least: np.ndarray
    ahead: np.ndarray
    evidence: np.ndarray
    at: np.ndarray
    reference: int

    def distances(self, weights: np.ndarray) -> np.ndarray:
        """Energy distance of a mixture to the observed cells in each backtest, (B,)."""
        return np.asarray(
            2 * self.to_truth @ weights - np.einsum("bij,i,j->b", self.within, weights, weights) - self.of_truth
        )

    def alone(self, candidate: int) -> np.ndarray:
        """Weights of one candidate alone, (M,)."""
        return np.eye(self.to_truth.shape[1])[candidate]

    @property
    def scale(self) -> np.ndarray:
        """Distance that a gain is relative to, (B,): that of persistence, or the least."""
        return np.asarray(np.maximum(self.distances(self.alone(self.reference)), self.least))

    def gains(self, weights: np.ndarray) -> np.ndarray:
        """How much nearer than persistence a mixture is in each backtest, (B,), relative to ``scale``."""
        return np.asarray((self.distances(self.alone(self.reference)) - self.distances(weights)) / self.scale)

    def only(self, rows: np.ndarray) -> Past:
        """Some of the backtests."""
        return replace(
            self,
            within=self.within[rows],
            to_truth=self.to_truth[rows],
            of_truth=self.of_truth[rows],
            least=self.least[rows],
            ahead=self.ahead[rows],
            evidence=self.evidence[rows],
            at=self.at[rows],
        )


@dataclass(frozen=True)
class Choice:
    """Weights of a mixture, and what led to them.

    Parameters
    ----------
    weights
        Weights of the candidates, (M,). They sum to 1.
    gains
        Gain in each backtest with weights from the backtests of other times, (B,). NaN if there is only one time.
    reason
        ``mixture``, ``prior`` or ``persistence``: what was best on backtests that had no part in it.
    """

    weights: np.ndarray
    gains: np.ndarray
    reason: str


def choose(past: Past, prior: np.ndarray, *, ahead: float, shrinkage: float) -> Choice:
    """Choose the weights for a target that is ``ahead`` longest steps away.

    The candidates are stacked: the weights are those with the lowest energy distance on the backtests, shrunk towards
    ``prior``. Each backtest is then predicted with weights from the backtests of all other times. If the mixture is
    worse there than the prior, the prior is used, and if the better of the two is worse than persistence, persistence
    is used.

    Parameters
    ----------
    past
        The backtests.
    prior
        Weights without any evidence, (M,).
    ahead
        Horizon of the target. A backtest counts less if its horizon differs by a large factor.
    shrinkage
        Strength of the shrinkage with one whole backtest whose truth no mixture explains.
    """
    n = len(past.ahead)
    standing_still = past.alone(past.reference)
    if not n:
        return Choice(prior, np.full(0, np.nan), "prior")
    evidence = past.evidence * np.exp(-np.abs(np.log(past.ahead / ahead)))
    weights = _stacked(past, evidence, prior, shrinkage)
    known = np.unique(past.at)
    if len(known) == 1:
        return Choice(weights, np.full(n, np.nan), "mixture")
    of_mixture = np.empty(n)
    for time in known:
        there = past.at == time
        left_out = _stacked(past.only(~there), evidence[~there], prior, shrinkage)
        of_mixture[there] = past.only(there).gains(left_out)
    found = {"mixture": (weights, of_mixture), "prior": (prior, past.gains(prior))}
    found["persistence"] = (standing_still, np.zeros(n))
    best = max(found, key=lambda name: round(float(evidence @ found[name][1]), 6))
    if np.allclose(found[best][0], standing_still):
        best = "persistence"
    return Choice(*found[best], best)


def _stacked(past: Past, evidence: np.ndarray, prior: np.ndarray, shrinkage: float) -> np.ndarray:
    """Weights with the lowest energy distance, shrunk by the part of the past that no mixture explains."""
    factors = [_factor(past, b) * np.sqrt(evidence[b] / past.scale[b]) for b in range(len(evidence))]
    predictions, truth = np.concatenate([f[:, :-1] for f in factors]), np.concatenate([f[:, -1] for f in factors])
    free = nonnegative_weights(predictions, truth, prior, strength=_NO_SHRINKAGE, sum_to_one=True)
    unexplained = min(1.0, float(((truth - predictions @ free) ** 2).sum() / max((truth**2).sum(), 1e-12)))
    strength = max(shrinkage * unexplained / evidence.sum(), _NO_SHRINKAGE)
    weights = nonnegative_weights(predictions, truth, prior, strength=strength, sum_to_one=True)
    weights[weights < _NEGLIGIBLE] = 0
    return np.asarray(weights / weights.sum())


def _factor(past: Past, b: int) -> np.ndarray:
    """Columns whose squared distances are the energy distances of candidates and truth, (M + 1 × M + 1).

    The energy distance is a squared distance in a Hilbert space :cite:p:`szekely2013`, so a mixture is a mean of
    points there. Persistence is the origin, and the last column is the truth.
    """
    m = past.to_truth.shape[1]
    mean = np.empty((m + 1, m + 1))
    mean[:m, :m], mean[m, :m], mean[:m, m] = past.within[b], past.to_truth[b], past.to_truth[b]
    mean[m, m] = past.of_truth[b]
    inner = np.diag(mean)
    distance = 2 * mean - inner[:, None] - inner
    from_origin = distance[past.reference]
    values, vectors = np.linalg.eigh((from_origin[:, None] + from_origin - distance) / 2)
    return np.asarray(np.sqrt(values.clip(0))[:, None] * vectors.T)


def assigned(weights: Sequence[float] | np.ndarray, start: np.ndarray) -> np.ndarray:
    """Candidate of each start cell, in proportion to the weights, (n,).

    Cells are ordered along their first coordinate, and candidates follow each other in a sequence of low discrepancy.
    So each candidate gets an even share of all kinds of cells, without a random number.
    """
    order = np.argsort(start[:, 0], kind="stable")
    points = ((np.arange(len(start)) + 0.5) * _GOLDEN) % 1.0
    rank = np.empty(len(start), dtype=np.int64)
    rank[order] = np.argsort(np.argsort(points))
    ends = np.cumsum(weights) * len(start)
    return np.minimum(np.searchsorted(ends, rank + 0.5), np.flatnonzero(np.asarray(weights))[-1])


_GOLDEN = (np.sqrt(5) - 1) / 2
