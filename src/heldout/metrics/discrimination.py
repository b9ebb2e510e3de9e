"""Whether a prediction is nearer to its own perturbation than to others: ranks, 0.5 by chance, also of a collapsed model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from heldout._core.checks import check_choice
from heldout.metrics._rows import as_left_out, as_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Distance = Literal["l1", "l2", "cosine", "correlation"]

_DISTANCES = ("l1", "l2", "cosine", "correlation")
_TIE = 1e-9
"""Distances this close, relative to the larger (of cosines absolutely), are equal: they differ by rounding."""
_CLOSE = 1e-4
"""Below this share of a sum, the sum less what is left out has lost too many digits, and is computed anew."""


def perturbation_rank(
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    distance: Distance = "l2",
    among: Literal["predictions", "truths"] = "predictions",
    exclude: ArrayLike | None = None,
) -> np.ndarray:
    """Share of the others that are nearer than the right one, (n_perturbations,); no unit, 0 to 1, lower is better.

    PerturBench's rank :cite:p:`wu2024perturbench`: the share of the predictions of other perturbations that are nearer to the
    truth of p than its own prediction is. 0 is perfect, 0.5 chance, and 0.5 is also what one and the same prediction for
    every perturbation gets.

    Parameters
    ----------
    truth
        Profile or change of each perturbation, (n_perturbations × n_genes), two perturbations or more.
    prediction
        The same as predicted. A row of NaN was not predicted.
    distance
        ``l2`` ranks as the RMSE does and ``l1`` as the MAE; PerturBench's second rank is ``cosine`` of
        :func:`log_fold_change`. A row of zeros has cosine 0 with everything, one that is constant has correlation 0.
    among
        ``predictions``: which predictions are nearer to the truth of p. ``truths``: which truths are nearer to the prediction
        of p (the transpose, as in the Virtual Cell Challenge and in Systema).
    exclude
        Genes left out: (n_genes,) of bool, for all; (n_perturbations × n_genes) of bool, those of row p when p is ranked; or
        (n_perturbations,) of int, the column of the target of p, -1 for none.

    Returns
    -------
    NaN for rows that were not predicted. They are no competitors among predictions; their truths still are among truths, so
    that every method is ranked among the same. NaN if there is no other.

    Raises
    ------
    ValueError
        If shapes differ, the truth has NaN, a row of the prediction has NaN in some genes only, or ``exclude`` does not fit
        or leaves no gene.

    Notes
    -----
    Ties count one half (midrank). PerturBench breaks them by a shuffle without a seed, so that its ranks of equal
    predictions vary from run to run; in the mean they are these. The rank depends on the distance and on the size of the
    predicted changes: show ``l1`` or ``l2`` and ``cosine``. Perturbations of one pathway cannot be told apart by the truth
    itself: the rank of one half of the cells among the other is the best to be had. Distinct is not right: predictions of
    the wrong size can have rank 0.

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
    left_out = as_left_out(exclude, rows.truth.shape)
    ranks = np.full(len(rows.known), np.nan)
    known = np.flatnonzero(rows.known)
    if among == "predictions":
        probes, others, own = rows.truth[known], rows.prediction[known], np.arange(len(known))
    else:
        probes, others, own = rows.prediction[known], rows.truth, known
    if len(others) > 1:
        distances = _distances(probes, others, distance, None if left_out is None else left_out[known])
        ranks[known] = _midranks(distances, own, absolute=distance in ("cosine", "correlation")) / (len(others) - 1)
    return ranks


