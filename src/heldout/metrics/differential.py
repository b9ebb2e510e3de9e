"""Differential expression of perturbed cells against control cells, gene by gene, as scores of gene lists use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from scipy import sparse

from heldout._core.arrays import moments
from heldout._core.checks import check_choice, check_number
from heldout._core.html import fields_html
from heldout._core.types import is_sparse
from heldout.metrics._checks import as_numbers
from heldout.metrics._ranksum import rank_sums
from heldout.metrics._rows import SHAPE

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Test = Literal["wilcoxon", "t", "t_overestimated"]

_LARGE = 30
"""Above this value expm1(x) plus a small number equals exp(x) in double precision."""


class Differential(NamedTuple):
    """Differential expression of each gene, (n_perturbations × n_genes), or (n_genes,) for one perturbation.

    Parameters
    ----------
    score
        z of the rank-sum test, or t, without unit. It is above 0 if the gene is higher than in the controls.
    log_fold_change
        log2 fold change against the controls.
    p_value
        Two-sided p.
    p_adjusted
        p adjusted over the genes of a perturbation (Benjamini and Hochberg).

    Notes
    -----
    A method that predicts profiles and not cells has no p. To score its fold changes anyway, set its p-values to 0.
    Every gene is then called, and the genes are sorted by their fold change. Report this with the score. A row of NaN
    is a perturbation without a prediction.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> found = ho.metrics.differential(np.eye(4)[:, :2], np.zeros((5, 2)))
    >>> found.score.shape, found.p_adjusted.round(2).tolist()
    ((2,), [0.37, 0.37])
    """

    score: np.ndarray
    log_fold_change: np.ndarray
    p_value: np.ndarray
    p_adjusted: np.ndarray

    def _repr_html_(self) -> str:
        return fields_html(self)


def differential(
    cells: Any,
    control: Any,
    *,
    groups: ArrayLike | None = None,
    test: Test = "wilcoxon",
    tie_correct: bool = True,
    continuity: bool = True,
    pseudocount: float = 1e-9,
) -> Differential:
    """Test each gene of the perturbed cells against the control cells.

    Parameters
    ----------
    cells
        Log-normalised expression, ln(1 + x), of perturbed cells, (n_cells × n_genes); dense, csr or csc.
    control
        Log-normalised expression of the control cells, (n_control × n_genes).
    groups
        Perturbation of each perturbed cell as an integer >= 0, (n_cells,). Each number has at least one cell. If None,
        all cells belong to one perturbation. One call with many perturbations is much faster than one call for each,
        because the controls are sorted only once.
    test
        ``wilcoxon`` is the rank-sum test (Mann-Whitney), used by the Virtual Cell Challenge. ``t`` is Welch's t-test.
        ``t_overestimated`` is Welch's t-test in which the controls count as many cells as the perturbed group. It is
        ``t-test_overestim_var`` of scanpy, from which PerturBench takes its scores :cite:p:`wu2024perturbench`.
    tie_correct
        Whether to correct the variance of the rank sum for ties. Zeros are ties. scanpy does not correct by default.
    continuity
        Whether to subtract 0.5 from the deviation of the rank sum, as ``scipy.stats.mannwhitneyu`` does. scanpy does
        not.
    pseudocount
        Added to both means in the fold change log2((exp(mean) - 1 + pseudocount) / (exp(mean of control) - 1 +
        pseudocount)). This is the fold change of scanpy :cite:p:`wolf2018` and the "geometric mean" of pdex. A mean
        below 0 counts as 0. Log values cannot have such a mean, but predictions can.

    Returns
    -------
    :class:`Differential`, with arrays (n_groups × n_genes) if ``groups`` is given. A gene that does not vary has score
    0 and p 1.

    Raises
    ------
    TypeError
        If a sparse matrix is neither csr nor csc.
    ValueError
        If the numbers of genes differ, a matrix is empty or has NaN, a group has no cell, or a t-test has fewer than 2
        cells on one side.

    Notes
    -----
    Cells are not replicates. With many cells every gene is significant, and the number of called genes grows with the
    number of cells. Compare prediction and truth at equal numbers of cells. Do not use these p-values as evidence about
    a perturbation :cite:p:`squair2021`. Genes with very low expression have huge fold changes that carry no
    information. Filter the genes by their expression in the controls first.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> rng = np.random.default_rng(0)
    >>> control, cells = rng.gamma(1.0, size=(2, 40, 3))
    >>> cells[:, 0] += 1
    >>> (ho.metrics.differential(cells, control).p_adjusted < 0.05).tolist()
    [True, False, False]
    """
    check_choice(test, "test", ("wilcoxon", "t", "t_overestimated"))
    check_number(pseudocount, "pseudocount", above=0)
    perturbed, controls = _same_precision(cells, control)
    if perturbed.shape[1] != controls.shape[1]:
        msg = (
            f"cells has {perturbed.shape[1]} genes and control {controls.shape[1]}; "
            "both must have the same genes in the same order."
        )
        raise ValueError(msg)
    codes = _as_groups(groups, perturbed.shape[0])
    sizes = np.bincount(codes)
    if test != "wilcoxon":
        for n, name in ((int(sizes.min()), "a group of cells"), (controls.shape[0], "control")):
            if n < 2:
                msg = f"{name} has {n} cell, but a t-test needs at least 2 on each side. Leave out this perturbation."
                raise ValueError(msg)
    rows = sparse.csr_array(perturbed) if is_sparse(perturbed) else perturbed
    of_groups = [moments(rows, codes == g) for g in range(len(sizes))]
    means, variances = (np.stack([getattr(m, what) for m in of_groups]) for what in ("mean", "var"))
    base = moments(controls)
    if test == "wilcoxon":
        score, p = rank_sums(perturbed, codes, controls, tie_correct=tie_correct, continuity=continuity)
    else:
        score, p = _welch(means, variances, sizes, base.mean, base.var, base.n, overestimated=test == "t_overestimated")
    change = _log2_expm1(means, pseudocount) - _log2_expm1(base.mean, pseudocount)
    from scipy.stats import false_discovery_control  # slow to import

    parts = (score, change, p, false_discovery_control(p, axis=1))
    return Differential(*(part if groups is not None else part[0] for part in parts))


def t_scores(
    mean: ArrayLike,
    variance: ArrayLike,
    n: ArrayLike,
    *,
    control_mean: ArrayLike,
    control_variance: ArrayLike,
    control_n: ArrayLike,
    test: Literal["t", "t_overestimated"] = "t",
) -> np.ndarray:
    """Compute Welch's t of each gene from means and variances, without the cells.

    t has no unit. It is above 0 if the gene is higher than in the controls.

    Parameters
    ----------
    mean
        Mean over the cells of each perturbation, (n_perturbations × n_genes) or (n_genes,).
    variance
        Variance over the cells (with n - 1 in the denominator), same shape.
    n
        Number of cells of each perturbation, (n_perturbations,), or one number; at least 2.
    control_mean
        Mean of the cells to compare with, (n_genes,), or one row for each perturbation.
    control_variance
        Variance of these cells.
    control_n
        Number of these cells.
    test
        As in :func:`differential`.

    Returns
    -------
    (n_perturbations × n_genes) or (n_genes,). 0 where neither side varies, so that t is not defined.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is NaN, a variance is negative, or a number of cells is below 2.

    Notes
    -----
    For :func:`score_weights`, compare with all other perturbations and not with the controls; see :func:`rest_moments`.
    t grows with the root of the number of cells. For this reason it can rank genes within a perturbation only.

    Examples
    --------
    >>> import heldout as ho
    >>> base = {"control_mean": [1.0, 1.0], "control_variance": [0.5, 0.5], "control_n": 10}
    >>> ho.metrics.t_scores([2.0, 1.0], [0.5, 0.5], 10, **base).round(3).tolist()
    [3.162, 0.0]
    """
    check_choice(test, "test", ("t", "t_overestimated"))
    single = np.ndim(mean) == 1
    means, spread, sizes = _as_moments(mean, variance, n, "")
    base, base_spread, base_sizes = _as_moments(control_mean, control_variance, control_n, "control_")
    for array in (base, base_spread):
        if array.shape[1] != means.shape[1] or len(array) not in (1, len(means)):
            msg = (
                f"control has shape {array.shape} and mean {means.shape}; "
                "control must have one row, or one row for each perturbation."
            )
            raise ValueError(msg)
    score = _welch(means, spread, sizes, base, base_spread, base_sizes, overestimated=test == "t_overestimated")[0]
    return score[0] if single else score


def rest_moments(mean: ArrayLike, variance: ArrayLike, n: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute mean, variance and number of the cells of all other perturbations, for each perturbation.

    Pass the result to :func:`t_scores` to compute the weights of :func:`weighted_mse` :cite:p:`mejia2025`.

    Parameters
    ----------
    mean
        Mean over the cells of each perturbation, (n_perturbations × n_genes), at least 2 perturbations.
    variance
        Variance over the cells (with n - 1 in the denominator), same shape.
    n
        Number of cells of each perturbation, (n_perturbations,).

    Returns
    -------
    Mean and variance, (n_perturbations × n_genes) each, and number, (n_perturbations,), of the pooled cells of all
    other perturbations.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is NaN, a variance is negative, a number of cells is below 2, or there is only one
        perturbation.

    Notes
    -----
    If one perturbation is very common, the rest of the screen consists mostly of it.

    Examples
    --------
    >>> import heldout as ho
    >>> mean, variance, n = ho.metrics.rest_moments([[1.0], [3.0], [5.0]], [[0.0], [0.0], [0.0]], [2, 2, 2])
    >>> mean.ravel().tolist(), variance.ravel().round(3).tolist(), n.tolist()
    ([4.0, 3.0, 2.0], [1.333, 5.333, 1.333], [4, 4, 4])
    """
    means, spread, sizes = _as_moments(mean, variance, n, "")
    if len(means) < 2:
        msg = "mean has 1 perturbation; at least 2 are needed, because each is compared with all others."
        raise ValueError(msg)
    counts = np.broadcast_to(sizes, (len(means), 1))
    centre = np.average(means, axis=0, weights=counts.ravel())
    centred = means - centre
    within, between = (counts - 1) * spread, counts * centred**2
    rest = counts.sum() - counts
    rest_mean = (np.sum(counts * centred, axis=0) - counts * centred) / rest
    squares = within.sum(axis=0) - within + between.sum(axis=0) - between - rest * rest_mean**2
    return rest_mean + centre, np.maximum(squares, 0) / (rest - 1), rest.ravel()


