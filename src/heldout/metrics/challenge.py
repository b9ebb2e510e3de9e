"""What the Virtual Cell Challenge of 2026 makes of counts, and how its scores are put on one scale; without its clipping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse

from heldout._core.checks import check_choice
from heldout.metrics._checks import as_numbers
from heldout.metrics._rows import as_beside, as_left_out, as_rows
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
"""Name, 1 if lower is better and -1 if higher is, and the best value if it is fixed."""


def bulk_profile(counts: Any, *, scale: float = _SCALE) -> tuple[np.ndarray, float]:
    """Profile of a group of cells as in the Virtual Cell Challenge 2026, and its noise from a jackknife over cells.

    ln(1 + scale · share), of the share that each gene has of all counts of the group (code of cell-eval2 0.20). Not the mean
    of log values: large cells count more.

    Parameters
    ----------
    counts
        Raw counts of the cells of one perturbation, (n_cells × n_genes); dense, csr or csc.
    scale
        Counts to which the sum is brought.

    Returns
    -------
    The profile, (n_genes,), and its noise: the jackknife's estimate of its sampling variance, summed over genes, in squared
    units of the profile; NaN of a single cell. For :func:`expression_mse`.

    Raises
    ------
    ValueError
        If there are no cells or no counts, or values that are negative or NaN.

    Notes
    -----
    The jackknife takes cells for independent draws. Cells of one library or guide share what it does not see.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> profile, noise = ho.metrics.bulk_profile(np.array([[1, 3], [1, 3], [2, 2]]), scale=12)
    >>> profile.round(3).tolist(), round(noise, 3)
    ([1.609, 2.197], 0.057)
    """
    rows: Any = sparse.csr_array(counts) if sparse.issparse(counts) else np.asarray(counts)
    stored: Any = rows.data if sparse.issparse(rows) else rows
    if rows.ndim != 2 or 0 in rows.shape or not np.isfinite(stored).all() or (stored < 0).any() or not stored.any():
        msg = f"counts has shape {rows.shape}; wanted are raw counts (n_cells × n_genes), finite, 0 or more and not all 0."
        raise ValueError(msg)
    n = rows.shape[0]
    total = np.asarray(rows.sum(axis=0), dtype=np.float64).ravel()
    profile = np.log1p(scale * total / total.sum())
    if n == 1:
        return profile, float("nan")
    # Profiles without one cell each, as deviations from the profile of all: their variance loses no digits.
    first, second = np.zeros((2, len(total)))
    for i in range(0, n, _ROWS):
        block = rows[i : i + _ROWS]
        left = total - np.asarray(block.toarray() if sparse.issparse(block) else block, dtype=np.float64)
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
    """Squared error over the squared true change, both less their sampling noise; no unit, lower is better.

    Σ (‖prediction - truth‖² - noise of both) / Σ (‖truth - control‖² - noise of both), sums over perturbations: "expr_mse" of the
    Virtual Cell Challenge 2026 (code of cell-eval2 0.20). 0 is perfect and 1 "no change": there the mean response scored 0.99
    and one half of the cells against the other 0.03 to 0.05.

    Parameters
    ----------
    truth
        True profile of each perturbation, (n_perturbations × n_genes), from :func:`bulk_profile`.
    prediction
        The same as predicted. Perturbations that were not predicted (rows of NaN) are left out of both sums.
    control
        Profile of the controls, (n_genes,) or one for each row.
    truth_noise
        Noise of each true profile, (n_perturbations,), from :func:`bulk_profile`.
    control_noise
        Noise of the controls, one number or one for each row.
    prediction_noise
        Noise of the predicted profiles if they are means of sampled cells. No more than the truth's is taken off, as in
        the challenge: otherwise noisier predicted cells would lower the error.
    exclude
        Genes left out, as in :func:`perturbation_rank`; in the challenge the target of each perturbation. Noise is that of all
        genes, as there.
    weights
        How often each perturbation is drawn, (n_perturbations,) or (n_draws × n_perturbations), for a bootstrap over
        perturbations.

    Returns
    -------
    A number, or (n_draws,). It can be below 0. NaN if the changes do not exceed their noise in sum.

    Raises
    ------
    ValueError
        If shapes differ, or truth, control or a noise has NaN or a noise is negative.

    Notes
    -----
    Perturbations with large effects rule it. The challenge bounds the noise of sampled cells once more, by the variance of
    the prediction over perturbations; that bound is left out here.

    Examples
    --------
    >>> import heldout as ho
    >>> truth, control = [[1.0, 0.0], [0.0, 2.0]], [0.0, 0.0]
    >>> ho.metrics.expression_mse(truth, [[0.0, 0.0]] * 2, control, truth_noise=[0.1, 0.1], control_noise=0.0)
    1.0
    """
    rows = as_rows(truth, prediction, ndims=(2,))
    n = len(rows.known)
    own, base, sampled = (
        _noise(values, name, n)
        for values, name in (
            (truth_noise, "truth_noise"),
            (control_noise, "control_noise"),
            (prediction_noise, "prediction_noise"),
        )
    )
    left_out = as_left_out(exclude, rows.truth.shape)
    kept = np.ones(rows.truth.shape) if left_out is None else ~left_out
    predicted = np.where(rows.known[:, None], rows.prediction, 0)
    error = np.sum(kept * (predicted - rows.truth) ** 2, axis=1) - np.minimum(sampled, own) - own
    change = np.sum(kept * (rows.truth - as_beside(control, "control", rows.truth)) ** 2, axis=1) - own - base
    drawn = as_numbers(np.ones(n) if weights is None else weights, "weights", shape=f"(n_draws × {n})", ndims=(1, 2))
    if drawn.shape[-1] != n:
        msg = f"weights has shape {drawn.shape}; wanted is one for each of {n} perturbations."
        raise ValueError(msg)
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
    """Overall score of the Virtual Cell Challenge and its parts, each scaled so that the baseline has 0; higher is better.

    2025 :cite:p:`roohani2025`: 1 - u / b for ``mae``, (u - b) / (1 - b) for ``pds`` and ``des``, where b is the score of the mean of
    the training perturbations. 2026 (code of cell-eval2 0.20): (u - b) / (r - b) for ``pds``, ``expression_mse``,
    ``direction_fidelity``, ``direction_reach``, ``de_jaccard`` and ``lfc_nmae``, where r is one half of the cells against the
    other, so that such a replicate has 1. No unit; the baseline is the chance level.

    Parameters
    ----------
    scores
        Mean over perturbations of each part, by name.
    baseline
        The same of the baseline, on the same perturbations.
    replicate
        The same of the replicate, for 2026.
    edition
        2025 or 2026.

    Returns
    -------
    The scaled parts by name, and their mean as ``score``. NaN where the baseline is as good as the best.

    Raises
    ------
    ValueError
        If a part is missing, or 2026 is asked for without ``replicate`` or 2025 with one.

    Notes
    -----
    Nothing is clipped. The challenge of 2025 set parts below 0 to 0: a prediction worse than the mean by any amount in
    MAE lost nothing, which paid for predictions that were blown up to gain in the others. A mean of ratios weighs a part by how
    little room its baseline leaves. Read the parts, and :func:`paired_interval` of their differences from the baseline.

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
        msg = f"edition={edition} {'needs' if edition == 2026 else 'has no'} replicate: the scores of one half of the cells against the other."
        raise ValueError(msg)
    parts = _PARTS[edition]
    for values, name in ((scores, "scores"), (baseline, "baseline"), (replicate, "replicate")):
        missing = [part for part in parts if values is not None and part not in values]
        if missing:
            msg = f"{name} has no {', '.join(missing)}; edition={edition} is made of {', '.join(parts)}."
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
        msg = f"{name} has shape {noise.shape} and {int((noise < 0).sum())} negative values; wanted is 0 or more for each of {n} perturbations."
        raise ValueError(msg)
    return np.broadcast_to(noise, (n,))
