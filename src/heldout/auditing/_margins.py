"""Margins of linear models of the train units. A train unit is scored by a model that has not seen it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.arrays import as_dense, moments, take
from heldout.auditing._case import principal_components, products
from heldout.auditing._finding import NotRun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout._core.types import Matrix

MAX_GENES, N_COMPS = 1000, 50
OF_GENES, OF_STANDARDISED, OF_COMPONENTS = 0.3, 0.1, 1e-3
"""Penalties of the three ridge regressions, as shares of the mean variance of a feature."""


def margins(X: Matrix, codes: np.ndarray, unit: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Two margins of each cell by each of three linear models, (3 × 2 × m).

    The models are ridge regressions on the genes, on the genes with unit variance, and on 50 components with unit
    variance. Variances and components are those of all train cells. The first margin is the score of the class of the
    cell minus the mean score of the other classes. Without an effect of the label, it is 0 on average. The second is
    the score of the class of the cell minus the highest score of another class. It is negative if the model is wrong.

    Parameters
    ----------
    X
        Log-normalised values, (m × p).
    codes, unit
        Class number and unit number of each cell, (m,).
    train
        Mask (m,) of the train cells. A train cell is scored by a model that has not seen its unit.
    """
    targets = np.eye(int(codes.max()) + 1)[codes]
    scores = [left_out_scores(Z, targets, unit, train, damping) for Z, damping in _features(X, train)]
    return np.array([_signed(found, codes) for found in scores])


def left_out_scores(
    Z: np.ndarray, targets: np.ndarray, unit: np.ndarray, train: np.ndarray, damping: float
) -> np.ndarray:
    """Scores (m × K) of ridge regression with an intercept. Scores of train units come from the other train units.

    Leaving out units changes their residuals r to (I - H)⁻¹ r, where H is the block of the hat matrix that belongs to
    them. One factorisation therefore gives all models. Without a unit alone, its class would be rarer in train, and the
    model would expect it less. A unit is therefore left out together with a unit of each other class, and all scores
    are for the share of the classes in train with all units.

    Parameters
    ----------
    Z
        Features, (m × p).
    targets
        Indicators of the classes, (m × K).
    unit, train
        Unit number of each cell, and mask of the train cells, (m,).
    damping
        Penalty divided by the number of train cells.
    """
    from scipy.linalg import solve_triangular

    rows = np.flatnonzero(train)
    n, p = len(rows), Z.shape[1]
    Z = Z - Z[rows].mean(axis=0)
    of_train = Z[rows]
    intercept = targets[rows].mean(axis=0)
    gram = (of_train.T @ of_train).astype(np.float64)
    gram[np.diag_indices(p)] += damping * n
    root = np.linalg.cholesky(gram)
    along = of_train.T @ (targets[rows] - intercept).astype(Z.dtype)
    weights = solve_triangular(root, solve_triangular(root, along, lower=True), lower=True, trans=1)
    scores = np.asarray(Z @ weights.astype(Z.dtype), dtype=np.float64) + intercept
    whitened = solve_triangular(root.astype(Z.dtype), of_train.T, lower=True, check_finite=False).T
    whitened = np.concatenate([whitened, np.full((n, 1), 1 / np.sqrt(n), dtype=Z.dtype)], axis=1)
    residuals = targets[rows] - scores[rows]
    cells_of = {int(name): np.flatnonzero(unit[rows] == name) for name in np.unique(unit[rows])}
    for left_out, scored in _left_out(cells_of, targets[rows].argmax(axis=1)):
        cells = np.concatenate([cells_of[name] for name in left_out])
        hat = (whitened[cells] @ whitened[cells].T).astype(np.float64)
        change = np.linalg.solve(np.eye(len(cells)) - hat, residuals[cells])
        seen = (n * intercept - targets[rows[cells]].sum(axis=0)) / (n - len(cells))
        kept = np.isin(unit[rows[cells]], scored)
        scores[rows[cells[kept]]] = (targets[rows[cells]] - change + intercept - seen)[kept]
    return np.asarray(scores)


def _left_out(cells_of: dict[int, np.ndarray], codes: np.ndarray) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """Units that are left out together, one of each class, and the units among them that are scored."""
    members: dict[int, list[int]] = {}
    for name, cells in cells_of.items():
        members.setdefault(int(codes[cells[0]]), []).append(name)
    scored: dict[tuple[int, ...], list[int]] = {}
    for names in members.values():
        for i, name in enumerate(names):
            together = (name if others is names else others[i % len(others)] for others in members.values())
            scored.setdefault(tuple(together), []).append(name)
    yield from scored.items()


def _features(X: Matrix, train: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
    """Features (m × k) and penalty of each model."""
    rows = np.flatnonzero(train)
    variance = moments(X, train).var
    varying = np.flatnonzero(variance > 0)
    if len(varying) < 2:
        msg = "Fewer than two genes vary among the train cells."
        raise NotRun(msg)
    columns = np.sort(varying[np.argsort(-variance[varying], kind="stable")[:MAX_GENES]])
    genes = np.asarray(as_dense(take(X, None, columns)), dtype=np.float32)
    yield genes, OF_GENES * float(variance[columns].mean())
    yield genes / np.sqrt(variance[columns]).astype(np.float32), OF_STANDARDISED
    mean, components = principal_components(*products(genes, rows), min(N_COMPS, len(rows) - 1))
    coordinates = (genes - mean.astype(np.float32)) @ components.T.astype(np.float32)
    yield coordinates / np.maximum(coordinates[rows].std(axis=0), 1e-6), OF_COMPONENTS


def _signed(scores: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Score of the class of each cell minus the mean, and minus the highest, of the other scores, (2 × m)."""
    cells = np.arange(len(codes))
    of_class = scores[cells, codes]
    others = scores.copy()
    others[cells, codes] = -np.inf
    mean = (scores.sum(axis=1) - of_class) / (scores.shape[1] - 1)
    return np.array([of_class - mean, of_class - others.max(axis=1)])
