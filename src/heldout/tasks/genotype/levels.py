"""Estimates, intervals, differences and tests at one level: of groups, or of their cells."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.metric import metric_of
from heldout._core.verdict import FEW, verdict
from heldout.metrics.classification import one_vs_rest
from heldout.metrics.inference import METRICS, bootstrap_weights, jackknife_weights, smallest_p
from heldout.metrics.intervals import difference_interval, jackknife_interval, proportion_interval
from heldout.metrics.paired import auc_interval_paired, complete_pairs
from heldout.metrics.permutation import auc_permutation, swap_test
from heldout.metrics.several_classes import class_auc_permutation
from heldout.metrics.skill import Interval
from heldout.metrics.unequal import auc_interval_unequal

if TYPE_CHECKING:
    from heldout.metrics.inference import GroupScores
    from heldout.metrics.permutation import Permutation

ALPHA = 0.05
_NOTHING = 1e-9
RANKS = ("auc", "block_auc")


@dataclass(frozen=True)
class Design:
    """The groups that are evaluated.

    Parameters
    ----------
    labels
        Class number of each group, (G,).
    n_classes
        Number of classes.
    blocks
        Block number of each group, (G,), within which labels could have been exchanged, or None.
    """

    labels: np.ndarray
    n_classes: int
    blocks: np.ndarray | None = None

    @cached_property
    def smallest(self) -> int:
        """Number of groups of the smallest class."""
        return int(np.bincount(self.labels, minlength=self.n_classes).min())

    @cached_property
    def smallest_p(self) -> float:
        """Smallest p that any result can have."""
        return smallest_p(self.labels, self.blocks)

    @cached_property
    def pairs(self) -> np.ndarray | None:
        """Rows of the two groups of each complete pair, (P × 2), if the blocks are pairs."""
        return complete_pairs(self.labels, self.blocks)

    @cached_property
    def jackknife(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights that leave out each independent unit in turn, (U × G), and the stratum of each unit, (U,).

        In a paired design a unit is a pair. Otherwise it is a group, and the strata are the classes.
        """
        if self.pairs is None or self.blocks is None:
            return jackknife_weights(self.labels), self.labels
        weights = (np.unique(self.blocks)[:, None] != self.blocks).astype(float)
        return weights, np.zeros(len(weights), dtype=int)

    @cached_property
    def has_mixed_block(self) -> bool:
        """Whether a block has every class, so that there is an AUC within blocks."""
        if self.blocks is None:
            return False
        return any(len(np.unique(self.labels[self.blocks == b])) == self.n_classes for b in np.unique(self.blocks))


@dataclass(frozen=True)
class Level:
    """Scores of each method at one level. Subclasses define the intervals."""

    name: str
    n: int
    design: Design
    scores: dict[str, GroupScores]
    weights: np.ndarray
    _draws: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)

    def metrics(self) -> list[str]:
        """Metrics that are defined at this level."""
        any_scores = next(iter(self.scores.values()))
        absent = set() if any_scores.calibrated is not None else {"accuracy_calibrated"}
        has_blocks = self.design.has_mixed_block
        return [name for name in METRICS if name not in absent and (has_blocks or name != "block_auc")]

    def estimate(self, method: str, metric: str) -> float:
        """Score over all groups."""
        return float(self.scores[method].evaluate(metric, np.ones((1, len(self.design.labels))))[0])

    def draws(self, method: str, metric: str) -> np.ndarray:
        """Score of each bootstrap draw."""
        if (method, metric) not in self._draws:
            self._draws[method, metric] = self.scores[method].evaluate(metric, self.weights)
        return self._draws[method, metric]

    def interval(self, method: str, metric: str) -> Interval:
        """95 % interval. NaN if there is none."""
        estimate = self.estimate(method, metric)
        if self.design.smallest < 2 or metric == "calibration_error":
            return Interval(estimate, np.nan, np.nan, self.design.smallest)
        found = self._interval(estimate, method, metric)
        low, high = np.clip([found.low, found.high], *metric_of(metric).bounds)  # ± t × se can pass an end of the range
        return found._replace(low=float(low), high=float(high))

    def difference(self, method: str, other: str, metric: str) -> Interval:
        """95 % interval of the paired difference."""
        estimate = self.estimate(method, metric) - self.estimate(other, metric)
        if abs(estimate) < _NOTHING and self._same(method, other):
            return Interval(0.0, 0.0, 0.0, self.design.smallest)
        if self.design.smallest < 2 or metric == "calibration_error":
            return Interval(estimate, np.nan, np.nan, self.design.smallest)
        return self._difference(estimate, method, other, metric)

    def test(self, method: str, metric: str) -> Permutation | None:
        """One-sided exact test of an AUC. None at the level of cells."""
        return None

    def difference_test(self, method: str, other: str, metric: str) -> float:
        """Two-sided p of a paired difference of AUCs. NaN at the level of cells."""
        return np.nan

    def verdict(self, method: str, other: str, metric: str) -> str:
        """Verdict on a difference. It is ``unidentifiable`` if no result on so few groups can be significant."""
        if self.design.smallest_p > ALPHA or not np.isfinite(self.estimate(method, metric)):
            return "unidentifiable"
        found = self.difference(method, other, metric)
        decided = verdict(found.low, found.high, sign=metric_of(metric).sign)
        if decided == "unidentifiable":  # there is no interval, although so many groups could decide
            return "undecided"
        no_difference = decided == "not better" and found.low == found.high
        return decided if no_difference or self._decides(method, other, metric) else "undecided"

    def _decides(self, method: str, other: str, metric: str) -> bool:
        raise NotImplementedError

    def _interval(self, estimate: float, method: str, metric: str) -> Interval:
        low, high = np.percentile(self.draws(method, metric), [2.5, 97.5])
        return Interval(estimate, float(low), float(high), self.design.smallest)

    def _difference(self, estimate: float, method: str, other: str, metric: str) -> Interval:
        low, high = np.percentile(self.draws(method, metric) - self.draws(other, metric), [2.5, 97.5])
        return Interval(estimate, float(low), float(high), self.design.smallest)

    def _same(self, method: str, other: str) -> bool:
        a, b = self.scores[method], self.scores[other]
        return np.array_equal(a.wins, b.wins) and np.allclose(a.loss, b.loss, rtol=_NOTHING)


