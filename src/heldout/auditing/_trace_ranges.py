"""Identify the cells that genes were scaled on by their range (min–max, max–abs) or by quantiles (robust scaling).

The lowest and the highest value of each gene are the same for all genes over the fitted cells, and median and
interquartile range are 0 and 1. If test cells were not used, some of them exceed the range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.arrays import as_dense, loaded, row_blocks, take
from heldout._core.types import is_sparse
from heldout.auditing._traces import Verdict, best_and_rival, decide, in_words, parts, pieces, status_of, unions

if TYPE_CHECKING:
    from heldout._core.types import Matrix, MatrixOrDask

_MOST_GENES, _FEWEST_GENES = 25, 5
_SCREENED_ROWS, _SCREENED_GENES = 2000, 500
_SHARE = 0.95
_FEWEST_DECIDING = 3
_MOST_TIES = 2
_SAME = 1e-5

_Extremes = dict[str, tuple[np.ndarray, np.ndarray]]


def of_range(X: MatrixOrDask, codes: np.ndarray, *, centred: bool) -> tuple[Verdict, str] | None:
    """The cells whose range is the same for each gene, and the evidence. None if no such cells can be identified.

    ``centred`` says that there are values below zero.
    """
    extremes = _extremes(X, codes)
    low, high = _range_of(extremes, tuple(extremes))
    varies = high > low
    if varies.sum() < _FEWEST_GENES:
        return None
    for absolute in (False, True) if centred else (False,):
        reached = {union: _reached(extremes, union, varies, absolute=absolute) for union in unions(extremes)}
        errors = {union: float(1 - found[varies].mean()) for union, (found, _) in reached.items()}
        best, rival = best_and_rival(errors)
        if rival is None or errors[best] > 1 - _SHARE:
            continue
        found, ends = reached[best]
        deciding = int((found & varies & ~reached[rival][0]).sum())
        gap = (errors[rival] - errors[best]) * varies.sum()
        if gap < _FEWEST_DECIDING or _clipped(X, ends[1], varies, absolute=absolute):
            continue
        what = f"a largest absolute value of {ends[1]:g}" if absolute else f"the range {ends[0]:g} to {ends[1]:g}"
        proof = (
            f"{int(found[varies].sum())} of {int(varies.sum())} genes have {what} over these cells, and {deciding} of "
            f"them do not have it over {in_words(rival, extremes)}"
        )
        verdict = Verdict(status_of(best), in_words(best, extremes), errors[best], "", np.nan)
        return verdict, proof
    return None


def of_quantiles(X: MatrixOrDask, codes: np.ndarray) -> tuple[Verdict, str] | None:
    """The cells over which genes have median 0 and interquartile range 1, and the evidence. Else None."""
    screened = _spread_over(X.shape[1], _SCREENED_GENES)
    lower, middle, upper = _quartiles(_values(take(X, _spread_over(X.shape[0], _SCREENED_ROWS), screened)))
    near = screened[(np.abs(upper - lower - 1) < 0.3) & (np.abs(middle) < 0.3)]
    varies = int((upper > lower).sum())
    if len(near) < _FEWEST_GENES or len(near) < varies / 2:
        return None
    values = _values(take(X, None, near[_spread_over(len(near), _MOST_GENES)]))
    masks = parts(codes)
    errors = {}
    for union in unions(masks):
        inside = np.logical_or.reduce([masks[name] for name in union])
        lower, middle, upper = _quartiles(values[inside])
        errors[union] = float(np.median(np.abs(middle)) + np.median(np.abs(upper - lower - 1)))
    verdict = decide(errors, masks)
    proof = "Genes have median 0 and interquartile range 1 over these cells"
    return None if verdict is None else (verdict, proof)


def _spread_over(n: int, most: int) -> np.ndarray:
    """Ascending numbers below ``n`` at equal distances, at most ``most``."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(int))


def _values(X: MatrixOrDask) -> np.ndarray:
    return as_dense(loaded(X))


def _quartiles(values: np.ndarray) -> np.ndarray:
    """Lower quartile, median and upper quartile of each gene, (3, p)."""
    return np.asarray(np.quantile(values, [0.25, 0.5, 0.75], axis=0))


def _extremes(X: MatrixOrDask, codes: np.ndarray) -> _Extremes:
    """Lowest and highest value of each gene in each partition, (p,). The matrix is read once in blocks."""
    masks = parts(codes)
    by_column, blocks = pieces(X)
    n_genes = X.shape[1]
    found = {name: (np.full(n_genes, np.inf), np.full(n_genes, -np.inf)) for name in masks}
    for chunk, block in blocks:
        for name, mask in masks.items():
            inside = mask if by_column else mask[chunk]
            if not inside.any():
                continue
            genes = chunk if by_column else slice(None)
            low, high = found[name]
            values = block[inside]
            low[genes] = np.minimum(low[genes], _along(values, "min"))
            high[genes] = np.maximum(high[genes], _along(values, "max"))
    return found


def _along(block: Matrix, function: str) -> np.ndarray:
    result = getattr(block, function)(axis=0)
    return np.asarray(result.toarray() if is_sparse(result) else result, dtype=np.float64).ravel()


def _range_of(extremes: _Extremes, union: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    low, high = zip(*(extremes[name] for name in union), strict=True)
    return np.min(low, axis=0), np.max(high, axis=0)


def _reached(
    extremes: _Extremes, union: tuple[str, ...], varies: np.ndarray, *, absolute: bool
) -> tuple[np.ndarray, tuple[float, float]]:
    """Mask (p,) of the genes whose range is that of most genes, and this range."""
    low, high = _range_of(extremes, union)
    if absolute:
        high = np.maximum(np.abs(low), np.abs(high))
        low = np.zeros_like(high)
    start, end = float(np.median(low[varies])), float(np.median(high[varies]))
    near = _SAME * max(abs(start), abs(end))
    return (np.abs(low - start) <= near) & (np.abs(high - end) <= near), (start, end)


def _clipped(X: MatrixOrDask, end: float, varies: np.ndarray, *, absolute: bool) -> bool:
    """Whether several cells have the highest value in most genes, as after clipping."""
    n_at_end = np.zeros(X.shape[1])
    for _, block in row_blocks(X, 8192):
        if is_sparse(block):
            coo = block.tocoo()
            n_at_end += np.bincount(coo.col[_at_end(coo.data, end, absolute=absolute)], minlength=X.shape[1])
        else:
            n_at_end += _at_end(np.asarray(block), end, absolute=absolute).sum(axis=0)
    return float(np.median(n_at_end[varies])) > _MOST_TIES


def _at_end(values: np.ndarray, end: float, *, absolute: bool) -> np.ndarray:
    return np.asarray((np.abs(values) if absolute else values) >= end - abs(end) * _SAME)
