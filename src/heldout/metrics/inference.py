"""Intervals over independent groups, never over cells."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, prod

import numpy as np

from heldout.metrics.classification import calibration_parts, one_vs_rest, squared_errors

METRICS = ("auc", "block_auc", "accuracy", "accuracy_calibrated", "loss", "brier", "calibration_error")

_SUMS = {"accuracy": "correct", "accuracy_calibrated": "calibrated"}


@dataclass(frozen=True)
class GroupScores:
    """Sums from which every score follows for any weights on the groups.

    A bootstrap over groups with all their cells then is a product of small matrices, and exact.

    Parameters
    ----------
    labels
        Class number of each group, (G,).
    sizes, correct, loss, brier
        Number of cells, of correct cells, summed loss and summed squared error of each group, (G,).
    wins
        For each class that is scored, the number of (cell in group i of the class, cell in group j of another) pairs
        that are ranked right, ties half, (n_scored × G × G).
    scored
        The classes that ``wins`` belongs to: class 1 of two, else all.
    calibration
        For each bin of the probability, the summed difference between what happened and what was said, (n_bins × G).
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

    def evaluate(self, metric: str, weights: np.ndarray) -> np.ndarray:
        """Value of a metric for each row of ``weights`` (B × G), (B,); all ones is the plain estimate."""
        if metric == "auc":
            return self._auc(weights)
        if metric == "block_auc":
            return self._block_auc(weights)
        n = weights @ self.sizes
        if metric == "calibration_error":
            return np.asarray(abs(weights @ self.calibration.T).sum(axis=1) / n)
        return np.asarray(weights @ getattr(self, _SUMS.get(metric, metric)) / n)

    def _block_auc(self, weights: np.ndarray) -> np.ndarray:
        """Mean over the blocks that have every class, each counted as often as any of it was drawn at all."""
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
    labels: np.ndarray,
    log_probability: np.ndarray,
    groups: np.ndarray,
    *,
    blocks: np.ndarray | None = None,
    threshold: float | None = None,
) -> GroupScores:
    """Collect :class:`GroupScores` from cells.

    Parameters
    ----------
    labels
        Class number of each cell, (n,); one class a group.
    log_probability
        Log-probabilities of the cells, (n × n_classes).
    groups
        Group number of each cell, (n,), 0 to G - 1.
    blocks
        Block number of each group, (G,); needed for ``block_auc``.
    threshold
        Log-odds of class 1 of two above which class 1 is said; needed for ``accuracy_calibrated``.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> log_p = np.log([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    >>> scores = ho.metrics.group_scores(np.array([0, 0, 1]), log_p, np.array([0, 1, 2]))
    >>> scores.evaluate("auc", np.ones((1, 3))).tolist()
    [1.0]
    """
    n_groups, n_classes = int(groups.max()) + 1, log_probability.shape[1]
    label_of = np.zeros(n_groups, dtype=int)
    label_of[groups] = labels
    hit = (log_probability.argmax(axis=1) == labels).astype(float)
    lost = -log_probability[np.arange(len(labels)), labels].astype(float)
    odds = one_vs_rest(log_probability)
    scored = (1,) if n_classes == 2 else tuple(range(n_classes))
    wins = np.stack([_wins(odds[:, c], groups, label_of, c) for c in scored])
    said, happened, bins = calibration_parts(labels, log_probability)
    calibration = np.zeros((int(bins.max()) + 1, n_groups))
    np.add.at(calibration, (bins, groups), happened - said)
    calibrated = None
    if threshold is not None:
        right = ((odds[:, 1] > threshold) == (labels == 1)).astype(float)
        calibrated = np.bincount(groups, right, minlength=n_groups)
    return GroupScores(
        labels=label_of,
        sizes=np.bincount(groups, minlength=n_groups).astype(float),
        correct=np.bincount(groups, hit, minlength=n_groups),
        loss=np.bincount(groups, lost, minlength=n_groups),
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
    """Weights of ``n`` bootstrap draws over groups, stratified by class, (n × G): how often each group was drawn.

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
    With few groups a class a percentile interval from these draws is too narrow: they vary less than new groups would.

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
    """Weights that leave out each group in turn, the others of its class standing in for it, (G × G).

    Parameters
    ----------
    labels
        Class number of each group, (G,). The row of a class's only group is NaN.

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
    """Smallest p-value that any permutation test of these group labels can reach: one over the number of labellings.

    Parameters
    ----------
    labels
        Class number of each group, (G,).
    blocks
        Block of each group, (G,), within which labels could be exchanged; one block if not given.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> round(ho.metrics.smallest_p(np.array([0, 0, 1, 1])), 3)
    0.167
    """
    numbers = np.zeros(len(labels), dtype=int) if blocks is None else np.unique(blocks, return_inverse=True)[1]
    return 1 / prod((n_labellings(labels[numbers == number]) for number in np.unique(numbers)), start=1)


def n_labellings(labels: np.ndarray) -> int:
    """Number of distinct orders of some labels."""
    counts = np.unique(labels, return_counts=True)[1].tolist()
    return prod(comb(sum(counts[i:]), counts[i]) for i in range(len(counts)))
