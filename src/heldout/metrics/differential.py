"""Differential expression of cells against control cells, gene by gene: what the scores of gene lists are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from scipy import sparse

from heldout._core.arrays import moments
from heldout._core.checks import check_choice
from heldout.metrics._checks import as_numbers
from heldout.metrics._ranksum import rank_sums
from heldout.metrics._rows import SHAPE

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Test = Literal["wilcoxon", "t", "t_overestimated"]

_LARGE = 30
"""Above it expm1(x) + a small number is exp(x) to the last digit."""


class Differential(NamedTuple):
    """Differential expression of each gene, (n_perturbations × n_genes) or (n_genes,) of one perturbation.

    Parameters
    ----------
    score
        z of the rank sum or t, without unit; above 0 if the gene is higher than in the controls.
    log_fold_change
        log2 fold change against the controls.
    p_value
        Two-sided p.
    p_adjusted
        The same adjusted over the genes of a perturbation (Benjamini and Hochberg).

    Notes
    -----
    A method that predicts profiles and no cells has no p. To score its fold changes all the same, give p-values of 0: every
    gene is then called, and the order is that of the fold changes. Say so with the score. A row of NaN was not predicted.

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
        The same of the control cells, (n_control × n_genes).
    groups
        Perturbation of each perturbed cell as a number from 0 up, (n_cells,), each with at least one cell. By default all are
        of one. Many at once are much faster than one by one: the controls are sorted once.
    test
        ``wilcoxon``: rank sum (Mann-Whitney), the test of the Virtual Cell Challenge. ``t``: Welch's. ``t_overestimated``: of
        the controls' variance the standard error of a group as small as the perturbed one, as scanpy's
        ``t-test_overestim_var``, of which PerturBench takes the scores :cite:p:`wu2024perturbench`.
    tie_correct
        Whether the variance of the rank sum allows for ties; scanpy does not by default. Zeros are ties.
    continuity
        Whether 0.5 is taken off the rank sum's deviation, as ``scipy.stats.mannwhitneyu`` does; scanpy does not.
    pseudocount
        Added to either mean in the fold change log2((exp(mean) - 1 + pseudocount) / (exp(mean of control) - 1 + pseudocount)),
        which is that of scanpy :cite:p:`wolf2018` and, as "geometric mean", of pdex. A mean below 0, which log values cannot
        have but predicted ones can, counts as 0.

    Returns
    -------
    :class:`Differential`; of (n_groups × n_genes) if there are ``groups``. A gene that varies nowhere has score 0 and p 1.

    Raises
    ------
    TypeError
        If a matrix is neither dense, csr nor csc.
    ValueError
        If the genes differ, a matrix is empty or has NaN, a group has no cell, or a t-test has fewer than 2 cells on a side.

    Notes
    -----
    Cells are not replicates: with many cells everything is significant, and the number of genes called grows with the number
    of cells. Compare prediction and truth at equal numbers, and do not read these p-values as evidence about a
    perturbation :cite:p:`squair2021`. Fold changes of genes that are hardly expressed are huge and mean nothing: filter the
    genes by the controls first.

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
    if not 0 < pseudocount < np.inf:
        msg = f"pseudocount={pseudocount!r} must be above 0, for example 1e-9."
        raise ValueError(msg)
    perturbed, controls = _same_precision(cells, control)
    if perturbed.shape[1] != controls.shape[1]:
        msg = f"cells has {perturbed.shape[1]} genes and control {controls.shape[1]}; both must have the same, in one order."
        raise ValueError(msg)
    codes = _as_groups(groups, perturbed.shape[0])
    sizes = np.bincount(codes)
    if test != "wilcoxon":
        for n, name in ((int(sizes.min()), "a group of cells"), (controls.shape[0], "control")):
            if n < 2:
                msg = f"{name} has {n} cell; a t-test needs at least 2 on each side. Leave the perturbation out."
                raise ValueError(msg)
    rows = sparse.csr_array(perturbed) if sparse.issparse(perturbed) else perturbed
    own = [moments(rows, codes == g) for g in range(len(sizes))]
    means, variances = (np.stack([getattr(m, what) for m in own]) for what in ("mean", "var"))
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
    """Welch's t of each gene from means and variances alone, no unit; above 0 if the gene is higher than in the controls.

    Parameters
    ----------
    mean
        Mean over the cells of each perturbation, (n_perturbations × n_genes) or (n_genes,).
    variance
        Variance over them (n - 1 in the denominator), of the same shape.
    n
        Number of cells of each perturbation, (n_perturbations,) or one number, at least 2.
    control_mean
        The same of what they are compared with, (n_genes,) or one row each.
    control_variance
        Its variance.
    control_n
        Its number of cells.
    test
        As in :func:`differential`.

    Returns
    -------
    (n_perturbations × n_genes) or (n_genes,). 0 where neither side varies, so that there is no t.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is NaN, a variance negative, or a number of cells below 2.

    Notes
    -----
    For :func:`score_weights` compare with all other perturbations, not with the controls: :func:`rest_moments`.
    The size of t grows with the root of the number of cells, so that it ranks genes within a perturbation only.

    Examples
    --------
    >>> import heldout as ho
    >>> base = {"control_mean": [1.0, 1.0], "control_variance": [0.5, 0.5], "control_n": 10}
    >>> ho.metrics.t_scores([2.0, 1.0], [0.5, 0.5], 10, **base).round(3).tolist()
    [3.162, 0.0]
    """
    check_choice(test, "test", ("t", "t_overestimated"))
    single = np.ndim(mean) == 1
    own, spread, sizes = _as_moments(mean, variance, n, "")
    base, base_spread, base_sizes = _as_moments(control_mean, control_variance, control_n, "control_")
    for array in (base, base_spread):
        if array.shape[1] != own.shape[1] or len(array) not in (1, len(own)):
            msg = f"control has shape {array.shape} and mean {own.shape}; wanted is one row, or one for each perturbation."
            raise ValueError(msg)
    score = _welch(own, spread, sizes, base, base_spread, base_sizes, overestimated=test == "t_overestimated")[0]
    return score[0] if single else score