def _same_precision(cells: Any, control: Any) -> tuple[Any, Any]:
    """Check both matrices. Round both to single precision if one of them is, because equal values must be ties."""
    kinds = [getattr(X, "dtype", None) for X in (cells, control)]
    both = [_as_cells(X, name) for X, name in ((cells, "cells"), (control, "control"))]
    if np.float32 in kinds and kinds[0] != kinds[1]:
        both = [X.astype(np.float32) for X in both]
    return both[0], both[1]


def _as_cells(X: Any, name: str) -> Any:
    """Return a matrix of cells with finite values, dense in float or sparse."""
    if is_sparse(X) and X.format in {"csr", "csc"}:
        if 0 in X.shape:
            msg = f"{name} has shape {X.shape}, but must have at least one cell and one gene."
            raise ValueError(msg)
        if not np.isfinite(X.data).all():
            msg = f"{name} has {int((~np.isfinite(X.data)).sum())} NaN or infinite values."
            raise ValueError(msg)
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        return X
    if is_sparse(X):
        msg = f"{name} is a sparse matrix in format {X.format}, but must be csr or csc. Convert it with .tocsr()."
        raise TypeError(msg)
    array = np.asarray(X)
    if array.dtype not in (np.float32, np.float64) or array.ndim != 2 or not array.size:
        return as_numbers(array, name, shape="(n_cells × n_genes)", ndims=(2,))
    if not np.isfinite(array).all():
        msg = f"{name} has {int((~np.isfinite(array)).sum())} NaN or infinite values."
        raise ValueError(msg)
    return array  # without a copy, because it can be large


