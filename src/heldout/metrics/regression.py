"""Scores of predicted values and of predicted changes: RMSE, MAE, R², correlation and sign of the change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from heldout._core.checks import check_choice
from heldout.metrics._checks import as_numbers
from heldout.metrics._pairings import absolute_errors, squared_errors

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Average = Literal["pooled", "per_gene", "of_means", "all_pairs", "all_pairs_per_gene"]

_BY_GENE = ("per_gene", "all_pairs_per_gene")
_UNPAIRED = ("all_pairs", "all_pairs_per_gene")

_MIN_GENES = 3


def rmse(truth: ArrayLike, prediction: ArrayLike, *, average: Average = "pooled") -> float | np.ndarray:
    """Return the root mean squared error, √mean((truth - prediction)²); lower is better, 0 is perfect.

    The unit is that of the values.

    Parameters
    ----------
    truth
        True values, (n × n_genes) or (n,).
    prediction
        Predicted values of the same rows and genes. With ``of_means`` and ``all_pairs`` the rows can differ.
    average
        ``pooled`` averages over all entries. ``per_gene`` averages over the rows of each gene. ``of_means`` first
        averages each gene over the rows of each array, and then over genes. ``all_pairs`` is for cells that have no
        partner: each true row is compared with each predicted row, which is what random pairs give on average.
        ``all_pairs_per_gene`` does the same for each gene.

    Returns
    -------
    One number. For ``per_gene`` and ``all_pairs_per_gene`` an array, (n_genes,).

    Raises
    ------
    ValueError
        If shapes differ, an array is empty or has NaN, or values are 1-D and ``average`` is not ``pooled``.

    Notes
    -----
    The score depends on the scale of the values: an RMSE of 0.1 is small only if the values were not scaled to 0 to 1.
    Cells measured at two time points are not paired. ``pooled`` and ``per_gene`` need paired rows, so use ``of_means``
    or ``all_pairs`` for such cells. Even perfect predictions have an error over all pairs, because cells differ, and
    predicting the same mean for every cell has a smaller one. The mean of ``per_gene`` is not ``pooled``, because
    ``pooled`` averages before the root.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> truth, prediction = np.array([[1.0, 2.0], [3.0, 2.0]]), np.array([[2.0, 2.0], [2.0, 2.0]])
    >>> round(ho.metrics.rmse(truth, prediction), 3)
    0.707
    >>> ho.metrics.rmse(truth, prediction, average="per_gene").tolist()
    [1.0, 0.0]
    >>> ho.metrics.rmse(truth, prediction, average="of_means")
    0.0
    """
    return _mean_error(truth, prediction, average, power=2)


def mae(truth: ArrayLike, prediction: ArrayLike, *, average: Average = "pooled") -> float | np.ndarray:
    """Return the mean absolute error, mean(abs(truth - prediction)); lower is better, 0 is perfect.

    The unit is that of the values.

    Parameters
    ----------
    truth
        True values, (n × n_genes) or (n,).
    prediction
        Predicted values of the same rows and genes. With ``of_means`` and ``all_pairs`` the rows can differ.
    average
        As in :func:`rmse`.

    Returns
    -------
    One number. For ``per_gene`` an array, (n_genes,).

    Raises
    ------
    ValueError
        Same as :func:`rmse`.

    Notes
    -----
    The median minimises this error. If a gene is zero in most cells, the best prediction is zero for all cells.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> ho.metrics.mae(np.array([1.0, 2.0, 6.0]), np.array([1.0, 3.0, 4.0]))
    1.0
    """
    return _mean_error(truth, prediction, average, power=1)


def r2(truth: ArrayLike, prediction: ArrayLike, *, average: Average = "pooled") -> float | np.ndarray:
    """Return R², the coefficient of determination, 1 - Σ(truth - prediction)² / Σ(truth - mean)²; higher is better.

    R² has no unit. 1 is perfect, 0 is as good as the mean of the truth, and there is no lower limit. It is not the
    square of a correlation, and not the Pearson r that some codes call "r2 of means".

    Parameters
    ----------
    truth
        True values, (n × n_genes) or (n,).
    prediction
        Predicted values of the same rows and genes. With ``of_means`` and ``all_pairs`` the rows can differ.
    average
        ``pooled`` sums over all entries and compares with the mean of all entries. ``per_gene`` sums over the rows of
        each gene and compares with the mean of that gene. ``of_means`` first averages each gene over the rows, then
        sums over genes and compares with the mean over genes. ``all_pairs`` and ``all_pairs_per_gene`` are ``pooled``
        and ``per_gene`` with the errors of all pairs of a true and a predicted row, see :func:`rmse`.

    Returns
    -------
    One number. For ``per_gene`` and ``all_pairs_per_gene`` an array, (n_genes,). NaN where the truth is
    constant. To average over genes, use
    ``np.nanmean`` and report how many genes are left out.

    Raises
    ------
    ValueError
        Same as :func:`rmse`.

    Notes
    -----
    ``pooled`` and ``of_means`` mostly measure differences between genes. Each predictor that has seen training cells
    knows them: on many time courses, repeating the last time point scores above 0.9. ``per_gene`` does not reward this.
    Over all pairs a perfect prediction has -1 for each gene, and the mean of each gene has 0.
    Always report which average was used. Show the same R² of the last time point, or :func:`change_correlation`, next
    to it.

    Examples
    --------
    Two genes of very different expression, and the same prediction for each cell:

    >>> import numpy as np, heldout as ho
    >>> truth = np.array([[1.0, 11.0], [3.0, 13.0]])
    >>> prediction = np.array([[2.5, 12.5], [2.5, 12.5]])
    >>> round(ho.metrics.r2(truth, prediction), 3)
    0.952
    >>> ho.metrics.r2(truth, prediction, average="per_gene").tolist()
    [-0.25, -0.25]
    """
    true, predicted = _paired(truth, prediction, average)
    if average in _UNPAIRED:
        residual = len(true) * squared_errors(true, predicted)
    else:
        residual = np.sum((true - predicted) ** 2, axis=0)
    by_gene = average in _BY_GENE
    if not by_gene:
        true, residual = true.ravel(), np.sum(residual)
    total = np.sum((true - true.mean(axis=0)) ** 2, axis=0)
    varies = np.ptp(true, axis=0) > 0
    score = 1 - np.divide(residual, total, out=np.full(np.shape(total), np.nan), where=varies & (total > 0))
    return score if by_gene else float(score)


def change_correlation(
    truth: ArrayLike, prediction: ArrayLike, start: ArrayLike, *, error: ArrayLike | None = None
) -> float:
    """Return the Pearson r of the predicted and the true change since the last observed time point; higher is better.

    It is the correlation of (truth - start) with (prediction - start), over the genes with abs(truth - start) > 2 ·
    error. It has no unit and lies in -1 to 1. A method without skill scores about 0.

    Parameters
    ----------
    truth
        True mean of each gene at the target time, (n_genes,).
    prediction
        Predicted mean of each gene at the target time, (n_genes,).
    start
        Mean of each gene at the last observed time, (n_genes,), from which changes are counted.
    error
        Standard error of the true change of each gene, (n_genes,), or one number. If None, each gene with a change
        counts.

    Returns
    -------
    A number. NaN if fewer than 3 genes pass, or if the prediction changes all of them equally. Repeating the last time
    point has no correlation, so it is NaN and not 0. Count such cases, and do not score them as 0.

    Raises
    ------
    ValueError
        If shapes differ, an array is empty or has NaN, or an error is negative.

    Notes
    -----
    Both changes contain the sampling noise of ``start`` with the same sign. For this reason a prediction that does not
    use ``start``, such as the overall mean, correlates above 0 without any skill. To avoid this, compute the predicted
    change from one half of the cells of the last time point and the true change from the other half, or compare with a
    constant prediction. The score ignores the size of the change: a change that is ten times too large has r = 1. Show
    :func:`rmse` next to it.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> last, truth = np.zeros(4), np.array([1.0, 2.0, -1.0, 0.1])
    >>> prediction = np.array([0.5, 1.0, -0.5, -5.0])
    >>> round(ho.metrics.change_correlation(truth, prediction, last, error=0.1), 3)
    1.0
    """
    true, predicted = _changes(truth, prediction, start, error)
    if len(true) < _MIN_GENES or not np.ptp(true) or not np.ptp(predicted):
        return float("nan")
    true, predicted = true - true.mean(), predicted - predicted.mean()
    return float(np.clip(true @ predicted / (np.linalg.norm(true) * np.linalg.norm(predicted)), -1, 1))


def change_sign_accuracy(
    truth: ArrayLike, prediction: ArrayLike, start: ArrayLike, *, error: ArrayLike | None = None
) -> float:
    """Return the share of genes that change in the predicted direction since the last observed time point.

    It counts the genes with abs(truth - start) > 2 · error, and lies in 0 to 1; higher is better. A predicted change of
    exactly zero counts one half, so repeating the last time point scores 0.5.

    Parameters
    ----------
    truth
        True mean of each gene at the target time, (n_genes,).
    prediction
        Predicted mean of each gene at the target time, (n_genes,).
    start
        Mean of each gene at the last observed time, (n_genes,), from which changes are counted.
    error
        Standard error of the true change of each gene, (n_genes,), or one number. If None, each gene with a change
        counts.

    Returns
    -------
    A number. NaN if fewer than 3 genes pass.

    Raises
    ------
    ValueError
        Same as :func:`change_correlation`.

    Notes
    -----
    The chance level is not always 0.5. If most genes move in the same direction, the prediction "everything goes up"
    scores their share. Show that share next to the score. The noise of ``start`` is in both changes; see
    :func:`change_correlation`.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> last, truth = np.zeros(4), np.array([1.0, 2.0, -1.0, -3.0])
    >>> ho.metrics.change_sign_accuracy(truth, np.array([0.1, 5.0, 1.0, 0.0]), last)
    0.625
    """
    true, predicted = _changes(truth, prediction, start, error)
    if len(true) < _MIN_GENES:
        return float("nan")
    return float(np.mean((np.sign(true) * np.sign(predicted) + 1) / 2))


def _paired(truth: ArrayLike, prediction: ArrayLike, average: str) -> tuple[np.ndarray, np.ndarray]:
    """Return both arrays in the form in which they are compared: for ``of_means`` the means of the genes."""
    check_choice(average, "average", get_args(Average))
    shape = "(n × n_genes) or (n,)" if average == "pooled" else f"(n × n_genes) for average={average!r}"
    ndims = (1, 2) if average == "pooled" else (2,)
    true = as_numbers(truth, "truth", shape=shape, ndims=ndims)
    predicted = as_numbers(prediction, "prediction", shape=shape, ndims=ndims)
    if average == "of_means" and true.shape[1] == predicted.shape[1]:
        return true.mean(axis=0), predicted.mean(axis=0)
    if average in _UNPAIRED and true.shape[1] == predicted.shape[1]:
        return true, predicted
    if true.shape != predicted.shape:
        hint = (
            " To compare cells that are not paired, pass average='of_means' or 'all_pairs'." if true.ndim == 2 else ""
        )
        msg = f"truth has shape {true.shape} and prediction {predicted.shape}; both must have the same shape.{hint}"
        raise ValueError(msg)
    return true, predicted


def _mean_error(truth: ArrayLike, prediction: ArrayLike, average: str, *, power: int) -> float | np.ndarray:
    true, predicted = _paired(truth, prediction, average)
    if average in _UNPAIRED:
        by_gene = squared_errors(true, predicted) if power == 2 else absolute_errors(true, predicted)
    else:
        by_gene = np.mean(np.abs(true - predicted) ** power, axis=0)
    if average in _BY_GENE:
        return np.asarray(by_gene ** (1 / power))
    return float(np.mean(by_gene) ** (1 / power))


def _changes(
    truth: ArrayLike, prediction: ArrayLike, start: ArrayLike, error: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the true and the predicted change of the genes whose change is larger than twice its error."""
    named = {"truth": truth, "prediction": prediction, "start": start}
    shape = "(n_genes,), the mean of each gene"
    true, predicted, last = (as_numbers(values, name, shape=shape, ndims=(1,)) for name, values in named.items())
    noise = as_numbers(0 if error is None else error, "error", shape="(n_genes,) or one number", ndims=(0, 1))
    sizes = {len(true), len(predicted), len(last), *([len(noise)] if noise.ndim else [])}
    if len(sizes) > 1:
        msg = f"truth, prediction, start and error have {sorted(sizes)} values, but must have one value per gene."
        raise ValueError(msg)
    if (noise < 0).any():
        msg = f"error has {int((noise < 0).sum())} negative values, but a standard error must be >= 0."
        raise ValueError(msg)
    change = true - last
    kept = np.abs(change) > 2 * noise
    return change[kept], (predicted - last)[kept]