class CellLevel(Level):
    """Cells. The bootstrap draws whole groups; with few groups it gives no verdict."""

    def _decides(self, method: str, other: str, metric: str) -> bool:
        return self.design.smallest >= FEW


@dataclass(frozen=True)
class GroupLevel(Level):
    """Groups, each with one prediction.

    The AUC of two classes and shares have intervals that are valid with few groups, and if the classes differ in
    spread. Means have the interval of the jackknife. An AUC of more classes has a bootstrap interval. If the blocks are
    pairs, the interval of the AUC uses the correlation within pairs, and the jackknife leaves out pairs.
    """

    scores_of: dict[str, np.ndarray] = field(default_factory=dict)
    """Log-odds of each class of each group, by method, (G × n_classes)."""

    def test(self, method: str, metric: str) -> Permutation | None:
        """Test of the AUC by exchanging labels within the blocks, conditional on the fit."""
        if metric not in RANKS or self.design.smallest < 1:
            return None
        within, scores, blocks = metric == "block_auc", self.scores_of[method], self.design.blocks
        if self.design.n_classes > 2:
            return None if within else class_auc_permutation(self.design.labels, scores, blocks=blocks)
        return auc_permutation(self.design.labels, scores[:, 1], blocks=blocks, within=within, statistic="studentised")

    def difference_test(self, method: str, other: str, metric: str) -> float:
        """Exact p of the difference in AUC, by swapping the two methods group by group."""
        if metric != "auc" or self.design.n_classes != 2:
            return np.nan
        return swap_test(self.design.labels, self.scores_of[method][:, 1], self.scores_of[other][:, 1])

    def _interval(self, estimate: float, method: str, metric: str) -> Interval:
        if metric in RANKS and self.design.n_classes == 2:
            score, blocks = self.scores_of[method][:, 1], self.design.blocks
            if metric == "auc" and blocks is not None and self.design.pairs is not None:
                return auc_interval_paired(self.design.labels, score, pairs=blocks)
            return auc_interval_unequal(self.design.labels, score, blocks=blocks if metric == "block_auc" else None)
        if metric.startswith("accuracy"):
            return proportion_interval(estimate * self.n, self.n)
        if metric in RANKS:
            return super()._interval(estimate, method, metric)
        return jackknife_interval(estimate, self._without(method, metric), self.design.jackknife[1])

    def _difference(self, estimate: float, method: str, other: str, metric: str) -> Interval:
        without = self._without(method, metric), self._without(other, metric)
        if metric_of(metric).lower_is_better:
            return jackknife_interval(estimate, without[0] - without[1], self.design.jackknife[1])
        if metric in RANKS and self.design.n_classes != 2:
            return super()._difference(estimate, method, other, metric)
        intervals = self.interval(method, metric), self.interval(other, metric)
        return difference_interval(*intervals, without[0], without[1], self.design.jackknife[1])

    def _decides(self, method: str, other: str, metric: str) -> bool:
        p = self.difference_test(method, other, metric)
        return bool(np.isnan(p) or p <= ALPHA)

    def _without(self, method: str, metric: str) -> np.ndarray:
        """Score without each independent unit, (U,)."""
        return self.scores[method].evaluate(metric, self.design.jackknife[0])


def levels_of(
    unit: str,
    labels: np.ndarray,
    groups: np.ndarray,
    design: Design,
    scores: tuple[dict[str, GroupScores], dict[str, GroupScores]],
    pooled: dict[str, np.ndarray],
    *,
    n_bootstrap: int,
    rng: np.random.Generator,
) -> list[Level]:
    """Level of groups and level of cells, with the same bootstrap draws. ``scores`` and ``pooled`` are by method."""
    weights = bootstrap_weights(design.labels, n_bootstrap, rng)
    odds = {method: one_vs_rest(p) for method, p in pooled.items()}
    return [
        GroupLevel(unit, len(design.labels), design, scores[0], weights, scores_of=odds),
        CellLevel("cell", len(labels), design, scores[1], weights),
    ]