def _as_groups(groups: ArrayLike | None, n: int) -> np.ndarray:
    if groups is None:
        return np.zeros(n, dtype=np.intp)
    codes = np.asarray(groups)
    if codes.shape != (n,) or codes.dtype.kind not in "iu" or codes.min() < 0:
        msg = (
            f"groups has shape {codes.shape} and type {codes.dtype}, but must have an integer >= 0 for each of {n} "
            "cells. Make it with np.unique(..., return_inverse=True)."
        )
        raise ValueError(msg)
    empty = np.flatnonzero(np.bincount(codes) == 0)
    if len(empty):
        msg = (
            f"groups has {len(empty)} numbers below {int(codes.max())} without a cell, for example {int(empty[0])}. "
            "Number the groups without gaps."
        )
        raise ValueError(msg)
    return codes.astype(np.intp)


def _as_moments(mean: ArrayLike, variance: ArrayLike, n: ArrayLike, prefix: str) -> tuple[np.ndarray, ...]:
    means = np.atleast_2d(as_numbers(mean, f"{prefix}mean", shape=SHAPE, ndims=(1, 2)))
    variances = np.atleast_2d(as_numbers(variance, f"{prefix}variance", shape=SHAPE, ndims=(1, 2)))
    sizes = as_numbers(n, f"{prefix}n", shape="(n_perturbations,) or one number", ndims=(0, 1))
    if means.shape != variances.shape or (sizes.ndim == 1 and len(sizes) not in (1, len(means))):
        msg = (
            f"{prefix}mean, {prefix}variance and {prefix}n have shapes {means.shape}, {variances.shape} and "
            f"{sizes.shape}; all must have the same perturbations and genes."
        )
        raise ValueError(msg)
    if (variances < 0).any() or (sizes < 2).any():
        msg = (
            f"{prefix}variance must be >= 0 and {prefix}n must be >= 2; "
            f"the smallest values are {float(variances.min())!r} and {float(sizes.min())!r}."
        )
        raise ValueError(msg)
    whole = sizes.astype(np.int64) if (sizes == np.round(sizes)).all() else sizes
    return means, variances, whole.reshape(-1, 1)


