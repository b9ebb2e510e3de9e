"""Predicted profiles, one row a perturbation: checks, and rows of NaN where nothing was predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from heldout.metrics._checks import as_numbers

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

SHAPE = "(n_perturbations × n_genes) or (n_genes,)"


class Rows(NamedTuple):
    """True and predicted profiles, (P × G) each."""

    truth: np.ndarray
    prediction: np.ndarray
    known: np.ndarray
    """Rows that were predicted, (P,)."""
    single: bool
    """Whether one profile came as (G,), so that one number goes back."""

    def give(self, values: np.ndarray) -> float | np.ndarray:
        """One value a row, NaN where nothing was predicted; a number for a single profile."""
        result = np.where(self.known, values, np.nan)
        return float(result[0]) if self.single else result


def as_rows(truth: ArrayLike, prediction: ArrayLike, *, ndims: tuple[int, ...] = (1, 2)) -> Rows:
    """Profiles of the same perturbations and genes; a row of the prediction is finite, or all NaN."""
    shape = SHAPE if 1 in ndims else "(n_perturbations × n_genes)"
    true = as_numbers(truth, "truth", shape=shape, ndims=ndims)
    predicted = as_predicted(prediction, "prediction", shape=shape, ndims=ndims)
    if true.shape != predicted.shape:
        msg = f"truth has shape {true.shape} and prediction {predicted.shape}; they must hold the same perturbations and genes, in one order."
        raise ValueError(msg)
    rows = np.atleast_2d(predicted)
    return Rows(np.atleast_2d(true), rows, ~np.isnan(rows[:, 0]), true.ndim == 1)


def as_predicted(values: ArrayLike, name: str, *, shape: str = SHAPE, ndims: tuple[int, ...] = (1, 2)) -> np.ndarray:
    """Float64 array of which each row is finite, or all NaN: not predicted."""
    if sparse.issparse(values):
        return as_numbers(values, name, shape=shape, ndims=ndims)  # refuses
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in ndims or array.size == 0:
        msg = f"{name} has shape {array.shape}; wanted is {shape}, not empty."
        raise ValueError(msg)
    rows = np.atleast_2d(array)
    bad = ~np.isfinite(rows)
    partly = bad.any(axis=1) & ~np.isnan(rows).all(axis=1)
    if partly.any():
        row = int(np.flatnonzero(partly)[0])
        msg = (
            f"{name} has {int(bad[row].sum())} NaN or infinite values among the {rows.shape[1]} genes of row {row} "
            f"({int(partly.sum())} such rows). A perturbation that was not predicted is a row of NaN; of the others score "
            "the genes that every row has."
        )
        raise ValueError(msg)
    return array


def as_beside(values: ArrayLike, name: str, like: np.ndarray) -> np.ndarray:
    """A control or reference for each row, (P × G), from (P × G), (G,) or one number."""
    shape = "(n_genes,), (n_perturbations × n_genes) or one number"
    array = as_numbers(values, name, shape=shape, ndims=(0, 1, 2))
    try:
        return np.broadcast_to(array, like.shape)
    except ValueError:
        msg = f"{name} has shape {array.shape}; wanted is {shape}, here of {like.shape[1]} genes and {like.shape[0]} rows."
        raise ValueError(msg) from None


def as_left_out(exclude: ArrayLike | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """Genes to leave out for each row, (P × G) of bool."""
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
            f"exclude has shape {given.shape} and type {given.dtype}; wanted is bool of ({n_genes},) or {shape}, or the "
            f"column of each target as int of ({n},), -1 for none."
        )
        raise ValueError(msg)
    if mask.all(axis=1).any():
        msg = f"exclude leaves no gene for {int(mask.all(axis=1).sum())} of {n} perturbations."
        raise ValueError(msg)
    return mask


def rounding(*values: ArrayLike) -> float:
    """Relative rounding error of the least exact of these arrays; differences below it are no differences."""
    types = (np.asarray(v).dtype for v in values)
    return 16 * max(float(np.finfo(t).eps) if t.kind == "f" else float(np.finfo(np.float64).eps) for t in types)
