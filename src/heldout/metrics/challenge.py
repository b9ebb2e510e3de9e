"""Profiles and overall score of the Virtual Cell Challenge 2026, without its clipping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse

from heldout._core.arrays import as_dense
from heldout._core.checks import check_choice
from heldout._core.types import is_sparse
from heldout.metrics._checks import as_numbers
from heldout.metrics._rows import as_draws, as_excluded, as_many_rows, as_rows
from heldout.metrics.skill import skill

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

_SCALE = 50_000.0
_ROWS = 256
_PARTS: dict[int, dict[str, tuple[int, float | None]]] = {
    2025: {"mae": (1, 0.0), "pds": (-1, 1.0), "des": (-1, 1.0)},
    2026: {
        "pds": (-1, None),
        "expression_mse": (1, None),
        "direction_fidelity": (-1, None),
        "direction_reach": (-1, None),
        "de_jaccard": (-1, None),
        "lfc_nmae": (1, None),
    },
}
"""For each part of the score: 1 if lower is better or -1 if higher is better, and the best value if it is fixed."""


def bulk_profile(counts: Any, *, scale: float = _SCALE) -> tuple[np.ndarray, float]:
    """Compute the profile of a group of cells as in the Virtual Cell Challenge 2026, and its sampling noise.

    The profile is ln(1 + scale · share), where share is the fraction of all counts of the group that a gene has (code
    of cell-eval2 0.20). It is not the mean of log values, because cells with more counts weigh more. The noise comes
    from a jackknife over cells.

    Parameters
    ----------
    counts
        Raw counts of the cells of one perturbation, (n_cells × n_genes); dense, csr or csc.
    scale
        Total count to which the group is normalised.

    Returns
    -------
    The profile, (n_genes,), and its noise. The noise is the jackknife estimate of the sampling variance, summed over
    genes, in squared units of the profile. It is NaN for a single cell. Pass it to :func:`expression_mse`.

    Raises
    ------
    ValueError
        If there are no cells or no counts, or if values are negative or NaN.

    Notes
    -----
    The jackknife treats cells as independent. Cells of one library or one guide share variation that it cannot see.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> profile, noise = ho.metrics.bulk_profile(np.array([[1, 3], [1, 3], [2, 2]]), scale=12)
    >>> profile.round(3).tolist(), round(noise, 3)
    ([1.609, 2.197], 0.057)
    """
    rows: Any = sparse.csr_array(counts) if is_sparse(counts) else np.asarray(counts)
    stored: Any = rows.data if is_sparse(rows) else rows
    if rows.ndim != 2 or 0 in rows.shape or not np.isfinite(stored).all() or (stored < 0).any() or not stored.any():
        msg = f"counts has shape {rows.shape}, but must be raw counts (n_cells × n_genes): finite, >= 0 and not all 0."
        raise ValueError(msg)
    n = rows.shape[0]
    total = np.asarray(rows.sum(axis=0), dtype=np.float64).ravel()
    profile = np.log1p(scale * total / total.sum())
    if n == 1:
        return profile, float("nan")
    # Profiles that leave out one cell each. Deviations from the profile of all cells keep the digits of the variance.
    first, second = np.zeros((2, len(total)))
    for i in range(0, n, _ROWS):
        block = rows[i : i + _ROWS]
        left = total - as_dense(block)
        rest = left.sum(axis=1, keepdims=True)
        shares = np.divide(left, rest, out=np.zeros_like(left), where=rest > 0)
        deviation = np.log1p(scale * shares) - profile
        first += deviation.sum(axis=0)
        second += np.sum(deviation**2, axis=0)
    return profile, float((n - 1) / n * np.maximum(second - first**2 / n, 0).sum())


def expression_mse(
    truth: ArrayLike,
    prediction: ArrayLike,
    control: ArrayLike,
    *,
    truth_noise: ArrayLike,
    control_noise: ArrayLike,
    prediction_noise: ArrayLike = 0.0,
    exclude: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> float | np.ndarray:
    """Return the squared error divided by the squared true change, each minus its sampling noise; lower is better.

    The score is Σ (‖prediction - truth‖² - noise of both) / Σ (‖truth - control‖² - noise of both), with sums over
    perturbations. It is "expr_mse" of the Virtual Cell Challenge 2026 (code of cell-eval2 0.20) and has no unit. 0 is
    perfect, and the prediction "no change" scores 1. There the mean response scored 0.99, and one half of the cells
    against the other half scored 0.03 to 0.05.

    Parameters
    ----------
    truth
        True profile of each perturbation, (n_perturbations × n_genes), from :func:`bulk_profile`.
    prediction
        Predicted profile of each perturbation, same shape. Perturbations without a prediction (rows of NaN) are left
        out of both sums.
    control
        Profile of the controls, (n_genes,), or one for each row.
    truth_noise
        Noise of each true profile, (n_perturbations,), from :func:`bulk_profile`.
    control_noise
        Noise of the controls, one number or one for each row.
    prediction_noise
        Noise of the predicted profiles, if they are means of sampled cells. At most the noise of the truth is
        subtracted, as in the challenge. Otherwise noisier predicted cells would lower the error.
    exclude
        Genes to leave out, as in :func:`perturbation_rank`. The challenge leaves out the target of each perturbation.
        The noise still includes all genes, as in the challenge.
    weights
        How often each perturbation is drawn, (n_perturbations,) or (n_draws × n_perturbations), for a bootstrap over
        perturbations.

    Returns
    -------
    A number, or one for each draw, (n_draws,). It can be below 0. NaN if the summed true change is not larger than its
    noise.

    Raises
    ------
    ValueError
        If shapes differ; if truth, control or a noise has NaN; or if a noise or a weight is negative.

    Notes
    -----
    Perturbations with large effects dominate the score. The challenge also limits the noise of sampled cells by the
    variance of the prediction over perturbations. This function does not apply that limit.

    Examples
    --------
    >>> import heldout as ho
    >>> truth, control = [[1.0, 0.0], [0.0, 2.0]], [0.0, 0.0]
    >>> ho.metrics.expression_mse(truth, [[0.0, 0.0]] * 2, control, truth_noise=[0.1, 0.1], control_noise=0.0)
    1.0
    """
    rows = as_rows(truth, prediction, ndims=(2,))
    n = len(rows.known)
    noise, base_noise, sampling_noise = (
        _noise(values, name, n)
        for values, name in (
            (truth_noise, "truth_noise"),
            (control_noise, "control_noise"),
            (prediction_noise, "prediction_noise"),
        )
    )
    excluded = as_excluded(exclude, rows.truth.shape)
    kept = np.ones(rows.truth.shape) if excluded is None else ~excluded
    predicted = np.where(rows.known[:, None], rows.prediction, 0)
    error = np.sum(kept * (predicted - rows.truth) ** 2, axis=1) - np.minimum(sampling_noise, noise) - noise
    controls = as_many_rows(control, "control", rows.truth)
    change = np.sum(kept * (rows.truth - controls) ** 2, axis=1) - noise - base_noise
    drawn = as_draws(weights, n)
    counted = np.atleast_2d(drawn) * rows.known
    above, below = counted @ error, counted @ change
    ratio = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
    return float(ratio[0]) if drawn.ndim == 1 else ratio


def challenge_score(
    scores: Mapping[str, float],
    baseline: Mapping[str, float],
    replicate: Mapping[str, float] | None = None,
    *,
    edition: Literal[2025, 2026] = 2026,
) -> dict[str, float]:
    """Compute the overall score of the Virtual Cell Challenge and its parts; higher is better.

    Each part is scaled so that the baseline scores 0. For 2025 :cite:p:`roohani2025` the scale is 1 - u / b for
    ``mae``, and (u - b) / (1 - b) for ``pds`` and ``des``, where u is the score and b the score of the mean of the
    training perturbations. For 2026 (code of cell-eval2 0.20) the scale is (u - b) / (r - b) for ``pds``,
    ``expression_mse``, ``direction_fidelity``, ``direction_reach``, ``de_jaccard`` and ``lfc_nmae``, where r is the
    score of one half of the cells against the other half. Such a replicate scores 1. The score has no unit, and the
    baseline is the chance level.

    Parameters
    ----------
    scores
        Mean over perturbations of each part, by name.
    baseline
        Mean over the same perturbations of each part for the baseline, by name.
    replicate
        Mean over the same perturbations of each part for the replicate, by name; only for 2026.
    edition
        2025 or 2026.

    Returns
    -------
    The scaled parts by name, and their mean as ``score``. NaN where the baseline is as good as the best value.

    Raises
    ------
    ValueError
        If a part is missing, if 2026 has no ``replicate``, or if 2025 has one.

    Notes
    -----
    No part is clipped. The challenge of 2025 set parts below 0 to 0. There a prediction lost nothing if its MAE was
    worse than that of the mean, by any amount, so it paid to make changes larger and gain in the other parts. In a mean
    of ratios, a part weighs more if its baseline leaves little room. Read the parts, and the :func:`paired_interval` of
    their differences from the baseline.

    Examples
    --------
    >>> import heldout as ho
    >>> baseline = {"mae": 0.2, "pds": 0.5, "des": 0.1}
    >>> found = ho.metrics.challenge_score({"mae": 0.3, "pds": 0.75, "des": 0.19}, baseline, edition=2025)
    >>> {name: round(value, 3) for name, value in found.items()}
    {'mae': -0.5, 'pds': 0.5, 'des': 0.1, 'score': 0.033}
    """
    check_choice(edition, "edition", (2025, 2026))
    if (replicate is None) != (edition == 2025):
        msg = (
            f"edition={edition} {'needs' if edition == 2026 else 'has no'} replicate, "
            "the scores of one half of the cells against the other half."
        )
        raise ValueError(msg)
    parts = _PARTS[edition]
    for values, name in ((scores, "scores"), (baseline, "baseline"), (replicate, "replicate")):
        missing = [part for part in parts if values is not None and part not in values]
        if missing:
            msg = f"{name} has no {', '.join(missing)}; edition={edition} needs {', '.join(parts)}."
            raise ValueError(msg)
    scaled = {}
    for part, (sign, fixed) in parts.items():
        best = fixed if replicate is None or fixed is not None else replicate[part]
        assert best is not None
        scaled[part] = float(skill(sign * scores[part], sign * baseline[part], sign * best))
    return {**scaled, "score": float(np.mean(list(scaled.values())))}


def _noise(values: ArrayLike, name: str, n: int) -> np.ndarray:
    noise = as_numbers(values, name, shape=f"({n},) or one number", ndims=(0, 1))
    if noise.ndim and len(noise) != n or (noise < 0).any():
        negative = int((noise < 0).sum())
        msg = (
            f"{name} has shape {noise.shape} and {negative} negative values, but must be one number or one for each of "
            f"{n} perturbations, all >= 0."
        )
        raise ValueError(msg)
    return np.broadcast_to(noise, (n,))
