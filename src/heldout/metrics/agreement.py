"""Whether predicted cells have the differential genes, directions and fold changes of the true ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from heldout._core.checks import check_integer
from heldout.metrics._rows import Rows, as_left_out, as_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

    from heldout.metrics.differential import Differential


def deg_recall(truth: ArrayLike, prediction: ArrayLike, *, k: int = 50) -> float | np.ndarray:
    """Share of the ``k`` genes with the largest true abs(score) that are among the ``k`` with the largest predicted one.

    PerturBench's top-k DEG recall :cite:p:`wu2024perturbench`, of scores such as t; no unit, 0 to 1, higher is better.
    Chance is k / n_genes.

    Parameters
    ----------
    truth
        Score of each gene in the true cells against controls, (n_perturbations × n_genes) or (n_genes,).
    prediction
        The same in the predicted cells. A row of NaN was not predicted.
    k
        Number of genes; PerturBench has 50.

    Returns
    -------
    (n_perturbations,), or a number for one. NaN for rows that were not predicted. Of equal scores the earlier gene counts.

    Raises
    ------
    ValueError
        If shapes differ, the truth has NaN, a row of the prediction has NaN in some genes only, or there are not more than
        ``k`` genes.

    Notes
    -----
    It counts ``k`` genes also for a perturbation that changes none, where it compares noise; and a gene of the wrong sign as
    found. A prediction without variance between cells has scores without meaning.

    Examples
    --------
    >>> import heldout as ho
    >>> ho.metrics.deg_recall([9.0, -8.0, 1.0, 0.0], [5.0, 0.0, -3.0, 0.0], k=2)
    0.5
    """
    check_integer(k, "k", least=1)
    rows = as_rows(truth, prediction)
    if rows.truth.shape[1] <= k:
        msg = f"k={k} and there are {rows.truth.shape[1]} genes; every gene is among the first {k}. Take a smaller k."
        raise ValueError(msg)
    first, second = (
        np.argsort(-np.abs(scores), axis=1, kind="stable")[:, :k] for scores in (rows.truth, rows.prediction)
    )
    return rows.give(np.array([len(np.intersect1d(*pair)) / k for pair in zip(first, second, strict=True)]))


def de_overlap(
    truth: Differential, prediction: Differential, *, level: float = 0.05, exclude: ArrayLike | None = None
) -> float | np.ndarray:
    """Differential expression score (DES) of the Virtual Cell Challenge 2025, its "overlap at N"; 0 to 1, higher is better.

    With N the number of genes of adjusted p below ``level`` in the truth: the share of these N that are among the N
    genes of largest abs(log fold change) of those that are called in the prediction :cite:p:`roohani2025`. No unit; 1 is
    perfect. A method that calls n genes at random has min(n, N) / n_genes.

    Parameters
    ----------
    truth
        From :func:`differential` of the true cells.
    prediction
        From :func:`differential` of the predicted cells. Rows of NaN were not predicted.
    level
        False discovery rate at which a gene is called.
    exclude
        Genes left out, as in :func:`perturbation_rank`; the challenge of 2025 left none out.

    Returns
    -------
    (n_perturbations,), or a number for one. NaN where nothing is called in the truth (the challenge has 0 there), and for
    rows that were not predicted.

    Raises
    ------
    ValueError
        If shapes differ, the truth has NaN, ``level`` is not between 0 and 1, or ``exclude`` does not fit.

    Notes
    -----
    If the prediction calls fewer than N genes, those missing count against it; if it calls more, the rest is cut off for
    free, so that predicted cells with too little variance, which call everything, are judged by fold change alone. Fold
    changes of genes that are hardly expressed lead the order. The sign is not looked at.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> p = np.array([0.01, 0.01, 0.5])
    >>> truth = ho.metrics.Differential(np.zeros(3), np.array([2.0, -1.0, 0.1]), p, p)
    >>> ho.metrics.de_overlap(truth, truth._replace(p_adjusted=np.array([0.01, 0.5, 0.01])))
    0.5
    """
    calls = _calls(truth, prediction, level, exclude)

    def overlap(row: _Row) -> float:
        n = int(row.real.sum())
        leading = np.argsort(np.where(row.called, -np.abs(row.predicted), np.inf), kind="stable")[:n]
        return float((row.real & row.called)[leading].sum()) / n if n else np.nan

    return calls.each(overlap)


def de_jaccard(
    truth: Differential, prediction: Differential, *, level: float = 0.05, exclude: ArrayLike | None = None
) -> float | np.ndarray:
    """Jaccard index of the genes called in truth and prediction, both over either; no unit, 0 to 1, higher is better.

    A part of the Virtual Cell Challenge 2026 (code of cell-eval2 0.20). There the mean response scored 0.02 to 0.04 and one half
    of the cells against the other 0.38 to 0.42.

    Parameters
    ----------
    truth
        From :func:`differential` of the true cells.
    prediction
        From :func:`differential` of the predicted cells. Rows of NaN were not predicted.
    level
        False discovery rate at which a gene is called.
    exclude
        Genes left out, as in :func:`perturbation_rank`; in the challenge the target of each perturbation.

    Returns
    -------
    (n_perturbations,), or a number for one. 1 where neither calls a gene, as in the challenge: both see no response. NaN for
    rows that were not predicted.

    Raises
    ------
    ValueError
        As :func:`de_overlap`.

    Notes
    -----
    The number of genes called grows with the number of cells: predict as many cells as there are true ones.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> p = np.array([0.01, 0.01, 0.5])
    >>> truth = ho.metrics.Differential(np.zeros(3), np.ones(3), p, p)
    >>> round(ho.metrics.de_jaccard(truth, truth._replace(p_adjusted=np.array([0.01, 0.5, 0.01]))), 3)
    0.333
    """

    def jaccard(row: _Row) -> float:
        either = int((row.real | row.called).sum())
        return float((row.real & row.called).sum()) / either if either else 1.0

    return _calls(truth, prediction, level, exclude).each(jaccard)


def direction_fidelity(
    truth: Differential, prediction: Differential, *, level: float = 0.05, exclude: ArrayLike | None = None
) -> float | np.ndarray:
    """Genes called in the prediction that move the true way, over the larger number of calls; 0 to 1, higher is better.

    k / max(n_predicted, n_true): k of the n_predicted genes that are called in the prediction have the sign of the true fold
    change, whether or not they are called in the truth; n_true genes are. No unit. A part of the Virtual Cell Challenge 2026
    (code of cell-eval2 0.20), where the mean response scored 0.51 to 0.52 and one half of the cells against the other 0.80
    to 0.83. Signs at random have 0.5 at best.

    Parameters
    ----------
    truth
        From :func:`differential` of the true cells.
    prediction
        From :func:`differential` of the predicted cells. Rows of NaN were not predicted.
    level
        False discovery rate at which a gene is called.
    exclude
        Genes left out, as in :func:`perturbation_rank`; in the challenge the target of each perturbation.

    Returns
    -------
    (n_perturbations,), or a number for one. Genes whose true fold change is 0 have no direction and are left out of the
    calls. NaN where neither side calls a gene, and for rows that were not predicted.

    Raises
    ------
    ValueError
        As :func:`de_overlap`.

    Notes
    -----
    0.5 is not always chance: where most genes go down, "everything goes down" scores their share. Calling as many genes as
    are true pays, whichever they are.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> p = np.array([0.01, 0.01, 0.5])
    >>> truth = ho.metrics.Differential(np.zeros(3), np.array([1.0, -1.0, 2.0]), p, p)
    >>> ho.metrics.direction_fidelity(truth, truth._replace(log_fold_change=np.ones(3)))
    0.5
    """

    def fidelity(row: _Row) -> float:
        scored = row.called & (row.true != 0)
        most = max(int(scored.sum()), int(row.real.sum()))
        return float((np.sign(row.predicted) == np.sign(row.true))[scored].sum()) / most if most else np.nan

    return _calls(truth, prediction, level, exclude).each(fidelity)


def direction_reach(
    truth: Differential,
    prediction: Differential,
    *,
    purity: float = 0.9,
    level: float = 0.05,
    exclude: ArrayLike | None = None,
) -> float | np.ndarray:
    """How deep into the truly changed genes the predicted directions stay right; no unit, 0 to 1, higher is better.

    The genes called in the truth are put into the order of the prediction (called first, then by adjusted p, p and abs(log
    fold change)). The reach is the length of the longest head of that list of which at least ``purity`` move the true way,
    over its whole length. A part of the Virtual Cell Challenge 2026 (code of cell-eval2 0.20), where the mean response
    scored 0.05 to 0.10 and one half of the cells against the other 0.96 to 0.98. Signs at random have about 1 / n.

    Parameters
    ----------
    truth
        From :func:`differential` of the true cells.
    prediction
        From :func:`differential` of the predicted cells. Rows of NaN were not predicted.
    purity
        Share of right directions that the head must have.
    level
        False discovery rate at which a gene is called.
    exclude
        Genes left out, as in :func:`perturbation_rank`; in the challenge the target of each perturbation.

    Returns
    -------
    (n_perturbations,), or a number for one. NaN where nothing is called in the truth, and for rows that were not predicted.

    Raises
    ------
    ValueError
        As :func:`de_overlap`, or if ``purity`` is not above 0 and at most 1.

    Notes
    -----
    The choice of genes is the truth's: a prediction that calls everything loses nothing. With few genes the first one
    decides, so that a single lucky sign reaches far: read it with the number of genes.

    Examples
    --------
    >>> import numpy as np, heldout as ho
    >>> p = np.array([0.01, 0.02, 0.03, 0.04])
    >>> truth = ho.metrics.Differential(np.zeros(4), np.array([1.0, -1.0, 2.0, 1.0]), p, p)
    >>> ho.metrics.direction_reach(truth, truth._replace(log_fold_change=np.array([1.0, -2.0, -1.0, 1.0])))
    0.5
    """
    if not 0 < purity <= 1:
        msg = f"purity={purity!r} is not above 0 and at most 1, for example 0.9."
        raise ValueError(msg)

    def reach(row: _Row) -> float:
        n = int(row.real.sum())
        genes = np.flatnonzero(row.real & (row.true != 0))
        keys = (-np.abs(row.predicted), row.p_value, row.p_adjusted, ~row.called)
        order = genes[np.lexsort([key[genes] for key in keys])]
        right = np.cumsum(np.sign(row.predicted[order]) == np.sign(row.true[order]))
        depth = np.arange(1, len(order) + 1)
        return float(depth[right / depth >= purity].max(initial=0)) / n if n else np.nan

    return _calls(truth, prediction, level, exclude).each(reach)


def lfc_nmae(
    truth: Differential,
    prediction: Differential,
    *,
    level: float = 0.05,
    min_genes: int = 10,
    exclude: ArrayLike | None = None,
) -> float | np.ndarray:
    """Normalised error of fold changes, Σ abs(predicted - true) / Σ abs(true) over the genes called in the truth; lower is better.

    No unit; 0 is perfect and 1 exactly "no change", with no upper limit. A part of the Virtual Cell Challenge 2026 (code of
    cell-eval2 0.20), where one half of the cells against the other scored 0.37 to 0.43.

    Parameters
    ----------
    truth
        From :func:`differential` of the true cells.
    prediction
        From :func:`differential` of the predicted cells; of it only the fold changes count. Rows of NaN were not predicted.
    level
        False discovery rate at which a gene is called.
    min_genes
        With fewer genes the ratio is noise and left out.
    exclude
        Genes left out, as in :func:`perturbation_rank`; in the challenge the target of each perturbation.

    Returns
    -------
    (n_perturbations,), or a number for one. NaN where fewer than ``min_genes`` genes are called in the truth (the same for
    every method: count them), and for rows that were not predicted.

    Raises
    ------
    ValueError
        As :func:`de_overlap`, or if ``min_genes`` is below 1.

    Notes
    -----
    Genes are chosen by the truth, whose fold changes are too large on average just because they were chosen: an exact
    prediction of the expected change does not reach 0.

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
        total = float(np.abs(row.true[row.real]).sum())
        if row.real.sum() < min_genes or total == 0:
            return np.nan
        return float(np.abs(row.predicted - row.true)[row.real].sum()) / total

    return _calls(truth, prediction, level, exclude).each(error)


