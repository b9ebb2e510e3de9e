"""Scores over independent groups, and weights to resample the groups. Cells are never resampled."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, prod
from typing import TYPE_CHECKING

import numpy as np

from heldout._core.html import fields_html
from heldout.metrics._checks import as_codes
from heldout.metrics.classification import calibration_parts, one_vs_rest, squared_errors

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("auc", "block_auc", "accuracy", "accuracy_calibrated", "loss", "brier", "calibration_error")

_SUMS = {"accuracy": "correct", "accuracy_calibrated": "calibrated"}


@dataclass(frozen=True)
class GroupScores:
    """Sums per group from which each score follows for any weights of the groups.

    A bootstrap over groups with all their cells is then a product of small matrices, and exact.

    Parameters
    ----------
    labels
        Class number of each group, (G,).
    sizes, correct, loss, brier
        Number of cells, number of right cells, summed loss and summed squared error of each group, (G,).
    wins
        For each scored class, the number of correctly ranked pairs (cell in group i of the class, cell in group j of
        another class), (n_scored × G × G). A tie counts one half.
    scored
        The classes of ``wins``: class 1 for two classes, otherwise all.
    calibration
        For each bin of the probability, the sum over cells of outcome minus probability, (n_bins × G).
    blocks
        Block number of each group, (G,), or None.
    calibrated
        Number of cells of each group that are right at the threshold of ``group_scores``, (G,), or None.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> log_p = np.log([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    >>> scores = ho.metrics.group_scores(np.array([0, 0, 1]), log_p, np.array([0, 1, 2]))
    >>> scores.evaluate("accuracy", np.array([[1, 1, 1], [2, 0, 1]])).round(2).tolist()
    [0.67, 1.0]
    """

    labels: np.ndarray
    sizes: np.ndarray
    correct: np.ndarray
    loss: np.ndarray
    brier: np.ndarray
    wins: np.ndarray
    scored: tuple[int, ...]
    calibration: np.ndarray
    blocks: np.ndarray | None = None
    calibrated: np.ndarray | None = None

    def _repr_html_(self) -> str:
        return fields_html(self)

    def evaluate(self, metric: str, weights: np.ndarray) -> np.ndarray:
        """Return the value of a metric for each row of ``weights`` (B × G), (B,).

        Weights of 1 for all groups give the estimate itself.
        """
        if metric == "auc":
            return self._auc(weights)
        if metric == "block_auc":
            return self._block_auc(weights)
        n = weights @ self.sizes
        if metric == "calibration_error":
            return np.asarray(abs(weights @ self.calibration.T).sum(axis=1) / n)
        return np.asarray(weights @ getattr(self, _SUMS.get(metric, metric)) / n)

    def _block_auc(self, weights: np.ndarray) -> np.ndarray:
        """Average over the blocks that have every class. A block counts once, however often its groups were drawn."""
        if self.blocks is None:
            return np.full(len(weights), np.nan)
        of_block = np.stack([self._auc(weights * (self.blocks == block)) for block in np.unique(self.blocks)])
        known = np.isfinite(of_block)
        n = known.sum(axis=0)
        return np.divide(np.where(known, of_block, 0).sum(axis=0), n, out=np.full(len(weights), np.nan), where=n > 0)

    def _auc(self, weights: np.ndarray) -> np.ndarray:
        of_class = []
        for number, wins in zip(self.scored, self.wins, strict=True):
            inside, outside = weights * (self.labels == number), weights * (self.labels != number)
            pairs = (inside @ self.sizes) * (outside @ self.sizes)
            won = ((inside @ wins) * outside).sum(axis=1)
            of_class.append(np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0))
        return np.mean(of_class, axis=0)


def group_scores(
    labels: np.ndarray | pd.Categorical | pd.Series,
    log_probability: np.ndarray,
    groups: np.ndarray | pd.Categorical | pd.Series,
    *,
    blocks: np.ndarray | pd.Categorical | pd.Series | None = None,
    threshold: float | None = None,
) -> GroupScores:
    """Collect :class:`GroupScores` from cells.

    Parameters
    ----------
    labels
        Class number of each cell, (n,), the same for all cells of a group. Or a categorical, whose categories are the
        columns of ``log_probability`` in this order.
    log_probability
        Log-probabilities of the cells, (n × n_classes).
    groups
        Group number of each cell, (n,), 0 to G - 1. Or a categorical or names; groups are then in the order of the
        categories that occur, or of the sorted names.
    blocks
        Block of each group, (G,), in the order of the groups. Needed for ``block_auc``.
    threshold
        Log-odds of class 1 above which class 1 is predicted, for two classes. Needed for ``accuracy_calibrated``.

    Raises
    ------
    ValueError
        If lengths differ, a value is missing, or a label has no column in ``log_probability``.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> log_p = np.log([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    >>> scores = ho.metrics.group_scores(np.array([0, 0, 1]), log_p, np.array([0, 1, 2]))
    >>> scores.evaluate("auc", np.ones((1, 3))).tolist()
    [1.0]
    """
    labels, groups = as_codes(labels, "labels", keep=True), as_codes(groups, "groups")
    blocks = None if blocks is None else as_codes(blocks, "blocks")
    n_groups, n_classes = int(groups.max()) + 1, log_probability.shape[1]
    if (
        len(labels) != len(log_probability)
        or len(groups) != len(labels)
        or not 0 <= labels.min() <= labels.max() < n_classes
    ):
        msg = (
            f"labels (n = {len(labels)}, classes {labels.min()} to {labels.max()}) and groups (n = {len(groups)}) must "
            f"have a class from 0 to {n_classes - 1} and a group for each of the {len(log_probability)} rows of "
            "log_probability."
        )
        raise ValueError(msg)
    label_of = np.zeros(n_groups, dtype=int)
    label_of[groups] = labels
    correct = (log_probability.argmax(axis=1) == labels).astype(float)
    loss = -log_probability[np.arange(len(labels)), labels].astype(float)
    odds = one_vs_rest(log_probability)
    scored = (1,) if n_classes == 2 else tuple(range(n_classes))
    wins = np.stack([_wins(odds[:, c], groups, label_of, c) for c in scored])
    probability, happened, bins = calibration_parts(labels, log_probability)
    calibration = np.zeros((int(bins.max()) + 1, n_groups))
    np.add.at(calibration, (bins, groups), happened - probability)
    calibrated = None
    if threshold is not None:
        right = ((odds[:, 1] > threshold) == (labels == 1)).astype(float)
        calibrated = np.bincount(groups, right, minlength=n_groups)
    return GroupScores(
        labels=label_of,
        sizes=np.bincount(groups, minlength=n_groups).astype(float),
        correct=np.bincount(groups, correct, minlength=n_groups),
        loss=np.bincount(groups, loss, minlength=n_groups),
        brier=np.bincount(groups, squared_errors(labels, log_probability), minlength=n_groups),
        wins=wins,
        scored=scored,
        calibration=calibration,
        blocks=blocks,
        calibrated=calibrated,
    )


def _wins(score: np.ndarray, groups: np.ndarray, label_of: np.ndarray, number: int) -> np.ndarray:
    wins = np.zeros((len(label_of), len(label_of)))
    inside = np.flatnonzero(label_of[groups] == number)
    for other in np.flatnonzero(label_of != number):
        ordered = np.sort(score[groups == other])
        below = np.searchsorted(ordered, score[inside], side="left")
        not_above = np.searchsorted(ordered, score[inside], side="right")
        wins[:, other] = np.bincount(groups[inside], (below + not_above) / 2, minlength=len(label_of))
    return wins


def bootstrap_weights(labels: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw bootstrap weights over groups, stratified by class, (n × G): how often each group was drawn.

    Parameters
    ----------
    labels
        Class number of each group, (G,).
    n
        Number of draws.
    rng
        Source of randomness.

    Notes
    -----
    If a class has few groups, a percentile interval from these draws is too narrow, because they vary less than new
    groups.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> ho.metrics.bootstrap_weights(np.array([0, 0, 1]), 2, np.random.default_rng(0)).sum(axis=1).tolist()
    [3.0, 3.0]
    """
    weights = np.zeros((n, len(labels)))
    for number in np.unique(labels):
        members = np.flatnonzero(labels == number)
        weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=n)
    return weights


def jackknife_weights(labels: np.ndarray) -> np.ndarray:
    """Return weights that leave out each group in turn, (G × G).

    The other groups of the same class get a larger weight, so that the weights of a class keep their sum.

    Parameters
    ----------
    labels
        Class number of each group, (G,). If a class has one group, its row is NaN.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> ho.metrics.jackknife_weights(np.array([0, 0, 1, 1, 1]))[2].tolist()
    [1.0, 1.0, 0.0, 1.5, 1.5]
    """
    size = np.bincount(labels)[labels].astype(float)
    more = np.divide(size, size - 1, out=np.full(len(size), np.nan), where=size > 1)
    weights = np.where(labels[:, None] == labels, more[:, None], 1.0)
    weights[np.diag_indices(len(labels))] = np.where(size > 1, 0.0, np.nan)
    return weights


def smallest_p(labels: np.ndarray, blocks: np.ndarray | None = None) -> float:
    """Return the smallest p-value that any permutation test of these group labels can reach.

    It is 1 divided by the number of distinct orders of the labels.

    Parameters
    ----------
    labels
        Class number of each group, (G,).
    blocks
        Block of each group, (G,), within which labels can be exchanged. If None, all groups form one block.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> round(ho.metrics.smallest_p(np.array([0, 0, 1, 1])), 3)
    0.167
    """
    numbers = np.zeros(len(labels), dtype=int) if blocks is None else np.unique(blocks, return_inverse=True)[1]
    return 1 / prod((n_orders(labels[numbers == number]) for number in np.unique(numbers)), start=1)


def n_orders(labels: np.ndarray) -> int:
    """Count the distinct orders of some labels."""
    counts = np.unique(labels, return_counts=True)[1].tolist()
    return prod(comb(sum(counts[i:]), counts[i]) for i in range(len(counts)))
