"""Errors of predicted profiles: one row a perturbation, one value a row.

A row of NaN in the prediction is a perturbation that was not predicted: its score is NaN, to be counted. Nothing is clipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.checks import check_integer
from heldout.metrics._checks import as_numbers
from heldout.metrics._rows import SHAPE, as_beside, as_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def top_genes(control: ArrayLike, n: int = 1000) -> np.ndarray:
    """Column numbers of the ``n`` genes most expressed in the control cells, (n,), from the highest down.

    The genes on which Ahlmann-Eltze, Huber and Anders score :cite:p:`ahlmanneltze2025`. No truth is needed to choose them.

    Parameters
    ----------
    control
        Mean expression of each gene in the control cells, (n_genes,). Of the training cells, if the genes are to be the same
        for all splits.
    n
        Number of genes. If there are no more, all of them are given.

    Returns
    -------
    Of genes with equal means the earlier columns.

    Raises
    ------
    ValueError
        If ``control`` has NaN, is not 1-D, or ``n`` is below 1.

    Notes
    -----
    Genes that a perturbation switches on are not among them if the controls do not express them. Errors over other numbers
    of genes are not comparable: state ``n`` with the score.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.top_genes([0.1, 2.0, 0.0, 2.0], n=3).tolist()
    [1, 3, 0]
    """
    check_integer(n, "n", least=1)
    mean = as_numbers(control, "control", shape="(n_genes,)", ndims=(1,))
    return np.argsort(-mean, kind="stable")[:n]


def profile_l2(truth: ArrayLike, prediction: ArrayLike) -> float | np.ndarray:
    """L2 distance of each predicted profile, √Σ (truth - prediction)² over genes, in the unit of the values; lower is better.

    The error of Ahlmann-Eltze, Huber and Anders, over :func:`top_genes` :cite:p:`ahlmanneltze2025`. 0 is perfect; there is no
    chance level: put the rows of "no change", the mean and the additive baseline beside it.

    Parameters
    ----------
    truth
        Mean expression (log values) of each perturbation, (n_perturbations × n_genes), or (n_genes,) of one.
    prediction
        The same as predicted. A row of NaN was not predicted.

    Returns
    -------
    (n_perturbations,), or a number for one. NaN for rows that were not predicted.

    Raises
    ------
    ValueError
        If shapes differ, an array is empty, the truth has NaN, or a row of the prediction has NaN in some genes only.

    Notes
    -----
    It grows with the root of the number of genes. The sampling noise of the true means is in it, most where a perturbation
    has few cells: see :func:`split_half`. Genes that do not respond dominate: a prediction that is the same for all
    perturbations can be close by it, see :func:`perturbation_rank`.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.profile_l2([[1.0, 2.0], [0.0, 0.0]], [[4.0, 6.0], [0.0, 0.0]]).tolist()
    [5.0, 0.0]
    """
    rows = as_rows(truth, prediction)
    return rows.give(np.linalg.norm(rows.truth - rows.prediction, axis=1))


def profile_rmse(truth: ArrayLike, prediction: ArrayLike) -> float | np.ndarray:
    """RMSE of each predicted profile, √mean (truth - prediction)² over genes, in the unit of the values; lower is better.

    :func:`profile_l2` over the root of the number of genes; PerturBench's RMSE :cite:p:`wu2024perturbench`. 0 is perfect;
    there is no chance level.

    Parameters
    ----------
    truth
        Mean expression of each perturbation, (n_perturbations × n_genes), or (n_genes,) of one.
    prediction
        The same as predicted. A row of NaN was not predicted.

    Returns
    -------
    (n_perturbations,), or a number for one. NaN for rows that were not predicted.

    Raises
    ------
    ValueError
        As :func:`profile_l2`.

    Notes
    -----
    The more genes without response are in, the smaller it gets, for every method alike. For one number over all rows or one
    a gene see :func:`rmse`.

    Examples
    --------
    >>> import heldout as ho
    >>> round(ho.metrics.profile_rmse([1.0, 2.0], [4.0, 6.0]), 3)
    3.536
    """
    rows = as_rows(truth, prediction)
    return rows.give(np.sqrt(np.mean((rows.truth - rows.prediction) ** 2, axis=1)))


def profile_mae(truth: ArrayLike, prediction: ArrayLike) -> float | np.ndarray:
    """Mean absolute error of each predicted profile, mean over genes of abs(truth - prediction), in the unit of the values; lower is better.

    The MAE of the Virtual Cell Challenge 2025 :cite:p:`roohani2025`, over all genes. 0 is perfect; there is no chance level.

    Parameters
    ----------
    truth
        Mean expression of each perturbation, (n_perturbations × n_genes), or (n_genes,) of one.
    prediction
        The same as predicted. A row of NaN was not predicted.

    Returns
    -------
    (n_perturbations,), or a number for one. NaN for rows that were not predicted.

    Raises
    ------
    ValueError
        As :func:`profile_l2`.

    Notes
    -----
    Most genes do not respond, so that it is mostly the distance from the controls. The challenge scaled it as
    max(0, 1 - MAE / MAE of the mean): past the baseline a bad profile cost nothing, and was traded for other scores. Use
    :func:`challenge_score`, which does not clip.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.profile_mae([[1.0, 2.0], [0.0, 0.0]], [[4.0, 6.0], [float("nan")] * 2]).tolist()
    [3.5, nan]
    """
    rows = as_rows(truth, prediction)
    return rows.give(np.mean(np.abs(rows.truth - rows.prediction), axis=1))


def score_weights(scores: ArrayLike) -> np.ndarray:
    """Weight of each gene from its t-score, ((abs(t) - min) / (max - min))² over the genes of a row; no unit, 0 to 1.

    The weights of Mejia and co-authors for :func:`weighted_mse` :cite:p:`mejia2025`.

    Parameters
    ----------
    scores
        t-score of each gene, of the perturbation against the rest, (n_perturbations × n_genes) or (n_genes,); from
        :func:`t_scores`.

    Returns
    -------
    An array of the same shape. NaN for a row of which all scores are equally large.

    Raises
    ------
    ValueError
        If ``scores`` is empty or has NaN.

    Notes
    -----
    They are made of the truth that is to be predicted: use them for scoring only, never in training or in choosing genes.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.score_weights([-4.0, 0.0, 2.0]).tolist()
    [1.0, 0.0, 0.25]
    """
    size = np.abs(as_numbers(scores, "scores", shape=SHAPE, ndims=(1, 2)))
    least = size.min(axis=-1, keepdims=True)
    room = size.max(axis=-1, keepdims=True) - least
    return (np.divide(size - least, room, out=np.full(size.shape, np.nan), where=room > 0)) ** 2


def weighted_mse(truth: ArrayLike, prediction: ArrayLike, weights: ArrayLike) -> float | np.ndarray:
    """Weighted mean squared error of each profile, Σ w (truth - prediction)² / Σ w, in squared units; lower is better.

    With :func:`score_weights` the genes that respond count, instead of the many that do not :cite:p:`mejia2025`. 0 is
    perfect; there is no chance level, but the mean over perturbations no longer looks good by it.

    Parameters
    ----------
    truth
        Mean expression of each perturbation, (n_perturbations × n_genes), or (n_genes,) of one.
    prediction
        The same as predicted. A row of NaN was not predicted.
    weights
        Weight of each gene, 0 or more, of the same shape or (n_genes,). A row of NaN weighs nothing.

    Returns
    -------
    (n_perturbations,), or a number for one. NaN for rows that were not predicted and where all weights are 0 or NaN.

    Raises
    ------
    ValueError
        As :func:`profile_l2`, or if a weight is negative.

    Notes
    -----
    The weights come from the truth, so the genes are an oracle's choice. A perturbation with few cells has t-scores of
    noise, and the weights then pick the genes where the noise is largest.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.weighted_mse([1.0, 2.0, 3.0], [2.0, 2.0, 7.0], weights=[1.0, 1.0, 0.0])
    0.5
    """
    rows = as_rows(truth, prediction)
    given = np.asarray(weights, dtype=np.float64)
    none = np.isnan(given).all(axis=-1, keepdims=True) & (given.ndim == 2)
    if (given < 0).any():
        msg = f"weights has {int((given < 0).sum())} negative values; a weight is 0 or more."
        raise ValueError(msg)
    own = as_beside(np.where(none, 0.0, given), "weights", rows.truth)
    total = own.sum(axis=1)
    squared = np.sum(own * (rows.truth - rows.prediction) ** 2, axis=1)
    return rows.give(np.divide(squared, total, out=np.full(len(total), np.nan), where=total > 0))


def variance_ratio(truth: ArrayLike, prediction: ArrayLike, *, weights: ArrayLike | None = None) -> float | np.ndarray:
    """Variance over perturbations of the predictions by that of the truth, each summed over genes; no unit, 0 and up.

    1 is right. 0 is mode collapse: the same profile for every perturbation, which errors and correlations do not see.
    There is no chance level: a shuffled truth has 1, so it is a check beside other scores and no score of its own.

    Parameters
    ----------
    truth
        Mean expression or change of each perturbation, (n_perturbations × n_genes).
    prediction
        The same as predicted. Perturbations that were not predicted (rows of NaN) are left out of both variances.
    weights
        How often each perturbation is drawn, (n_perturbations,) or (n_draws × n_perturbations), for a bootstrap over
        perturbations.

    Returns
    -------
    A number, or (n_draws,). NaN if fewer than 2 different perturbations count or the truth does not vary.

    Raises
    ------
    ValueError
        As :func:`profile_l2`, or if ``weights`` has another length or negative values.

    Notes
    -----
    The sampling noise of the true means adds to their variance, so that the exact expectation has a ratio below 1; the ratio
    of one half of the cells to the other is the one to compare with.

    Examples
    --------
    >>> import heldout as ho
    >>> truth = [[0.0, 0.0], [2.0, 4.0]]
    >>> ho.metrics.variance_ratio(truth, [[0.0, 1.0], [1.0, 3.0]])
    0.25
    """
    rows = as_rows(truth, prediction, ndims=(2,))
    n = len(rows.known)
    drawn = as_numbers(
        np.ones(n) if weights is None else weights, "weights", shape=f"({n},) or (n_draws × {n})", ndims=(1, 2)
    )
    if drawn.shape[-1] != n or (drawn < 0).any():
        msg = f"weights has shape {drawn.shape} and {int((drawn < 0).sum())} negative values; wanted are 0 or more for each of {n} perturbations."
        raise ValueError(msg)
    if not rows.known.any():
        return float("nan") if drawn.ndim == 1 else np.full(len(drawn), np.nan)
    drawn_known = np.atleast_2d(drawn)[:, rows.known]
    spread, of_truth = (_weighted_spread(values[rows.known], drawn_known) for values in (rows.prediction, rows.truth))
    counts = ((drawn_known > 0).sum(axis=1) > 1) & (of_truth > 0)
    ratio = np.divide(spread, of_truth, out=np.full(len(spread), np.nan), where=counts)
    return float(ratio[0]) if drawn.ndim == 1 else ratio


def _weighted_spread(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Σ w (x - weighted mean)² over rows of each draw; 0 if all rows are alike."""
    centred = values - values.mean(axis=0)
    if not np.ptp(values, axis=0).any():
        return np.zeros(len(weights))
    total = weights.sum(axis=1)
    means = np.divide(
        weights @ centred, total[:, None], out=np.zeros((len(weights), values.shape[1])), where=total[:, None] > 0
    )
    return np.maximum(weights @ np.sum(centred**2, axis=1) - total * np.sum(means**2, axis=1), 0.0)
