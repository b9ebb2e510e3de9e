"""Agreement of predicted and true cells in differential genes, directions of change and fold changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from heldout._core.checks import check_integer, check_number
from heldout.metrics._rows import ProfileRows, as_excluded, as_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from heldout.metrics.differential import Differential


def deg_recall(truth: ArrayLike, prediction: ArrayLike, *, k: int = 50) -> float | np.ndarray:
    """Return the share of the ``k`` genes with the largest true abs(score) that are also among the predicted top ``k``.

    This is the top-k DEG recall of PerturBench :cite:p:`wu2024perturbench`, for scores such as t. It has no unit and
    lies in 0 to 1; higher is better. The chance level is k / n_genes.

    Parameters
    ----------
    truth
        Score of each gene from the true cells against controls, (n_perturbations × n_genes) or (n_genes,).
    prediction
        Score of each gene from the predicted cells, same shape. A row of NaN is a perturbation without a prediction.
    k
        Number of genes. PerturBench uses 50.

    Returns
    -------
    One value per perturbation, (n_perturbations,), or a number for one perturbation. NaN for rows without a prediction.
    Of genes with equal scores, the one in the earlier column comes first.

    Raises
    ------
    ValueError
        If shapes differ, the truth has NaN, a row of the prediction has NaN in some genes only, ``k`` is below 1, or
        there are not more than ``k`` genes.

    Notes
    -----
    The score always counts ``k`` genes. For a perturbation that changes no gene, it compares noise. A gene counts as
    found even if its predicted sign is wrong. If the predicted cells do not vary, their scores carry no information.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.deg_recall([9.0, -8.0, 1.0, 0.0], [5.0, 0.0, -3.0, 0.0], k=2)
    0.5
    """
    check_integer(k, "k", least=1)
    rows = as_rows(truth, prediction)
    if rows.truth.shape[1] <= k:
        msg = f"k={k} must be an integer below the number of genes, {rows.truth.shape[1]}. Pass a smaller k."
        raise ValueError(msg)
    first, second = (
        np.argsort(-np.abs(scores), axis=1, kind="stable")[:, :k] for scores in (rows.truth, rows.prediction)
    )
    return rows.result(np.array([len(np.intersect1d(*pair)) / k for pair in zip(first, second, strict=True)]))


def de_overlap(
    truth: Differential, prediction: Differential, *, fdr: float = 0.05, exclude: ArrayLike | None = None
) -> float | np.ndarray:
    """Return the differential expression score (DES) of the Virtual Cell Challenge 2025, "overlap at N".

    N is the number of genes with an adjusted p below ``fdr`` in the truth. The predicted genes are those called in the
    prediction, sorted by abs(log fold change), of which the first N are kept. The score is the share of the N true
    genes that are among them :cite:p:`roohani2025`. It has no unit and lies in 0 to 1; higher is better, 1 is perfect.
    A method that calls n genes at random scores min(n, N) / n_genes.

    Parameters
    ----------
    truth
        Result of :func:`differential` for the true cells.
    prediction
        Result of :func:`differential` for the predicted cells. A row of NaN is a perturbation without a prediction.
    fdr
        False discovery rate below which a gene is called.
    exclude
        Genes to leave out, as in :func:`perturbation_rank`. The challenge of 2025 left out no gene.

    Returns
    -------
    One value per perturbation, (n_perturbations,), or a number for one perturbation. NaN where no gene is called in the
    truth (the challenge gives 0 there), and for rows without a prediction.

    Raises
    ------
    ValueError
        If shapes differ, the truth has NaN, ``fdr`` is not in (0, 1), or ``exclude`` does not fit.

    Notes
    -----
    If the prediction calls fewer than N genes, the missing genes count as wrong. If it calls more than N, the rest is
    cut off without a penalty. Predicted cells with too little variance call every gene; for them only the fold changes
    matter. Genes with low expression have large fold changes, so they come first in the order. The sign of a change is
    not used.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> p = np.array([0.01, 0.01, 0.5])
    >>> truth = ho.metrics.Differential(np.zeros(3), np.array([2.0, -1.0, 0.1]), p, p)
    >>> ho.metrics.de_overlap(truth, truth._replace(p_adjusted=np.array([0.01, 0.5, 0.01])))
    0.5
    """
    calls = _calls(truth, prediction, fdr, exclude)

    def overlap(row: _Row) -> float:
        n = int(row.true_calls.sum())
        leading = np.argsort(np.where(row.predicted_calls, -np.abs(row.predicted), np.inf), kind="stable")[:n]
        return float((row.true_calls & row.predicted_calls)[leading].sum()) / n if n else np.nan

    return calls.each(overlap)


def de_jaccard(
    truth: Differential, prediction: Differential, *, fdr: float = 0.05, exclude: ArrayLike | None = None
) -> float | np.ndarray:
    """Return the Jaccard index of the genes called in the truth and in the prediction.

    It is the number of genes called in both, divided by the number called in either. It has no unit and lies in 0 to 1;
    higher is better. It is a part of the Virtual Cell Challenge 2026 (code of cell-eval2 0.20). There the mean response
    scored 0.02 to 0.04, and one half of the cells against the other half scored 0.38 to 0.42.

    Parameters
    ----------
    truth
        Result of :func:`differential` for the true cells.
    prediction
        Result of :func:`differential` for the predicted cells. A row of NaN is a perturbation without a prediction.
    fdr
        False discovery rate below which a gene is called.
    exclude
        Genes to leave out, as in :func:`perturbation_rank`. The challenge leaves out the target of each perturbation.

    Returns
    -------
    One value per perturbation, (n_perturbations,), or a number for one perturbation. 1 where neither side calls a gene,
    as in the challenge. NaN for rows without a prediction.

    Raises
    ------
    ValueError
        Same as :func:`de_overlap`.

    Notes
    -----
    More cells lead to more called genes. Predict as many cells as there are true cells.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> p = np.array([0.01, 0.01, 0.5])
    >>> truth = ho.metrics.Differential(np.zeros(3), np.ones(3), p, p)
    >>> round(ho.metrics.de_jaccard(truth, truth._replace(p_adjusted=np.array([0.01, 0.5, 0.01]))), 3)
    0.333
    """

    def jaccard(row: _Row) -> float:
        either = int((row.true_calls | row.predicted_calls).sum())
        return float((row.true_calls & row.predicted_calls).sum()) / either if either else 1.0

    return _calls(truth, prediction, fdr, exclude).each(jaccard)


def direction_fidelity(
    truth: Differential, prediction: Differential, *, fdr: float = 0.05, exclude: ArrayLike | None = None
) -> float | np.ndarray:
    """Return the number of predicted genes with the right direction, divided by the larger number of called genes.

    The score is k / max(n_predicted, n_true). n_predicted genes are called in the prediction and n_true genes are
    called in the truth. k of the n_predicted genes have the sign of the true fold change, whether or not the truth
    calls them. The score has no unit and lies in 0 to 1; higher is better. It is a part of the Virtual Cell Challenge
    2026 (code of cell-eval2 0.20). There the mean response scored 0.51 to 0.52, and one half of the cells against the
    other half scored 0.80 to 0.83. Random signs score at most 0.5.

    Parameters
    ----------
    truth
        Result of :func:`differential` for the true cells.
    prediction
        Result of :func:`differential` for the predicted cells. A row of NaN is a perturbation without a prediction.
    fdr
        False discovery rate below which a gene is called.
    exclude
        Genes to leave out, as in :func:`perturbation_rank`. The challenge leaves out the target of each perturbation.

    Returns
    -------
    One value per perturbation, (n_perturbations,), or a number for one perturbation. A gene with a true fold change of
    0 has no direction and is not counted. NaN where neither side calls a gene, and for rows without a prediction.

    Raises
    ------
    ValueError
        Same as :func:`de_overlap`.

    Notes
    -----
    The chance level is not always 0.5. If most genes go down, the prediction "everything goes down" scores their share.
    A method also gains by calling as many genes as the truth does, whichever genes they are.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> p = np.array([0.01, 0.01, 0.5])
    >>> truth = ho.metrics.Differential(np.zeros(3), np.array([1.0, -1.0, 2.0]), p, p)
    >>> ho.metrics.direction_fidelity(truth, truth._replace(log_fold_change=np.ones(3)))
    0.5
    """

    def fidelity(row: _Row) -> float:
        scored = row.predicted_calls & (row.true != 0)
        most = max(int(scored.sum()), int(row.true_calls.sum()))
        return float((np.sign(row.predicted) == np.sign(row.true))[scored].sum()) / most if most else np.nan

    return _calls(truth, prediction, fdr, exclude).each(fidelity)


def direction_reach(
    truth: Differential,
    prediction: Differential,
    *,
    purity: float = 0.9,
    fdr: float = 0.05,
    exclude: ArrayLike | None = None,
) -> float | np.ndarray:
    """Return how far down the ranked list of true genes the predicted directions stay right.

    The genes called in the truth are sorted by the prediction: called genes first, then by adjusted p, by p and by
    abs(log fold change). The score looks for the longest start of this list in which at least a share ``purity`` of the
    genes moves in the true direction. It is the length of this start divided by the length of the list. It has no unit
    and lies in 0 to 1; higher is better. It is a part of the Virtual Cell Challenge 2026 (code of cell-eval2 0.20).
    There the mean response scored 0.05 to 0.10, and one half of the cells against the other half scored 0.96 to 0.98.
    Random signs score about 1 / n.

    Parameters
    ----------
    truth
        Result of :func:`differential` for the true cells.
    prediction
        Result of :func:`differential` for the predicted cells. A row of NaN is a perturbation without a prediction.
    purity
        Required share of right directions in the start of the list.
    fdr
        False discovery rate below which a gene is called.
    exclude
        Genes to leave out, as in :func:`perturbation_rank`. The challenge leaves out the target of each perturbation.

    Returns
    -------
    One value per perturbation, (n_perturbations,), or a number for one perturbation. NaN where no gene is called in the
    truth, and for rows without a prediction.

    Raises
    ------
    ValueError
        Same as :func:`de_overlap`, or if ``purity`` is not in (0, 1].

    Notes
    -----
    The truth chooses the genes, so a prediction that calls every gene loses nothing. If there are few genes, the first
    gene decides the score, and one lucky sign reaches far. Report the number of genes with the score.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> p = np.array([0.01, 0.02, 0.03, 0.04])
    >>> truth = ho.metrics.Differential(np.zeros(4), np.array([1.0, -1.0, 2.0, 1.0]), p, p)
    >>> ho.metrics.direction_reach(truth, truth._replace(log_fold_change=np.array([1.0, -2.0, -1.0, 1.0])))
    0.5
    """
    check_number(purity, "purity", above=0, most=1)

    def reach(row: _Row) -> float:
        n = int(row.true_calls.sum())
        genes = np.flatnonzero(row.true_calls & (row.true != 0))
        keys = (-np.abs(row.predicted), row.p_value, row.p_adjusted, ~row.predicted_calls)
        order = genes[np.lexsort([key[genes] for key in keys])]
        right = np.cumsum(np.sign(row.predicted[order]) == np.sign(row.true[order]))
        depth = np.arange(1, len(order) + 1)
        return float(depth[right / depth >= purity].max(initial=0)) / n if n else np.nan

    return _calls(truth, prediction, fdr, exclude).each(reach)


def lfc_nmae(
    truth: Differential,
    prediction: Differential,
    *,
    fdr: float = 0.05,
    min_genes: int = 10,
    exclude: ArrayLike | None = None,
) -> float | np.ndarray:
    """Return the error of the fold changes relative to their true size, over the genes called in the truth.

    The score is Σ abs(predicted - true) / Σ abs(true). It has no unit and no upper limit; lower is better. 0 is
    perfect, and the prediction "no change" scores exactly 1. It is a part of the Virtual Cell Challenge 2026 (code of
    cell-eval2 0.20). There one half of the cells against the other half scored 0.37 to 0.43.

    Parameters
    ----------
    truth
        Result of :func:`differential` for the true cells.
    prediction
        Result of :func:`differential` for the predicted cells, of which only the fold changes are used. A row of NaN is
        a perturbation without a prediction.
    fdr
        False discovery rate below which a gene is called.
    min_genes
        Smallest number of called genes. With fewer genes the ratio is mostly noise, and the score is NaN.
    exclude
        Genes to leave out, as in :func:`perturbation_rank`. The challenge leaves out the target of each perturbation.

    Returns
    -------
    One value per perturbation, (n_perturbations,), or a number for one perturbation. NaN where the truth calls fewer
    than ``min_genes`` genes (the same for every method; count these rows), and for rows without a prediction.

    Raises
    ------
    ValueError
        Same as :func:`de_overlap`, or if ``min_genes`` is below 1.

    Notes
    -----
    Genes are called because their measured fold change is large, so their fold changes are too large on average. For
    this reason an exact prediction of the expected change does not reach 0.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> p = np.full(3, 0.01)
    >>> truth = ho.metrics.Differential(np.zeros(3), np.array([1.0, -1.0, 2.0]), p, p)
    >>> ho.metrics.lfc_nmae(truth, truth._replace(log_fold_change=np.zeros(3)), min_genes=3)
    1.0
    """
    check_integer(min_genes, "min_genes", least=1)

    def error(row: _Row) -> float:
        total = float(np.abs(row.true[row.true_calls]).sum())
        if row.true_calls.sum() < min_genes or total == 0:
            return np.nan
        return float(np.abs(row.predicted - row.true)[row.true_calls].sum()) / total

    return _calls(truth, prediction, fdr, exclude).each(error)


class _Row(NamedTuple):
    """One perturbation without its excluded genes."""

    true_calls: np.ndarray
    predicted_calls: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    p_value: np.ndarray
    p_adjusted: np.ndarray


class _Calls(NamedTuple):
    changes: ProfileRows
    rows: list[_Row]

    def each(self, score: Callable[[_Row], float]) -> float | np.ndarray:
        return self.changes.result(np.array([score(row) for row in self.rows]))


def _calls(truth: Differential, prediction: Differential, fdr: float, exclude: ArrayLike | None) -> _Calls:
    check_number(fdr, "fdr", above=0, below=1)
    changes = as_rows(truth.log_fold_change, prediction.log_fold_change)
    adjusted = as_rows(truth.p_adjusted, prediction.p_adjusted)
    unadjusted = as_rows(truth.p_value, prediction.p_value)
    if not changes.truth.shape == adjusted.truth.shape == unadjusted.truth.shape:
        shape, other = changes.truth.shape, adjusted.truth.shape
        msg = f"fold changes have shape {shape} and p-values {other}, but both must agree. Make them with differential."
        raise ValueError(msg)
    excluded = as_excluded(exclude, changes.truth.shape)
    rows = []
    for p in range(len(changes.truth)):
        kept = slice(None) if excluded is None else ~excluded[p]
        parts = (
            adjusted.truth[p] < fdr,
            adjusted.prediction[p] < fdr,
            changes.truth[p],
            changes.prediction[p],
            unadjusted.prediction[p],
            adjusted.prediction[p],
        )
        rows.append(_Row(*(part[kept] for part in parts)))
    return _Calls(changes, rows)
