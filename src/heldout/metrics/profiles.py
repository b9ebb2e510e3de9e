"""Errors of predicted profiles, one row and one value per perturbation.

A row of NaN in the prediction is a perturbation without a prediction. Its score is NaN; count such rows. No score is
clipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.checks import check_integer
from heldout.metrics._checks import as_numbers
from heldout.metrics._rows import SHAPE, as_draws, as_many_rows, as_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def top_genes(control: ArrayLike, n: int = 1000) -> np.ndarray:
    """Return the column numbers of the ``n`` genes most expressed in the control cells, (n,), from the highest down.

    Ahlmann-Eltze, Huber and Anders score on these genes :cite:p:`ahlmanneltze2025`. The choice does not use the truth.

    Parameters
    ----------
    control
        Mean expression of each gene in the control cells, (n_genes,). Use the training cells if the genes must be the
        same for all splits.
    n
        Number of genes. If there are fewer genes, all are returned.

    Returns
    -------
    Column numbers. Of genes with equal means, the earlier column comes first.

    Raises
    ------
    ValueError
        If ``control`` has NaN, is not 1-D, or ``n`` is below 1.

    Notes
    -----
    If a perturbation switches on a gene that the controls do not express, the gene is not included. Errors over
    different numbers of genes cannot be compared, so report ``n`` with the score.

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
    """Return the L2 distance of each predicted profile, √Σ (truth - prediction)² over genes; lower is better.

    It is the error of Ahlmann-Eltze, Huber and Anders, computed over :func:`top_genes` :cite:p:`ahlmanneltze2025`. It
    has the unit of the values. 0 is perfect and there is no chance level. Show "no change", the mean and the additive
    baseline next to it.

    Parameters
    ----------
    truth
        Mean expression (log values) of each perturbation, (n_perturbations × n_genes), or (n_genes,) for one.
    prediction
        Predicted mean expression, same shape. A row of NaN is a perturbation without a prediction.

    Returns
    -------
    One value per perturbation, (n_perturbations,), or a number for one perturbation. NaN for rows without a prediction.

    Raises
    ------
    ValueError
        If shapes differ, an array is empty, the truth has NaN, or a row of the prediction has NaN in some genes only.

    Notes
    -----
    The distance grows with the root of the number of genes. It includes the sampling noise of the true means, which is
    large for perturbations with few cells; see :func:`split_half`. Genes that do not respond dominate. For this reason
    a prediction that is the same for all perturbations can score well; see :func:`perturbation_rank`.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.profile_l2([[1.0, 2.0], [0.0, 0.0]], [[4.0, 6.0], [0.0, 0.0]]).tolist()
    [5.0, 0.0]
    """
    rows = as_rows(truth, prediction)
    return rows.result(np.linalg.norm(rows.truth - rows.prediction, axis=1))


def profile_rmse(truth: ArrayLike, prediction: ArrayLike) -> float | np.ndarray:
    """Return the RMSE of each predicted profile, √mean (truth - prediction)² over genes; lower is better.

    It is :func:`profile_l2` divided by the root of the number of genes, and the RMSE of PerturBench
    :cite:p:`wu2024perturbench`. It has the unit of the values. 0 is perfect and there is no chance level.

    Parameters
    ----------
    truth
        Mean expression of each perturbation, (n_perturbations × n_genes), or (n_genes,) for one.
    prediction
        Predicted mean expression, same shape. A row of NaN is a perturbation without a prediction.

    Returns
    -------
    One value per perturbation, (n_perturbations,), or a number for one perturbation. NaN for rows without a prediction.

    Raises
    ------
    ValueError
        Same as :func:`profile_l2`.

    Notes
    -----
    More genes without a response make the error smaller, for every method. For one number over all rows or one per
    gene, see :func:`rmse`.

    Examples
    --------
    >>> import heldout as ho
    >>> round(ho.metrics.profile_rmse([1.0, 2.0], [4.0, 6.0]), 3)
    3.536
    """
    rows = as_rows(truth, prediction)
    return rows.result(np.sqrt(np.mean((rows.truth - rows.prediction) ** 2, axis=1)))


def profile_mae(truth: ArrayLike, prediction: ArrayLike) -> float | np.ndarray:
    """Return the mean absolute error of each predicted profile; lower is better.

    It is the mean over genes of abs(truth - prediction), and the MAE of the Virtual Cell Challenge 2025
    :cite:p:`roohani2025` if it is computed over all genes. It has the unit of the values. 0 is perfect and there is no
    chance level.

    Parameters
    ----------
    truth
        Mean expression of each perturbation, (n_perturbations × n_genes), or (n_genes,) for one.
    prediction
        Predicted mean expression, same shape. A row of NaN is a perturbation without a prediction.

    Returns
    -------
    One value per perturbation, (n_perturbations,), or a number for one perturbation. NaN for rows without a prediction.

    Raises
    ------
    ValueError
        Same as :func:`profile_l2`.

    Notes
    -----
    Most genes do not respond, so the error is mostly the distance from the controls. The challenge scaled it as max(0,
    1 - MAE / MAE of the mean). A profile worse than that baseline cost nothing more, so methods gave it up to gain in
    other scores. Use :func:`challenge_score`, which does not clip.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.profile_mae([[1.0, 2.0], [0.0, 0.0]], [[4.0, 6.0], [float("nan")] * 2]).tolist()
    [3.5, nan]
    """
    rows = as_rows(truth, prediction)
    return rows.result(np.mean(np.abs(rows.truth - rows.prediction), axis=1))