def centroid_accuracy(truth: ArrayLike, prediction: ArrayLike) -> np.ndarray:
    """Share of other true profiles that are farther from the prediction than the right one; no unit, 0 to 1, higher is better.

    Systema's centroid accuracy :cite:p:`vinas2025`, (n_perturbations,): 1 - :func:`perturbation_rank` with ``distance="l2"``
    and ``among="truths"``. 1 is perfect, 0.5 chance.

    Parameters
    ----------
    truth
        Profile or change of each perturbation, (n_perturbations × n_genes).
    prediction
        The same as predicted. A row of NaN was not predicted.

    Returns
    -------
    NaN for rows that were not predicted.

    Raises
    ------
    ValueError
        As :func:`perturbation_rank`.

    Notes
    -----
    A tie counts one half here and 0 in Systema; between measured profiles there are none. One and the same prediction for
    all scores 0.5 in the mean, but single perturbations near it score 1: never read single rows.

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
    """Perturbation discrimination score (PDS) of the Virtual Cell Challenge, (n_perturbations,); 0 to 1, higher is better.

    With k the number of true changes that are nearer to the predicted change of p than its own, ties counting one half:
    1 - k / n in 2025 :cite:p:`roohani2025`, by L1, and 1 - k / (n - 1) in 2026, by cosine. No unit; 1 is perfect. Chance
    and a constant prediction have (n + 1) / (2 n) in 2025 and exactly 0.5 in 2026, in the mean over perturbations.

    Parameters
    ----------
    truth
        True change of each perturbation from the control, (n_perturbations × n_genes).
    prediction
        Predicted change. In 2025 it was from the predicted controls, in 2026 from the real ones. A row of NaN was not
        predicted.
    edition
        2025 or 2026.
    distance
        ``l1``, ``l2``, ``cosine`` or ``correlation``; by default that of the edition.
    exclude
        Genes left out, as in :func:`perturbation_rank`: in 2025 the target of each perturbation, in 2026 all genes that are
        a target of any.

    Returns
    -------
    NaN for rows that were not predicted.

    Raises
    ------
    ValueError
        As :func:`perturbation_rank`.

    Notes
    -----
    Without ``exclude`` the knocked-down target alone names the perturbation. By L1 the size of the prediction matters: too
    large a change can raise the score; show both distances. The 2025 code broke ties by the order of the rows, which for a
    constant prediction has the same mean. The 2026 profiles are log(1 + 50,000 share) of summed counts, not means of log
    values: make them before.

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


def _distances(probes: np.ndarray, others: np.ndarray, distance: str, left_out: np.ndarray | None) -> np.ndarray:
    """Distance of each probe (rows) to each of the others (columns), over the genes that the probe's row leaves in."""
    if left_out is None:
        return _plain(probes, others, distance)
    kept = np.flatnonzero(~left_out.all(axis=0))
    probes, others, left_out = (np.take(X, kept, axis=1) for X in (probes, others, left_out))  # in C order
    result = _plain(probes, others, distance)
    squares = np.sum(others**2, axis=1)
    for row in np.flatnonzero(left_out.any(axis=1)):
        out = left_out[row]
        probe, less = probes[row], others[:, out]
        result[row], exact = _less(result[row], probe, probe[out], squares, less, distance)
        if not exact:
            result[row] = _plain(probe[None, ~out], others[:, ~out], distance)[0]
    return result


def _less(
    full: np.ndarray, probe: np.ndarray, out: np.ndarray, squares: np.ndarray, less: np.ndarray, distance: str
) -> tuple[np.ndarray, bool]:
    """Distances of one probe without some genes, from those with them; and whether enough digits are left."""
    if distance == "l1":
        rest = full - np.abs(less - out).sum(axis=1)
        return rest, bool((rest >= _CLOSE * full).all())
    if distance == "l2":
        rest = full**2 - np.sum((less - out) ** 2, axis=1)
        return np.sqrt(np.maximum(rest, 0)), bool((rest >= _CLOSE * full**2).all())
    if distance == "correlation":
        return full, False
    own = float(probe @ probe)
    left, own_left = squares - np.sum(less**2, axis=1), own - float(out @ out)
    if own_left < _CLOSE * own or (left < _CLOSE * squares).any() or not own or not squares.all():
        return full, False
    products = (1 - full) * np.sqrt(own * squares) - less @ out
    return 1 - products / np.sqrt(own_left * left), True


def _plain(probes: np.ndarray, others: np.ndarray, distance: str) -> np.ndarray:
    from scipy.spatial.distance import cdist  # slow to import

    if distance == "l1":
        return np.asarray(cdist(probes, others, "cityblock"))
    if distance == "l2":
        return np.asarray(cdist(probes, others, "euclidean"))
    first, second = (_directions(rows, centre=distance == "correlation") for rows in (probes, others))
    return 1 - first @ second.T


def _directions(rows: np.ndarray, *, centre: bool) -> np.ndarray:
    """Rows of length 1; a row that is zero (constant, if centred) stays zero."""
    moved = rows - rows.mean(axis=1, keepdims=True) if centre else rows
    length = np.linalg.norm(moved, axis=1)
    least = np.finfo(np.float64).eps * np.abs(rows).max(axis=1) * rows.shape[1] if centre else 0.0
    return np.divide(moved, length[:, None], out=np.zeros_like(moved), where=(length > least)[:, None])


def _midranks(distances: np.ndarray, own: np.ndarray, *, absolute: bool) -> np.ndarray:
    """How many are nearer than the own one, ties counting one half."""
    right = distances[np.arange(len(own)), own][:, None]
    room = _TIE if absolute else _TIE * np.maximum(distances, right)
    nearer = np.sum(distances < right - room, axis=1)
    tied = np.sum(np.abs(distances - right) <= room, axis=1) - 1
    return nearer + tied / 2
