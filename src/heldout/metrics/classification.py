"""Classification scores computed from log-probabilities, (n × n_classes)."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax


def log_loss(labels: np.ndarray, log_probability: np.ndarray) -> float:
    """Return the mean negative log-probability of the true class, in nats; lower is better.

    Parameters
    ----------
    labels
        Class numbers, (n,).
    log_probability
        Log-probabilities, (n × n_classes).

    Notes
    -----
    A single confident mistake can dominate the score. The score is not clipped.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> round(ho.metrics.log_loss(np.array([0, 1]), np.log([[0.5, 0.5], [0.5, 0.5]])), 3)
    0.693
    """
    return float(-log_probability[np.arange(len(labels)), labels].mean())


def accuracy(labels: np.ndarray, log_probability: np.ndarray) -> float:
    """Return the share of rows whose most probable class is the true class; higher is better.

    For two classes the threshold is a probability of 0.5.

    Parameters
    ----------
    labels
        Class numbers, (n,).
    log_probability
        Log-probabilities, (n × n_classes).

    Notes
    -----
    The threshold depends on the class shares of the training set. For this reason a model that ranks cells well can
    have a low accuracy.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> ho.metrics.accuracy(np.array([0, 1]), np.log([[0.9, 0.1], [0.6, 0.4]]))
    0.5
    """
    return float((log_probability.argmax(axis=1) == labels).mean())


def roc_auc(labels: np.ndarray, log_probability: np.ndarray) -> float:
    """Return the area under the ROC curve. For more than two classes, average one class against the rest.

    Parameters
    ----------
    labels
        Class numbers, (n,).
    log_probability
        Log-probabilities, (n × n_classes). For two classes the score is the log-odds of class 1.

    Returns
    -------
    A number between 0 and 1; 0.5 is the chance level. NaN if a class is absent.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> ho.metrics.roc_auc(np.array([0, 0, 1]), np.log([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]))
    1.0
    """
    scores = one_vs_rest(log_probability)
    classes = [1] if log_probability.shape[1] == 2 else range(log_probability.shape[1])
    return float(np.mean([_auc(labels == c, scores[:, c]) for c in classes]))


def brier(labels: np.ndarray, log_probability: np.ndarray) -> float:
    """Return the mean squared error of the probabilities :cite:p:`brier1950`; lower is better, 0 is perfect.

    Parameters
    ----------
    labels
        Class numbers, (n,).
    log_probability
        Log-probabilities, (n × n_classes).

    Returns
    -------
    For two classes the mean of (p - y)², between 0 and 1. For more classes the sum over classes, between 0 and 2.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> ho.metrics.brier(np.array([0, 1]), np.log([[0.5, 0.5], [0.5, 0.5]]))
    0.25
    """
    return float(squared_errors(labels, log_probability).mean())


def squared_errors(labels: np.ndarray, log_probability: np.ndarray) -> np.ndarray:
    """Return the squared error of the probabilities of each row, (n,)."""
    probability = np.exp(log_probability.astype(np.float64))
    probability[np.arange(len(labels)), labels] -= 1
    squares = (probability**2).sum(axis=1)
    return np.asarray(squares / 2 if log_probability.shape[1] == 2 else squares)


def calibration_error(labels: np.ndarray, log_probability: np.ndarray, *, n_bins: int = 10) -> float:
    """Return the expected calibration error :cite:p:`guo2017`; lower is better.

    Rows are put into bins by their probability. In each bin the mean probability is compared with the observed share.

    Parameters
    ----------
    labels
        Class numbers, (n,).
    log_probability
        Log-probabilities, (n × n_classes). For two classes the probability of class 1 is compared with the share of
        class 1. For more classes the probability of the predicted class is compared with the share of right
        predictions.
    n_bins
        Number of bins of equal width.

    Notes
    -----
    Perfect probabilities also have an error above 0. It grows as the number of rows falls; with a dozen groups expect
    0.2.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> round(ho.metrics.calibration_error(np.array([0, 0, 0, 1]), np.log(np.full((4, 2), 0.5))), 3)
    0.25
    """
    probability, happened, bins = calibration_parts(labels, log_probability, n_bins=n_bins)
    return float(abs(np.bincount(bins, happened - probability)).sum() / len(labels))


def calibration_parts(
    labels: np.ndarray, log_probability: np.ndarray, *, n_bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the probability of each row, whether its event happened, and its bin, (n,) each."""
    probability = np.exp(log_probability.astype(np.float64))
    predicted = np.ones(len(labels), dtype=int) if probability.shape[1] == 2 else probability.argmax(axis=1)
    event = probability[np.arange(len(labels)), predicted]
    return event, (labels == predicted).astype(float), np.minimum((event * n_bins).astype(int), n_bins - 1)


def block_auc(labels: np.ndarray, log_probability: np.ndarray, blocks: np.ndarray) -> float:
    """Return the mean of the AUCs within blocks (days, batches, patients). Each block counts once.

    Differences between blocks, such as the day, cannot raise or lower this score.

    Parameters
    ----------
    labels
        Class numbers, (n,).
    log_probability
        Log-probabilities, (n × n_classes).
    blocks
        Block of each row, (n,).

    Returns
    -------
    A number between 0 and 1. Blocks that lack a class are left out. NaN if no block has every class.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> log_p = np.log([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]])
    >>> labels, days = np.array([0, 1, 0, 1]), np.array([0, 0, 19, 19])
    >>> ho.metrics.roc_auc(labels, log_p), ho.metrics.block_auc(labels, log_p, days)
    (0.75, 1.0)
    """
    values = [roc_auc(labels[blocks == block], log_probability[blocks == block]) for block in np.unique(blocks)]
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def one_vs_rest(log_probability: np.ndarray) -> np.ndarray:
    """Return the log-odds of each class against all others, (n × n_classes)."""
    rest = np.empty_like(log_probability, dtype=np.float64)
    for c in range(log_probability.shape[1]):
        rest[:, c] = np.logaddexp.reduce(np.delete(log_probability, c, axis=1), axis=1)
    return log_probability - rest


def _auc(positive: np.ndarray, score: np.ndarray) -> float:
    from scipy.stats import rankdata  # slow to import

    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def group_log_probability(log_probability: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the log-probabilities of each group: the mean log-probability of its cells, normalised.

    For two classes this is the mean logit.

    Parameters
    ----------
    log_probability
        Log-probabilities of cells, (n × n_classes).
    groups
        Group number of each cell, (n,), from 0 to G - 1. Each group has at least one cell.

    Returns
    -------
    (G × n_classes).

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> cells = np.log([[0.2, 0.8], [0.8, 0.2]])
    >>> np.exp(ho.metrics.group_log_probability(cells, np.array([0, 0]))).round(3).tolist()
    [[0.5, 0.5]]
    """
    size = np.bincount(groups)
    columns = [np.bincount(groups, column) / size for column in log_probability.T]
    return np.asarray(log_softmax(np.stack(columns, axis=1), axis=1))
