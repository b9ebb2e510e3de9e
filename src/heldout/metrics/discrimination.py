"""Ranks of each prediction among all perturbations. The chance level is 0.5, also for a constant prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from heldout._core.checks import check_choice
from heldout.metrics._rows import as_excluded, as_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Distance = Literal["l1", "l2", "cosine", "correlation"]

_DISTANCES = ("l1", "l2", "cosine", "correlation")
_TIE = 1e-9
"""Distances that differ by less than this share of the larger one (for cosines, by this value) count as equal."""
_CLOSE = 1e-4
"""If less than this share of a sum remains after the excluded genes are subtracted, the sum is computed again."""


def perturbation_rank(
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    distance: Distance = "l2",
    among: Literal["predictions", "truths"] = "predictions",
    exclude: ArrayLike | None = None,
) -> np.ndarray:
    """Return the share of other perturbations that are nearer than the right one, (n_perturbations,); lower is better.

    This is the rank of PerturBench :cite:p:`wu2024perturbench`: the share of predictions of other perturbations that
    are nearer to the truth of p than the prediction of p is. It has no unit and lies in 0 to 1. 0 is perfect and 0.5 is
    the chance level. The same prediction for every perturbation also scores 0.5.

    Parameters
    ----------
    truth
        Profile or change of each perturbation, (n_perturbations × n_genes), with at least two perturbations.
    prediction
        Predicted profile or change, same shape. A row of NaN is a perturbation without a prediction.
    distance
        ``l2`` ranks like the RMSE and ``l1`` like the MAE. The second rank of PerturBench is ``cosine`` of
        :func:`log_fold_change`. A row of zeros has cosine 0 with every row, and a constant row has correlation 0.
    among
        ``predictions`` ranks the predictions by their distance to the truth of p. ``truths`` ranks the truths by their
        distance to the prediction of p (the transpose), as the Virtual Cell Challenge and Systema do.
    exclude
        Genes to leave out. A bool array (n_genes,) leaves them out for all perturbations. A bool array (n_perturbations
        × n_genes) has one row for each ranked perturbation. An integer array (n_perturbations,) gives the column of the
        target of each perturbation, -1 for no target.

    Returns
    -------
    One rank per perturbation, NaN for rows without a prediction. With ``predictions``, such rows are not ranked
    against. With ``truths``, their truths are still ranked against, so that every method is ranked among the same
    profiles. NaN if there is no other profile.

    Raises
    ------
    ValueError
        If shapes differ, the truth has NaN, a row of the prediction has NaN in some genes only, or ``exclude`` does not
        fit or leaves no gene.

    Notes
    -----
    A tie counts one half (midrank). PerturBench breaks ties by a shuffle without a seed, so its ranks of equal
    predictions change from run to run; their mean is the rank given here. The rank depends on the distance and on the
    size of the predicted changes. Show it for ``l1`` or ``l2`` and for ``cosine``. Even the truth cannot tell
    perturbations of one pathway apart. The best possible rank is that of one half of the cells among the other half. A
    low rank does not mean that the prediction is right: predictions of the wrong size can have rank 0.

    Examples
    --------
    >>> import heldout as ho
    >>> truth = [[0.0, 0.0], [2.0, 0.0], [9.0, 0.0]]
    >>> ho.metrics.perturbation_rank(truth, [[1.5, 0.0], [1.6, 0.0], [8.0, 0.0]]).tolist()
    [0.0, 0.0, 0.0]
    >>> ho.metrics.perturbation_rank(truth, [[1.5, 0.0], [1.6, 0.0], [8.0, 0.0]], among="truths").tolist()
    [0.5, 0.0, 0.0]
    >>> ho.metrics.perturbation_rank(truth, [[1.0, 1.0]] * 3).tolist()
    [0.5, 0.5, 0.5]
    """
    check_choice(distance, "distance", _DISTANCES)
    check_choice(among, "among", ("predictions", "truths"))
    rows = as_rows(truth, prediction, ndims=(2,))
    excluded = as_excluded(exclude, rows.truth.shape)
    ranks = np.full(len(rows.known), np.nan)
    known = np.flatnonzero(rows.known)
    if among == "predictions":
        probes, others, right = rows.truth[known], rows.prediction[known], np.arange(len(known))
    else:
        probes, others, right = rows.prediction[known], rows.truth, known
    if len(others) > 1:
        distances = _distances(probes, others, distance, None if excluded is None else excluded[known])
        ranks[known] = _midranks(distances, right, absolute=distance in ("cosine", "correlation")) / (len(others) - 1)
    return ranks


def centroid_accuracy(truth: ArrayLike, prediction: ArrayLike) -> np.ndarray:
    """Return the share of other true profiles that are farther from the prediction than the right one.

    This is the centroid accuracy of Systema :cite:p:`vinas2025`, (n_perturbations,). It equals 1 -
    :func:`perturbation_rank` with ``distance="l2"`` and ``among="truths"``. It has no unit and lies in 0 to 1; higher
    is better. 1 is perfect and 0.5 is the chance level.

    Parameters
    ----------
    truth
        Profile or change of each perturbation, (n_perturbations × n_genes).
    prediction
        Predicted profile or change, same shape. A row of NaN is a perturbation without a prediction.

    Returns
    -------
    One value per perturbation, NaN for rows without a prediction.

    Raises
    ------
    ValueError
        Same as :func:`perturbation_rank`.

    Notes
    -----
    A tie counts one half here and 0 in Systema. Measured profiles do not tie. The same prediction for all perturbations
    scores 0.5 on average, but single perturbations near it score 1. For this reason do not interpret single rows.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.centroid_accuracy([[0.0], [2.0], [9.0]], [[1.5], [1.6], [8.0]]).tolist()
    [0.5, 1.0, 1.0]
    """
    return 1 - perturbation_rank(truth, prediction, distance="l2", among="truths")


def discrimination_score(
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    edition: Literal[2025, 2026] = 2026,
    distance: Distance | None = None,
    exclude: ArrayLike | None = None,
) -> np.ndarray:
    """Return the perturbation discrimination score (PDS) of the Virtual Cell Challenge; higher is better.

    k is the number of true changes that are nearer to the predicted change of p than the true change of p is; a tie
    counts one half. The score is 1 - k / n with L1 distances in 2025 :cite:p:`roohani2025`, and 1 - k / (n - 1) with
    cosine distances in 2026. It has no unit and lies in 0 to 1; 1 is perfect. Chance and a constant prediction score,
    on average over perturbations, (n + 1) / (2 n) in 2025 and exactly 0.5 in 2026.

    Parameters
    ----------
    truth
        True change of each perturbation from the control, (n_perturbations × n_genes).
    prediction
        Predicted change, same shape. In 2025 it was the change from the predicted controls, in 2026 from the measured
        ones. A row of NaN is a perturbation without a prediction.
    edition
        2025 or 2026.
    distance
        ``l1``, ``l2``, ``cosine`` or ``correlation``. If None, the distance of the edition.
    exclude
        Genes to leave out, as in :func:`perturbation_rank`. In 2025 this is the target of each perturbation; in 2026
        all genes that are a target of any perturbation.

    Returns
    -------
    One value per perturbation, (n_perturbations,), NaN for rows without a prediction.

    Raises
    ------
    ValueError
        Same as :func:`perturbation_rank`.

    Notes
    -----
    Without ``exclude``, the knocked-down target gene alone identifies the perturbation. With L1 the size of the
    prediction matters, and a change that is too large can raise the score. Show both distances. The code of 2025 broke
    ties by the order of the rows. For a constant prediction this has the same mean. The profiles of 2026 are log(1 +
    50,000 share) of summed counts and not means of log values. Compute them with :func:`bulk_profile` first.

    Examples
    --------
    >>> import heldout as ho
    >>> truth = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
    >>> ho.metrics.discrimination_score(truth, truth, edition=2025).tolist()
    [1.0, 1.0, 1.0]
    >>> float(ho.metrics.discrimination_score(truth, [[0.3, 0.2]] * 3).mean())
    0.5
    """
    check_choice(edition, "edition", (2025, 2026))
    chosen: Distance = distance or ("l1" if edition == 2025 else "cosine")
    ranks = perturbation_rank(truth, prediction, distance=chosen, among="truths", exclude=exclude)
    n = len(ranks)
    return 1 - ranks * ((n - 1) / n if edition == 2025 else 1)


def _distances(probes: np.ndarray, others: np.ndarray, distance: str, excluded: np.ndarray | None) -> np.ndarray:
    """Return the distance of each probe (rows) to each of the others (columns), over the genes kept for the probe."""
    if excluded is None:
        return _plain(probes, others, distance)
    kept = np.flatnonzero(~excluded.all(axis=0))
    probes, others, excluded = (np.take(X, kept, axis=1) for X in (probes, others, excluded))  # in C order
    result = _plain(probes, others, distance)
    squares = np.sum(others**2, axis=1)
    for row in np.flatnonzero(excluded.any(axis=1)):
        genes = excluded[row]
        probe = probes[row]
        result[row], exact = _less(result[row], probe, probe[genes], squares, others[:, genes], distance)
        if not exact:
            result[row] = _plain(probe[None, ~genes], others[:, ~genes], distance)[0]
    return result


def _less(
    full: np.ndarray, probe: np.ndarray, removed: np.ndarray, squares: np.ndarray, of_others: np.ndarray, distance: str
) -> tuple[np.ndarray, bool]:
    """Subtract excluded genes from the distances of one probe; also return whether enough digits remain."""
    if distance == "l1":
        rest = full - np.abs(of_others - removed).sum(axis=1)
        return rest, bool((rest >= _CLOSE * full).all())
    if distance == "l2":
        rest = full**2 - np.sum((of_others - removed) ** 2, axis=1)
        return np.sqrt(np.maximum(rest, 0)), bool((rest >= _CLOSE * full**2).all())
    if distance == "correlation":
        return full, False
    square = float(probe @ probe)
    others_left, left = squares - np.sum(of_others**2, axis=1), square - float(removed @ removed)
    if left < _CLOSE * square or (others_left < _CLOSE * squares).any() or not square or not squares.all():
        return full, False
    products = (1 - full) * np.sqrt(square * squares) - of_others @ removed
    return 1 - products / np.sqrt(left * others_left), True


def _plain(probes: np.ndarray, others: np.ndarray, distance: str) -> np.ndarray:
    from scipy.spatial.distance import cdist  # slow to import

    if distance == "l1":
        return np.asarray(cdist(probes, others, "cityblock"))
    if distance == "l2":
        return np.asarray(cdist(probes, others, "euclidean"))
    first, second = (_directions(rows, centre=distance == "correlation") for rows in (probes, others))
    return 1 - first @ second.T


def _directions(rows: np.ndarray, *, centre: bool) -> np.ndarray:
    """Scale rows to length 1. A row of zeros (if centred, a constant row) stays zero."""
    moved = rows - rows.mean(axis=1, keepdims=True) if centre else rows
    length = np.linalg.norm(moved, axis=1)
    least = np.finfo(np.float64).eps * np.abs(rows).max(axis=1) * rows.shape[1] if centre else 0.0
    return np.divide(moved, length[:, None], out=np.zeros_like(moved), where=(length > least)[:, None])


def _midranks(distances: np.ndarray, columns: np.ndarray, *, absolute: bool) -> np.ndarray:
    """Count how many of the others are nearer than the right one; a tie counts one half."""
    right = distances[np.arange(len(columns)), columns][:, None]
    margin = _TIE if absolute else _TIE * np.maximum(distances, right)
    nearer = np.sum(distances < right - margin, axis=1)
    tied = np.sum(np.abs(distances - right) <= margin, axis=1) - 1
    return nearer + tied / 2
