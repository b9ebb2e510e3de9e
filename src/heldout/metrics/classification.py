"""Classification scores of log-probabilities, (n × n_classes)."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax


def log_loss(labels: np.ndarray, log_probability: np.ndarray) -> float:
    """Mean negative log-probability of the true class, in nats; lower is better.

    Parameters
    ----------
    labels
        Class numbers, (n,).
    log_probability
        Log-probabilities, (n × n_classes).

    Notes
    -----
    A single confident mistake can dominate it; it is not clipped.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> round(ho.metrics.log_loss(np.array([0, 1]), np.log([[0.5, 0.5], [0.5, 0.5]])), 3)
    0.693
    """
    return float(-log_probability[np.arange(len(labels)), labels].mean())


def accuracy(labels: np.ndarray, log_probability: np.ndarray) -> float:
    """Share of rows whose most probable class is the true one (for two classes: threshold 0.5); higher is better.

    Parameters
    ----------
    labels
        Class numbers, (n,).
    log_probability
        Log-probabilities, (n × n_classes).

    Notes
    -----
    It rests on the class shares of the training set: a good ranking can have a poor accuracy.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> ho.metrics.accuracy(np.array([0, 1]), np.log([[0.9, 0.1], [0.6, 0.4]]))
    0.5
    """
    return float((log_probability.argmax(axis=1) == labels).mean())


def roc_auc(labels: np.ndarray, log_probability: np.ndarray) -> float:
    """Area under the ROC curve; for more than two classes the mean of one class against the rest.

    Parameters
    ----------
    labels
        Class numbers, (n,).
    log_probability
        Log-probabilities, (n × n_classes). With two classes the log-odds of class 1 is the score.

    Returns
    -------
    Between 0 and 1; 0.5 is chance. NaN if a class is absent.

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
    """Mean squared error of the probabilities :cite:p:`brier1950`; 0 is perfect, lower is better.

    Parameters
    ----------
    labels
        Class numbers, (n,).
    log_probability
        Log-probabilities, (n × n_classes).

    Returns
    -------
    Of two classes the mean of (p - y)², between 0 and 1; of more the sum over classes, between 0 and 2.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> ho.metrics.brier(np.array([0, 1]), np.log([[0.5, 0.5], [0.5, 0.5]]))
    0.25
    """
    return float(squared_errors(labels, log_probability).mean())


def squared_errors(labels: np.ndarray, log_probability: np.ndarray) -> np.ndarray:
    """Squared error of the probabilities of each row, (n,)."""
    probability = np.exp(log_probability.astype(np.float64))
    probability[np.arange(len(labels)), labels] -= 1
    squares = (probability**2).sum(axis=1)
    return np.asarray(squares / 2 if log_probability.shape[1] == 2 else squares)


def calibration_error(labels: np.ndarray, log_probability: np.ndarray, *, n_bins: int = 10) -> float:
    """Expected calibration error :cite:p:`guo2017`: how far probabilities are from shares, over bins; lower is better.

    Parameters
    ----------
    labels
        Class numbers, (n,).
    log_probability
        Log-probabilities, (n × n_classes). With two classes the probability of class 1 is compared with its share, with
        more that of the predicted class with the share of right predictions.
    n_bins
        Number of bins of equal width.

    Notes
    -----
    It is above 0 for perfect probabilities too, the more so the fewer rows there are: with a dozen groups expect 0.2.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> round(ho.metrics.calibration_error(np.array([0, 0, 0, 1]), np.log(np.full((4, 2), 0.5))), 3)
    0.25
    """
    said, happened, bins = calibration_parts(labels, log_probability, n_bins=n_bins)
    return float(abs(np.bincount(bins, happened - said)).sum() / len(labels))


def calibration_parts(
    labels: np.ndarray, log_probability: np.ndarray, *, n_bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probability of each row, whether it came true, and its bin, (n,) each."""
    probability = np.exp(log_probability.astype(np.float64))
    predicted = np.ones(len(labels), dtype=int) if probability.shape[1] == 2 else probability.argmax(axis=1)
    said = probability[np.arange(len(labels)), predicted]
    return said, (labels == predicted).astype(float), np.minimum((said * n_bins).astype(int), n_bins - 1)


def block_auc(labels: np.ndarray, log_probability: np.ndarray, blocks: np.ndarray) -> float:
    """Mean of the AUCs within blocks (days, batches, patients), each block counted once.

    What differs between blocks, such as the day, can neither help nor hurt.

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
    Between 0 and 1; blocks without every class are left out, NaN if none has.

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
    """Log-odds of each class against all others, (n × n_classes)."""
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
    """Log-probabilities of a whole group: the mean log-probability of its cells, normalised.

    With two classes this is the mean logit.

    Parameters
    ----------
    log_probability
        Log-probabilities of cells, (n × n_classes).
    groups
        Group number of each cell, (n,), 0 to G - 1, each with at least one cell.

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