def _welch(
    mean: np.ndarray,
    variance: np.ndarray,
    n: np.ndarray,
    control_mean: np.ndarray,
    control_variance: np.ndarray,
    control_n: np.ndarray | int,
    *,
    overestimated: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return Welch's t and its two-sided p; 0 and 1 where no value varies."""
    from scipy.special import stdtr

    size = np.asarray(n, dtype=np.float64).reshape(-1, 1)
    control_size = size if overestimated else np.asarray(control_n, dtype=np.float64).reshape(-1, 1)
    from_cells, from_controls = variance / size, control_variance / control_size
    error = from_cells + from_controls
    varies = error > 0
    score = np.divide(mean - control_mean, np.sqrt(error), out=np.zeros(error.shape), where=varies)
    # Divide by the error first, because its square can underflow.
    shares = [
        np.divide(part, error, out=np.full(error.shape, 0.5), where=varies) for part in (from_cells, from_controls)
    ]
    freedom = 1 / (shares[0] ** 2 / (size - 1) + shares[1] ** 2 / (control_size - 1))
    return score, np.where(varies, 2 * stdtr(freedom, -np.abs(score)), 1.0)


def _log2_expm1(mean: np.ndarray, pseudocount: float) -> np.ndarray:
    """Return log2(exp(mean) - 1 + pseudocount). Means below 0 count as 0, and large means do not overflow."""
    level = np.clip(mean, 0, _LARGE)
    return np.where(mean > _LARGE, mean / np.log(2), np.log2(np.expm1(level) + pseudocount))
