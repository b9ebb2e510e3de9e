"""Checks of predicted profiles, (perturbations × genes). A row of NaN is a perturbation without a prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from heldout.metrics._checks import as_numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

SHAPE = "(n_perturbations × n_genes) or (n_genes,)"


class ProfileRows(NamedTuple):
    """True and predicted profiles, (P × G) each."""

    truth: np.ndarray
    prediction: np.ndarray
    known: np.ndarray
    """Whether each row has a prediction, (P,)."""
    single: bool
    """Whether the input was one profile, (G,). The result then is one number."""

    def result(self, values: np.ndarray) -> float | np.ndarray:
        """Return one value per row, NaN for rows without a prediction; one number if the input was a single profile."""
        scores = np.where(self.known, values, np.nan)
        return float(scores[0]) if self.single else scores


def as_rows(truth: ArrayLike, prediction: ArrayLike, *, ndims: tuple[int, ...] = (1, 2)) -> ProfileRows:
    """Return profiles of the same perturbations and genes. A row of the prediction must be finite or all NaN."""
    shape = SHAPE if 1 in ndims else "(n_perturbations × n_genes)"
    true = as_numbers(truth, "truth", shape=shape, ndims=ndims)
    predicted = as_predicted(prediction, "prediction", shape=shape, ndims=ndims)
    if true.shape != predicted.shape:
        msg = (
            f"truth has shape {true.shape} and prediction {predicted.shape}; "
            "both must have the same perturbations and genes in the same order."
        )
        raise ValueError(msg)
    rows = np.atleast_2d(predicted)
    return ProfileRows(np.atleast_2d(true), rows, ~np.isnan(rows[:, 0]), true.ndim == 1)


def as_predicted(values: ArrayLike, name: str, *, shape: str = SHAPE, ndims: tuple[int, ...] = (1, 2)) -> np.ndarray:
    """Return a float64 array in which each row is either finite, or all NaN because it has no prediction."""
    if sparse.issparse(values):
        return as_numbers(values, name, shape=shape, ndims=ndims)  # refuses
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in ndims or array.size == 0:
        msg = f"{name} has shape {array.shape}, but must be {shape} and not empty."
        raise ValueError(msg)
    rows = np.atleast_2d(array)
    bad = ~np.isfinite(rows)
    partly = bad.any(axis=1) & ~np.isnan(rows).all(axis=1)
    if partly.any():
        row = int(np.flatnonzero(partly)[0])
        msg = (
            f"{name} has {int(bad[row].sum())} NaN or infinite values among the {rows.shape[1]} genes of row {row} "
            f"({int(partly.sum())} such rows). A row must be finite in all genes, or NaN in all genes if it has no "
            "prediction. Score only the genes that every predicted row has."
        )
        raise ValueError(msg)
    return array


def as_many_rows(values: ArrayLike, name: str, like: np.ndarray) -> np.ndarray:
    """Repeat one number or one profile (G,) for each row; return (P × G)."""
    shape = "(n_genes,), (n_perturbations × n_genes) or one number"
    array = as_numbers(values, name, shape=shape, ndims=(0, 1, 2))
    try:
        return np.broadcast_to(array, like.shape)
    except ValueError:
        n, n_genes = like.shape
        msg = f"{name} has shape {array.shape}, but must be {shape}. There are {n_genes} genes and {n} perturbations."
        raise ValueError(msg) from None


def as_excluded(exclude: ArrayLike | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the genes to leave out of each row as a mask, (P × G)."""
    if exclude is None:
        return None
    given = np.asarray(exclude)
    n, n_genes = shape
    if given.dtype == bool and given.shape in ((n_genes,), shape):
        mask = np.broadcast_to(given, shape)
    elif given.dtype.kind in "iu" and given.shape == (n,) and given.min() >= -1 and given.max() < n_genes:
        mask = np.zeros(shape, dtype=bool)
        rows = np.flatnonzero(given >= 0)
        mask[rows, given[rows]] = True
    else:
        msg = (
            f"exclude has shape {given.shape} and type {given.dtype}. It must be a bool array of shape ({n_genes},) or "
            f"{shape}, or an integer array of shape ({n},) with the column of each target, -1 for no target."
        )
        raise ValueError(msg)
    if mask.all(axis=1).any():
        msg = (
            f"exclude leaves no gene for {int(mask.all(axis=1).sum())} of {n} perturbations. "
            "Leave out fewer genes, or drop these perturbations."
        )
        raise ValueError(msg)
    return mask


def as_draws(weights: ArrayLike | None, n: int) -> np.ndarray:
    """Return how often each of ``n`` perturbations is drawn, (n,) or (n_draws × n); ones if ``weights`` is None."""
    drawn = as_numbers(
        np.ones(n) if weights is None else weights, "weights", shape=f"({n},) or (n_draws × {n})", ndims=(1, 2)
    )
    if drawn.shape[-1] != n or (drawn < 0).any():
        negative = int((drawn < 0).sum())
        msg = (
            f"weights has shape {drawn.shape} and {negative} negative values, but must have one value >= 0 for each of "
            f"{n} perturbations."
        )
        raise ValueError(msg)
    return drawn


def rounding(*values: ArrayLike) -> float:
    """Return the relative rounding error of the least precise of these arrays. Smaller differences are rounding."""
    types = (np.asarray(v).dtype for v in values)
    return 16 * max(float(np.finfo(t).eps) if t.kind == "f" else float(np.finfo(np.float64).eps) for t in types)