def score_weights(scores: ArrayLike) -> np.ndarray:
    """Compute the weight of each gene from its t-score, ((abs(t) - min) / (max - min))² over the genes of a row.

    They are the weights of Mejia and co-authors for :func:`weighted_mse` :cite:p:`mejia2025`. They have no unit and lie
    in 0 to 1.

    Parameters
    ----------
    scores
        t-score of each gene, of the perturbation against all others, (n_perturbations × n_genes) or (n_genes,), from
        :func:`t_scores`.

    Returns
    -------
    An array of the same shape. NaN for a row in which all scores have the same size.

    Raises
    ------
    ValueError
        If ``scores`` is empty or has NaN.

    Notes
    -----
    The weights depend on the truth that is to be predicted. Use them for scoring only, and never for training or for
    the choice of genes.

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
    """Return the weighted mean squared error of each profile, Σ w (truth - prediction)² / Σ w; lower is better.

    With :func:`score_weights`, the genes that respond count, and not the many genes that do not :cite:p:`mejia2025`.
    The unit is the squared unit of the values. 0 is perfect and there is no chance level. The mean over perturbations
    no longer scores well.

    Parameters
    ----------
    truth
        Mean expression of each perturbation, (n_perturbations × n_genes), or (n_genes,) for one.
    prediction
        Predicted mean expression, same shape. A row of NaN is a perturbation without a prediction.
    weights
        Weight of each gene, at least 0, of the same shape or (n_genes,). A row of NaN counts as 0.

    Returns
    -------
    One value per perturbation, (n_perturbations,), or a number for one perturbation. NaN for rows without a prediction,
    and where all weights are 0 or NaN.

    Raises
    ------
    ValueError
        Same as :func:`profile_l2`, or if a weight is negative.

    Notes
    -----
    The weights come from the truth, so no method could choose these genes in advance. The t-scores of a perturbation
    with few cells are mostly noise. Its weights then choose the genes with the largest noise.

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
        msg = f"weights has {int((given < 0).sum())} negative values, but all must be >= 0."
        raise ValueError(msg)
    of_rows = as_many_rows(np.where(none, 0.0, given), "weights", rows.truth)
    total = of_rows.sum(axis=1)
    squared = np.sum(of_rows * (rows.truth - rows.prediction) ** 2, axis=1)
    return rows.result(np.divide(squared, total, out=np.full(len(total), np.nan), where=total > 0))


def variance_ratio(truth: ArrayLike, prediction: ArrayLike, *, weights: ArrayLike | None = None) -> float | np.ndarray:
    """Return the variance over perturbations of the predictions divided by that of the truth, each summed over genes.

    It has no unit and is at least 0. 1 is right. 0 is mode collapse: the same profile for every perturbation, which
    errors and correlations do not detect. There is no chance level, because a shuffled truth also has 1. For this
    reason it is a check next to other scores and not a score itself.

    Parameters
    ----------
    truth
        Mean expression or change of each perturbation, (n_perturbations × n_genes).
    prediction
        Predicted mean expression or change, same shape. Perturbations without a prediction (rows of NaN) are left out
        of both variances.
    weights
        How often each perturbation is drawn, (n_perturbations,) or (n_draws × n_perturbations), for a bootstrap over
        perturbations.

    Returns
    -------
    A number, or one for each draw, (n_draws,). NaN if fewer than 2 different perturbations count or the truth does not
    vary.

    Raises
    ------
    ValueError
        Same as :func:`profile_l2`, or if ``weights`` has another length or negative values.

    Notes
    -----
    The sampling noise of the true means adds to their variance, so the exact expectation has a ratio below 1. Compare
    with the ratio of one half of the cells to the other half.

    Examples
    --------
    >>> import heldout as ho
    >>> truth = [[0.0, 0.0], [2.0, 4.0]]
    >>> ho.metrics.variance_ratio(truth, [[0.0, 1.0], [1.0, 3.0]])
    0.25
    """
    rows = as_rows(truth, prediction, ndims=(2,))
    n = len(rows.known)
    drawn = as_draws(weights, n)
    if not rows.known.any():
        return float("nan") if drawn.ndim == 1 else np.full(len(drawn), np.nan)
    drawn_known = np.atleast_2d(drawn)[:, rows.known]
    spread, of_truth = (_weighted_spread(values[rows.known], drawn_known) for values in (rows.prediction, rows.truth))
    counts = ((drawn_known > 0).sum(axis=1) > 1) & (of_truth > 0)
    ratio = np.divide(spread, of_truth, out=np.full(len(spread), np.nan), where=counts)
    return float(ratio[0]) if drawn.ndim == 1 else ratio


def _weighted_spread(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return Σ w (x - weighted mean)² over rows for each draw; 0 if all rows are equal."""
    centred = values - values.mean(axis=0)
    if not np.ptp(values, axis=0).any():
        return np.zeros(len(weights))
    total = weights.sum(axis=1)
    means = np.divide(
        weights @ centred, total[:, None], out=np.zeros((len(weights), values.shape[1])), where=total[:, None] > 0
    )
    return np.maximum(weights @ np.sum(centred**2, axis=1) - total * np.sum(means**2, axis=1), 0.0)
