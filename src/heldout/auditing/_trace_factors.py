"""Identify the cells that a non-negative matrix factorisation was fitted on.

At the optimum, the gene weights are those that fit the expression of the fitted cells best for their coordinates, and
the coordinates of each cell, fitted or not, are those that fit its expression best for these weights. So the weights
are computed from the cells of each union of partitions. With those of the fitted cells, coordinates change least.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.arrays import loaded, row_blocks, take
from heldout.auditing._traces import Verdict, best_and_rival, in_words, parts, status_of, unions

if TYPE_CHECKING:
    from heldout._core.types import Matrix, MatrixOrDask
    from heldout.auditing._case import Case

_LARGEST_CHANGE = 0.05
_RATIO = 1.5
_N_SWEEPS, _CONVERGED = 300, 1e-6
_SCREENED_CHANGE, _SCREENING_SWEEPS = 0.5, 20
_N_CELLS, _MOST_FACTORS = 5000, 100


def of_factors(case: Case, W: np.ndarray) -> tuple[Verdict, str] | None:
    """The fitted cells of non-negative coordinates (n × k) of a matrix that is stored, and the evidence. Else None."""
    W = np.asarray(W, dtype=np.float64)
    if (
        W.shape[1] > _MOST_FACTORS
        or not np.isfinite(W).all()
        or W.min() < 0
        or not (W.max(axis=0) > 0).all()
        or not (W == 0).any()
    ):
        return None
    for stored in case.matrices():
        verdict = None if stored.state.kind == "centred" else factorised(stored.X, case.codes, W)
        if verdict is not None:
            where = stored.where
            proof = f"Coordinates are those of a non-negative factorisation of {where} that is optimal for these cells"
            return verdict, proof
    return None


def factorised(X: MatrixOrDask, codes: np.ndarray, W: np.ndarray) -> Verdict | None:
    """The cells for which the factorisation of a matrix (n × p) with coordinates (n × k) is optimal, or None."""
    drawn = np.arange(0, X.shape[0], -(-X.shape[0] // _N_CELLS))
    sample = loaded(take(X, drawn, None))
    weights = _weights(W[drawn].T @ W[drawn], np.asarray(sample.T @ W[drawn]).T, _SCREENING_SWEEPS)
    if _change(W[drawn], sample, weights) > _SCREENED_CHANGE:
        return None
    masks = parts(codes)
    squares = {name: W[mask].T @ W[mask] for name, mask in masks.items()}
    products = {name: np.zeros((W.shape[1], X.shape[1])) for name in masks}
    for rows, block in row_blocks(X, 8192):
        for name, mask in masks.items():
            inside = mask[rows]
            products[name] += np.asarray(block[inside].T @ W[rows][inside]).T
    change = {}
    for union in unions(masks):
        of_W, of_both = (np.sum([each[name] for name in union], axis=0) for each in (squares, products))
        change[union] = _change(W[drawn], sample, _weights(of_W, of_both, _N_SWEEPS))
    size = {union: sum(int(masks[name].sum()) for name in union) for union in change}
    best, rival = best_and_rival(change)
    if rival is None or change[best] > _LARGEST_CHANGE:
        return None
    # Weights that come from elsewhere are estimated better from more cells. That alone must not decide.
    if change[rival] ** 2 < _RATIO * max(1.0, size[best] / size[rival]) * change[best] ** 2:
        return None
    return Verdict(status_of(best), in_words(best, masks), change[best], in_words(rival, masks), change[rival])


def _weights(squares: np.ndarray, products: np.ndarray, n_sweeps: int) -> np.ndarray:
    """Non-negative gene weights (k × p) that fit best, by coordinate descent from products of the coordinates."""
    weights = np.maximum(np.linalg.lstsq(squares, products, rcond=None)[0], 0)
    for _ in range(n_sweeps):
        largest = 0.0
        for j in range(len(squares)):
            step = (products[j] - squares[j] @ weights) / max(squares[j, j], 1e-12)
            moved = np.maximum(0, weights[j] + step)
            largest = max(largest, float(np.abs(moved - weights[j]).max()))
            weights[j] = moved
        if largest <= _CONVERGED * weights.max():
            break
    return weights


def _change(W: np.ndarray, X: Matrix, weights: np.ndarray) -> float:
    """Relative change of the coordinates in one step towards their optimum for these weights."""
    squares = weights @ weights.T
    gradient = W @ squares - np.asarray(X @ weights.T)
    moved = np.maximum(0, W - gradient / np.maximum(np.diag(squares), 1e-12))
    return float(np.sqrt(((moved - W) ** 2).sum() / (W**2).sum()))