class _Row(NamedTuple):
    """One perturbation: genes called on either side, fold changes, and p of the prediction; without genes left out."""

    real: np.ndarray
    called: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    p_value: np.ndarray
    p_adjusted: np.ndarray


class _Calls(NamedTuple):
    changes: Rows
    rows: list[_Row]

    def each(self, score: Callable[[_Row], float]) -> float | np.ndarray:
        return self.changes.give(np.array([score(row) for row in self.rows]))


def _calls(truth: Differential, prediction: Differential, level: float, exclude: ArrayLike | None) -> _Calls:
    if not 0 < level < 1:
        msg = f"level={level!r} is not between 0 and 1, for example 0.05."
        raise ValueError(msg)
    changes = as_rows(truth.log_fold_change, prediction.log_fold_change)
    adjusted = as_rows(truth.p_adjusted, prediction.p_adjusted)
    own = as_rows(truth.p_value, prediction.p_value)
    if not changes.truth.shape == adjusted.truth.shape == own.truth.shape:
        msg = f"fold changes have shape {changes.truth.shape} and p-values {adjusted.truth.shape}; make them with differential."
        raise ValueError(msg)
    left_out = as_left_out(exclude, changes.truth.shape)
    rows = []
    for p in range(len(changes.truth)):
        kept = slice(None) if left_out is None else ~left_out[p]
        parts = (
            adjusted.truth[p] < level,
            adjusted.prediction[p] < level,
            changes.truth[p],
            changes.prediction[p],
            own.prediction[p],
            adjusted.prediction[p],
        )
        rows.append(_Row(*(part[kept] for part in parts)))
    return _Calls(changes, rows)
