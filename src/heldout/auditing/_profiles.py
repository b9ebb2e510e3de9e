"""Profiles of units that tell units apart, and the profiles of their halves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from heldout._core.arrays import as_dense, take
from heldout._core.partition import digests
from heldout.auditing._case import principal_components, products
from heldout.auditing._finding import NotRun
from heldout.auditing._sums import blocks_of_rows

if TYPE_CHECKING:
    from heldout.auditing._case import Case

N_GENES, N_CELLS, N_COMPS = 1000, 5000, 30
CELLS_A_COMPONENT = 50
"""One component is removed for each 50 cells, at most 30."""
DETECTED = 0.02


@dataclass(frozen=True)
class UnitProfiles:
    """Profiles of the units, of length 1.

    Parameters
    ----------
    n
        Number of cells of each unit, (U,).
    whole
        Profile of each unit, (U × p).
    halves
        Cosine between the profiles of the two halves of each unit, (U,). NaN for units of one cell.
    markers
        Number of cells of each unit that detect each excluded gene, (U × m).
    """

    n: np.ndarray
    whole: np.ndarray
    halves: np.ndarray
    markers: np.ndarray


def profiles_of(case: Case, exclude: np.ndarray) -> UnitProfiles:
    """Compute the profiles from the cells of train, val and test. ``exclude`` (p,) marks genes to leave out."""
    half_of_cell = _halves(case)
    n, total, rate, markers = _half_sums(case, half_of_cell, np.flatnonzero(exclude))
    genes = np.flatnonzero(~exclude & (rate >= DETECTED))
    if len(genes) < 2:
        msg = f"Fewer than two genes are detected in {DETECTED:.0%} of the cells."
        raise NotRun(msg)
    design = _design(case)
    spread = _unit_means(n, total)
    genes = np.sort(genes[np.argsort(-spread.var(axis=0)[genes], kind="stable")[:N_GENES]])
    removed, scale = _states(case, genes)

    def residual(sums: np.ndarray, cells: np.ndarray, fitted: np.ndarray) -> np.ndarray:
        z = (sums[:, genes] / np.maximum(cells, 1)[:, None] - fitted) / scale
        return z - (z @ removed.T) @ removed

    first, second = total[::2], total[1::2]
    whole = (first + second)[:, genes] / np.maximum(n[::2] + n[1::2], 1)[:, None]
    fitted = design @ np.linalg.lstsq(design, whole, rcond=None)[0]
    values = residual(first + second, n[::2] + n[1::2], fitted)
    halves = residual(first, n[::2], fitted), residual(second, n[1::2], fitted)
    both = (n[::2] > 0) & (n[1::2] > 0)
    weight = _weights(values, (halves[0] - halves[1])[both])
    cosine = (_to_length_one(halves[0] * weight) * _to_length_one(halves[1] * weight)).sum(axis=1)
    whole = _to_length_one(values * weight)
    return UnitProfiles(n[::2] + n[1::2], whole, np.where(both, cosine, np.nan), markers[::2] + markers[1::2])


def _weights(values: np.ndarray, differences: np.ndarray) -> np.ndarray:
    """Weight of each gene, (p,): the share of its variance that sampling does not explain, over its deviation.

    ``values`` are the profiles of the units, and ``differences`` those of the halves of each unit.
    """
    variance = np.maximum((values**2).mean(axis=0), 1e-12)
    noise = (differences**2).mean(axis=0) / 4 if len(differences) else np.zeros(len(variance))
    weight = np.where(variance > 1e-12, np.clip(1 - noise / variance, 0, 1) / np.sqrt(variance), 0)
    if not weight.any():
        msg = "No gene varies more between units than the sampling of their cells explains."
        raise NotRun(msg)
    return np.asarray(weight)


def _halves(case: Case) -> np.ndarray:
    """Half of a unit of each cell, (n,): 2 u or 2 u + 1 for unit u, -1 without a unit. Names of cells decide."""
    unit = case.units.of_cell
    half = np.full(len(unit), -1)
    used = np.flatnonzero(unit >= 0)
    order = used[np.lexsort((digests(case.adata.obs_names[used]), unit[used]))]
    starts = np.searchsorted(unit[order], np.arange(len(case.units.names)))
    half[order] = 2 * unit[order] + (np.arange(len(order)) - starts[unit[order]]) % 2
    return half


def _half_sums(
    case: Case, half_of_cell: np.ndarray, markers: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cells (2U,), sums (2U × p), share of the cells that detect each gene (p,), and detections of markers (2U × m)."""
    X, _ = case.matrix
    n_halves = 2 * len(case.units.names)
    total, detected = np.zeros((n_halves, X.shape[1])), np.zeros((n_halves, len(markers)))
    n_detected = np.zeros(X.shape[1])
    for rows in blocks_of_rows(X):
        keep = np.flatnonzero(half_of_cell[rows] >= 0)
        if not len(keep):
            continue
        block = take(case.lognormalised(rows), keep, None)
        ones = (np.ones(len(keep)), (half_of_cell[rows][keep], np.arange(len(keep))))
        member = sparse.csr_array(ones, shape=(n_halves, len(keep)))
        total += as_dense(member @ block)
        n_detected += np.asarray((block != 0).sum(axis=0)).ravel()
        detected += member @ (as_dense(take(block, None, markers)) != 0).astype(float)
    n = np.bincount(half_of_cell[half_of_cell >= 0], minlength=n_halves)
    return n, total, n_detected / max(n.sum(), 1), detected


def _unit_means(n: np.ndarray, total: np.ndarray) -> np.ndarray:
    return (total[::2] + total[1::2]) / np.maximum(n[::2] + n[1::2], 1)[:, None]


def _states(case: Case, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Components (k × p) of the variation between the cells of a unit, and the scale (p,) of each gene."""
    rows = case.drawn(case.units.of_cell >= 0, N_CELLS, "profiles")
    block = case.lognormalised(rows, genes)
    X = as_dense(block)
    unit = case.units.of_cell[rows]
    sizes = np.bincount(unit, minlength=len(case.units.names))
    if len(rows) >= 2 * (sizes > 0).sum():
        means = np.zeros((len(sizes), X.shape[1]))
        np.add.at(means, unit, X)
        X = X - (means / np.maximum(sizes, 1)[:, None])[unit]
    scale = X.std(axis=0)
    scale[scale == 0] = 1
    k = min(N_COMPS, len(rows) // CELLS_A_COMPONENT, len(genes) // 10)
    if not k:
        return np.zeros((0, len(genes))), scale
    return principal_components(*products(X / scale, np.arange(len(X))), k)[1], scale


def _design(case: Case) -> np.ndarray:
    """Indicators (U × k) of the classes, match values and covariates. Profiles are compared beyond them.

    A covariate is left out if it varies within units, or if fewer than half of the degrees of freedom would be left.
    """
    units = case.units
    columns = [np.ones(len(units.names))]
    keys = dict.fromkeys([case.match_key, *case.covariate_keys])
    values = [units.labels, *(units.values(case.covariate(key)) for key in keys if key is not None)]
    for value in values:
        levels = np.array([]) if value is None else np.unique(value.astype(str))[1:]
        if len(levels) and len(columns) + len(levels) <= len(units.names) / 2:
            columns += [(value == level).astype(float) for level in levels]
    return np.stack(columns, axis=1)


def _to_length_one(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
