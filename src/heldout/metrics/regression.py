"""Scores of predicted values and of predicted changes: RMSE, MAE, R², correlation and sign of the change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from heldout._core.checks import check_choice
from heldout.metrics._checks import as_numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Average = Literal["pooled", "per_gene", "of_means"]

_MIN_GENES = 3


def rmse(truth: ArrayLike, prediction: ArrayLike, *, average: Average = "pooled") -> float | np.ndarray:
    """Root mean squared error, √mean((truth - prediction)²), in the unit of the values; lower is better, 0 is perfect.

    Parameters
    ----------
    truth
        True values, (n × n_genes) or (n,).
    prediction
        Predicted values of the same rows and genes; with ``of_means`` other rows will do.
    average
        Over what the mean is taken: all entries (``pooled``), the rows of each gene (``per_gene``), or the genes, after each
        gene was averaged over the rows of either array (``of_means``).

    Returns
    -------
    One number; for ``per_gene`` an array, (n_genes,).

    Raises
    ------
    ValueError
        If shapes differ, an array is empty or has NaN, or 1-D values are given with another ``average`` than ``pooled``.

    Notes
    -----
    It has no scale of its own: an RMSE of 0.1 is small only if the values were not squeezed into 0 to 1 before. And
    measured cells of two time points have no pairing: ``pooled`` and ``per_gene`` of single cells need rows that
    belong together. The mean of ``per_gene`` is not ``pooled``, which averages before the root.

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
    """Mean absolute error, mean(abs(truth - prediction)), in the unit of the values; lower is better, 0 is perfect.

    Parameters
    ----------
    truth
        True values, (n × n_genes) or (n,).
    prediction
        Predicted values of the same rows and genes; with ``of_means`` other rows will do.
    average
        As in :func:`rmse`: ``pooled``, ``per_gene`` or ``of_means``.

    Returns
    -------
    One number; for ``per_gene`` an array, (n_genes,).

    Raises
    ------
    ValueError
        As :func:`rmse`.

    Notes
    -----
    The median minimises it: where a gene is zero in most cells, predicting zero for all of them is the best answer.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> ho.metrics.mae(np.array([1.0, 2.0, 6.0]), np.array([1.0, 3.0, 4.0]))
    1.0
    """
    return _mean_error(truth, prediction, average, power=1)


def r2(truth: ArrayLike, prediction: ArrayLike, *, average: Average = "pooled") -> float | np.ndarray:
    """R², the coefficient of determination 1 - Σ(truth - prediction)² / Σ(truth - mean)²; no unit, higher is better.

    1 is perfect, 0 is as good as the mean of the truth, and there is no lower limit. It is not the square of a
    correlation, and not the Pearson r that some codes call "r2 of means".

    Parameters
    ----------
    truth
        True values, (n × n_genes) or (n,).
    prediction
        Predicted values of the same rows and genes; with ``of_means`` other rows will do.
    average
        ``pooled``: sums over all entries, against the mean of all. ``per_gene``: sums over the rows of each gene, against
        its own mean. ``of_means``: each gene averaged over the rows first, sums over genes, against the mean gene.

    Returns
    -------
    One number; for ``per_gene`` an array, (n_genes,). NaN where the truth is constant: take ``np.nanmean`` and say how
    many genes it left out.

    Raises
    ------
    ValueError
        As :func:`rmse`.

    Notes
    -----
    ``pooled`` and ``of_means`` live on the differences between genes, which any predictor that saw the training cells knows:
    repeating the last time point scores above 0.9 on many time courses. ``per_gene`` does not pay for that. Always name
    the average with the number, and show the same R² of the last time point beside it, or :func:`change_correlation`.

    Examples
    --------
    Two genes of very different level, one and the same row for every cell:

    >>> import numpy as np, heldout as ho
    >>> truth = np.array([[1.0, 11.0], [3.0, 13.0]])
    >>> prediction = np.array([[2.5, 12.5], [2.5, 12.5]])
    >>> round(ho.metrics.r2(truth, prediction), 3)
    0.952
    >>> ho.metrics.r2(truth, prediction, average="per_gene").tolist()
    [-0.25, -0.25]
    """
    true, predicted = _paired(truth, prediction, average)
    if average != "per_gene":
        true, predicted = true.ravel(), predicted.ravel()
    residual = np.sum((true - predicted) ** 2, axis=0)
    total = np.sum((true - true.mean(axis=0)) ** 2, axis=0)
    varies = np.ptp(true, axis=0) > 0
    score = 1 - np.divide(residual, total, out=np.full(np.shape(total), np.nan), where=varies & (total > 0))
    return score if average == "per_gene" else float(score)