def rest_moments(mean: ArrayLike, variance: ArrayLike, n: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, variance and number of the cells of all other perturbations, for each perturbation.

    What :func:`t_scores` compares with for the weights of :func:`weighted_mse` :cite:p:`mejia2025`.

    Parameters
    ----------
    mean
        Mean over the cells of each perturbation, (n_perturbations × n_genes), at least 2 perturbations.
    variance
        Variance over them (n - 1 in the denominator), of the same shape.
    n
        Number of cells of each, (n_perturbations,).

    Returns
    -------
    Mean and variance, (n_perturbations × n_genes) each, and number, (n_perturbations,), of the pooled cells of the others.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is NaN, a variance negative, a number of cells below 2, or there is one perturbation.

    Notes
    -----
    The rest of a screen with one very common perturbation is mostly that one.

    Examples
    --------
    >>> import heldout as ho
    >>> mean, variance, n = ho.metrics.rest_moments([[1.0], [3.0], [5.0]], [[0.0], [0.0], [0.0]], [2, 2, 2])
    >>> mean.ravel().tolist(), variance.ravel().round(3).tolist(), n.tolist()
    ([4.0, 3.0, 2.0], [1.333, 5.333, 1.333], [4, 4, 4])
    """
    own, spread, sizes = _as_moments(mean, variance, n, "")
    if len(own) < 2:
        msg = "mean has 1 perturbation; at least 2 are needed, because each is compared with all others."
        raise ValueError(msg)
    counts = np.broadcast_to(sizes, (len(own), 1))
    centre = np.average(own, axis=0, weights=counts.ravel())
    centred = own - centre
    within, between = (counts - 1) * spread, counts * centred**2
    rest = counts.sum() - counts
    rest_mean = (np.sum(counts * centred, axis=0) - counts * centred) / rest
    squares = within.sum(axis=0) - within + between.sum(axis=0) - between - rest * rest_mean**2
    return rest_mean + centre, np.maximum(squares, 0) / (rest - 1), rest.ravel()


def _same_precision(cells: Any, control: Any) -> tuple[Any, Any]:
    """Both checked, and both rounded to single precision if one of them is: otherwise equal values are no ties."""
    kinds = [getattr(X, "dtype", None) for X in (cells, control)]
    both = [_as_cells(X, name) for X, name in ((cells, "cells"), (control, "control"))]
    if np.float32 in kinds and kinds[0] != kinds[1]:
        both = [X.astype(np.float32) for X in both]
    return both[0], both[1]


def _as_cells(X: Any, name: str) -> Any:
    """Matrix of cells, dense in float or sparse, with finite values."""
    if sparse.issparse(X) and X.format in {"csr", "csc"}:
        if 0 in X.shape:
            msg = f"{name} has shape {X.shape}; there must be cells and genes."
            raise ValueError(msg)
        if not np.isfinite(X.data).all():
            msg = f"{name} has {int((~np.isfinite(X.data)).sum())} NaN or infinite values."
            raise ValueError(msg)
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        return X
    if sparse.issparse(X):
        msg = f"{name} is sparse of format {X.format}; supported are csr and csc. Convert it with .tocsr()."
        raise TypeError(msg)
    array = np.asarray(X)
    if array.dtype not in (np.float32, np.float64) or array.ndim != 2 or not array.size:
        return as_numbers(array, name, shape="(n_cells × n_genes)", ndims=(2,))
    if not np.isfinite(array).all():
        msg = f"{name} has {int((~np.isfinite(array)).sum())} NaN or infinite values."
        raise ValueError(msg)
    return array  # as it is: large matrices are not copied


def _as_groups(groups: ArrayLike | None, n: int) -> np.ndarray:
    if groups is None:
        return np.zeros(n, dtype=np.intp)
    codes = np.asarray(groups)
    if codes.shape != (n,) or codes.dtype.kind not in "iu" or codes.min() < 0:
        msg = f"groups has shape {codes.shape} and type {codes.dtype}; wanted is a number from 0 up for each of {n} cells, see np.unique(..., return_inverse=True)."
        raise ValueError(msg)
    empty = np.flatnonzero(np.bincount(codes) == 0)
    if len(empty):
        msg = f"groups: {len(empty)} groups below {int(codes.max())} have no cell, for example {int(empty[0])}. Number them without gaps."
        raise ValueError(msg)
    return codes.astype(np.intp)


def _as_moments(mean: ArrayLike, variance: ArrayLike, n: ArrayLike, prefix: str) -> tuple[np.ndarray, ...]:
    means = np.atleast_2d(as_numbers(mean, f"{prefix}mean", shape=SHAPE, ndims=(1, 2)))
    variances = np.atleast_2d(as_numbers(variance, f"{prefix}variance", shape=SHAPE, ndims=(1, 2)))
    sizes = as_numbers(n, f"{prefix}n", shape="(n_perturbations,) or one number", ndims=(0, 1))
    if means.shape != variances.shape or (sizes.ndim == 1 and len(sizes) not in (1, len(means))):
        msg = f"{prefix}mean, {prefix}variance and {prefix}n have shapes {means.shape}, {variances.shape} and {sizes.shape}; they must agree."
        raise ValueError(msg)
    if (variances < 0).any() or (sizes < 2).any():
        msg = f"{prefix}variance must be 0 or more and {prefix}n at least 2; the least are {float(variances.min())!r} and {float(sizes.min())!r}."
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
    """Welch's t and its two-sided p; 0 and 1 where nothing varies."""
    from scipy.special import stdtr

    size = np.asarray(n, dtype=np.float64).reshape(-1, 1)
    control_size = size if overestimated else np.asarray(control_n, dtype=np.float64).reshape(-1, 1)
    own, other = variance / size, control_variance / control_size
    error = own + other
    varies = error > 0
    score = np.divide(mean - control_mean, np.sqrt(error), out=np.zeros(error.shape), where=varies)
    # As shares of the error, whose square can underflow.
    shares = [np.divide(part, error, out=np.full(error.shape, 0.5), where=varies) for part in (own, other)]
    freedom = 1 / (shares[0] ** 2 / (size - 1) + shares[1] ** 2 / (control_size - 1))
    return score, np.where(varies, 2 * stdtr(freedom, -np.abs(score)), 1.0)


def _log2_expm1(mean: np.ndarray, pseudocount: float) -> np.ndarray:
    """log2(exp(mean) - 1 + pseudocount) of a mean of log values: not below 0, and also where exp overflows."""
    level = np.clip(mean, 0, _LARGE)
    return np.where(mean > _LARGE, mean / np.log(2), np.log2(np.expm1(level) + pseudocount))