def change_correlation(
    truth: ArrayLike, prediction: ArrayLike, reference: ArrayLike, *, error: ArrayLike | None = None
) -> float:
    """Pearson r of the predicted and the true change from the last observed time point; no unit, -1 to 1.

    Over the genes g with abs(truth - reference) > 2 · error, r of (truth - reference) with (prediction - reference).
    Higher is better; no skill gives about 0.

    Parameters
    ----------
    truth
        True mean of each gene at the target time, (n_genes,).
    prediction
        Predicted mean of each gene at the target time, (n_genes,).
    reference
        Mean of each gene at the last observed time, (n_genes,).
    error
        Standard error of the true change of each gene, (n_genes,) or one number. By default every gene that changes counts.

    Returns
    -------
    NaN if fewer than 3 genes pass, or if the prediction changes all of them alike: repeating the last time point has no
    correlation, rather than one of zero. Count such cases; do not score them 0.

    Raises
    ------
    ValueError
        If shapes differ, an array is empty or has NaN, or an error is negative.

    Notes
    -----
    Both changes contain the sampling noise of the reference with the same sign, so that a prediction that ignores the
    reference, such as the overall mean, correlates above 0 with no knowledge. Score with the mean of one half of the
    reference cells in the prediction's change and of the other half in the truth's, or compare with a constant prediction.
    It says nothing about the size of the change: ten times too much has r = 1. Show :func:`rmse` beside it.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> last, truth = np.zeros(4), np.array([1.0, 2.0, -1.0, 0.1])
    >>> prediction = np.array([0.5, 1.0, -0.5, -5.0])
    >>> round(ho.metrics.change_correlation(truth, prediction, last, error=0.1), 3)
    1.0
    """
    true, predicted = _changes(truth, prediction, reference, error)
    if len(true) < _MIN_GENES or not np.ptp(true) or not np.ptp(predicted):
        return float("nan")
    true, predicted = true - true.mean(), predicted - predicted.mean()
    return float(np.clip(true @ predicted / (np.linalg.norm(true) * np.linalg.norm(predicted)), -1, 1))


def change_sign_accuracy(
    truth: ArrayLike, prediction: ArrayLike, reference: ArrayLike, *, error: ArrayLike | None = None
) -> float:
    """Share of genes that move the predicted way from the last observed time point; 0 to 1, higher is better.

    Over the genes with abs(truth - reference) > 2 · error; a predicted change of exactly zero counts one half, so that
    repeating the last time point scores 0.5.

    Parameters
    ----------
    truth
        True mean of each gene at the target time, (n_genes,).
    prediction
        Predicted mean of each gene at the target time, (n_genes,).
    reference
        Mean of each gene at the last observed time, (n_genes,).
    error
        Standard error of the true change of each gene, (n_genes,) or one number. By default every gene that changes counts.

    Returns
    -------
    NaN if fewer than 3 genes pass.

    Raises
    ------
    ValueError
        As :func:`change_correlation`.

    Notes
    -----
    0.5 is not always chance: where most genes move the same way, "everything goes up" scores their share. Show that
    share beside it. The noise of the reference is in both changes, see :func:`change_correlation`.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> last, truth = np.zeros(4), np.array([1.0, 2.0, -1.0, -3.0])
    >>> ho.metrics.change_sign_accuracy(truth, np.array([0.1, 5.0, 1.0, 0.0]), last)
    0.625
    """
    true, predicted = _changes(truth, prediction, reference, error)
    if len(true) < _MIN_GENES:
        return float("nan")
    return float(np.mean((np.sign(true) * np.sign(predicted) + 1) / 2))


def _paired(truth: ArrayLike, prediction: ArrayLike, average: str) -> tuple[np.ndarray, np.ndarray]:
    """Both arrays as they are to be compared; for ``of_means`` the means of the genes."""
    check_choice(average, "average", ("pooled", "per_gene", "of_means"))
    shape = "(n × n_genes) or (n,)" if average == "pooled" else f"(n × n_genes) for average={average!r}"
    ndims = (1, 2) if average == "pooled" else (2,)
    true = as_numbers(truth, "truth", shape=shape, ndims=ndims)
    predicted = as_numbers(prediction, "prediction", shape=shape, ndims=ndims)
    if average == "of_means" and true.shape[1] == predicted.shape[1]:
        return true.mean(axis=0), predicted.mean(axis=0)
    if true.shape != predicted.shape:
        hint = " Cells that are not paired can be compared with average='of_means'." if true.ndim == 2 else ""
        msg = f"truth has shape {true.shape} and prediction {predicted.shape}; they must agree.{hint}"
        raise ValueError(msg)
    return true, predicted


def _mean_error(truth: ArrayLike, prediction: ArrayLike, average: str, *, power: int) -> float | np.ndarray:
    true, predicted = _paired(truth, prediction, average)
    errors = np.mean(np.abs(true - predicted) ** power, axis=0 if average == "per_gene" else None) ** (1 / power)
    return np.asarray(errors) if average == "per_gene" else float(errors)


def _changes(
    truth: ArrayLike, prediction: ArrayLike, reference: ArrayLike, error: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted change of the genes that surely change."""
    names = {"truth": truth, "prediction": prediction, "reference": reference}
    shape = "(n_genes,), the mean of each gene"
    true, predicted, last = (as_numbers(v, name, shape=shape, ndims=(1,)) for name, v in names.items())
    noise = as_numbers(0 if error is None else error, "error", shape="(n_genes,) or one number", ndims=(0, 1))
    sizes = {len(true), len(predicted), len(last), *([len(noise)] if noise.ndim else [])}
    if len(sizes) > 1:
        msg = f"truth, prediction, reference and error must have one value a gene; they have {sorted(sizes)} values."
        raise ValueError(msg)
    if (noise < 0).any():
        msg = f"error has {int((noise < 0).sum())} negative values; a standard error is 0 or more."
        raise ValueError(msg)
    change = true - last
    kept = np.abs(change) > 2 * noise
    return change[kept], (predicted - last)[kept]
