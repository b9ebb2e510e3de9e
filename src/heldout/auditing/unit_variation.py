"""Find units of a class that differ less than samples of cells do: they were centred, or corrected, with the label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from heldout._core.arrays import as_dense, describe, get_matrix, loaded, lognormalised, moments, take
from heldout._core.partition import digests
from heldout._core.store import as_names
from heldout._core.types import is_sparse
from heldout.auditing._case import TARGET
from heldout.auditing._exchange import blocks_of, p_value, smallest_of
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._words import units_in_words
from heldout.metrics.labellings import labellings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout.auditing._case import Case

LEVEL = 0.01
"""Level for all matrices together."""
LOW = 0.8
N_CELLS, N_FEATURES, MAX_COLUMNS = 20_000, 200, 4000
N_PERMUTATIONS, N_LABELLINGS = 99, 2000
MIN_CELLS, MIN_UNITS = 5, 3
MAX_STRATA, MAX_LEVELS = 3, 30
_MEASURE = "variation between units, divided by that of random samples of cells"


@dataclass(frozen=True)
class Variation:
    """The variation between the units of one matrix.

    Parameters
    ----------
    ratio
        Variation between units of all classes, and of each class, divided by its mean over permuted cells, (1 + K,).
    low
        Whether the ratio is at most 0.8 and below that of every permutation of the cells, (1 + K,).
    p_label, smallest
        P-value of the association of the units with their labels, and the smallest p-value that these units can reach.
    """

    ratio: np.ndarray
    low: np.ndarray
    p_label: float
    smallest: float


def unit_variation(case: Case) -> list[Finding]:
    """Find units of a class that differ less than the sampling of their cells allows.

    There are two null hypotheses. (1) Units of a class differ at least as much as random samples of its cells. Cells
    are permuted between units of a class, also within the values of columns such as the cell type. (2) The labels of
    the units can be exchanged. The item fails for a matrix if the variation is below 0.8 times that of permuted cells,
    below that of each of 99 permutations, and the labels explain the units, or how much they vary, better than
    permuted labels do (p at most 0.01 divided by the number of matrices). Corrections that use no label lower the
    variation too. They are reported, but raise no alarm.
    """
    case.need_labels()
    rows, unit, codes, classes, blocks = _units(case)
    strata = _strata(case, rows, unit)
    place = np.argsort(np.argsort(digests(case.adata.obs_names[rows])))
    found = {
        subject: _variation(X, unit, codes, blocks, strata, place, case.rng(f"variation {subject}"))
        for subject, X in _matrices(case, rows)
    }
    if not found:
        msg = "No matrix or embedding has values that vary."
        raise NotRun(msg)
    level = LEVEL / len(found)
    return [_said(case, subject, variation, classes, level) for subject, variation in found.items()]


def _units(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows of all cells of some units, unit of each row, class of each unit, names of the classes, and blocks.

    Units are drawn whole, because a sample of the cells of a corrected unit varies as samples do.
    """
    large = np.flatnonzero(case.units.counts.sum(axis=1) >= MIN_CELLS)
    order = case.rng("variation").permutation(large)
    labels = case.need_labels().astype(str)
    rank = pd.Series(labels[order]).groupby(labels[order]).cumcount().to_numpy()
    n_before = case.units.counts.sum(axis=1)[order].cumsum()
    drawn = np.sort(order[(n_before <= N_CELLS) | (rank < MIN_UNITS + 1)])
    names, codes = np.unique(labels[drawn], return_inverse=True)
    if len(names) < 2 or np.bincount(codes).min() < MIN_UNITS:
        msg = f"A class of {case.label_key} has fewer than {MIN_UNITS} {units_in_words(case)} with {MIN_CELLS} cells."
        raise NotRun(msg)
    rows = np.flatnonzero(np.isin(case.units.of_cell, drawn))
    return rows, np.searchsorted(drawn, case.units.of_cell[rows]), codes, names, blocks_of(case.units)[drawn]


def _matrices(case: Case, rows: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Name and values of each matrix and embedding for these cells, (m × at most 200), features of unit variance."""
    adata = case.adata
    for layer in [None, *sorted(layer for layer in adata.layers if layer is not None)]:
        try:
            X = get_matrix(adata, layer, dask=True)
            kind = describe(X).kind
        except (TypeError, ValueError):
            continue
        columns = None
        if X.shape[1] > MAX_COLUMNS and kind not in {"counts", "normalised"}:
            columns = np.arange(0, X.shape[1], -(-X.shape[1] // MAX_COLUMNS))
        block = loaded(take(X, rows, columns))
        if kind in {"counts", "normalised"}:
            block = lognormalised(sparse.csr_array(block) if is_sparse(block) else block, TARGET)
        values = _varying(block)
        if values is not None:
            yield "X" if layer is None else f"layers[{layer!r}]", values
    for key in sorted(map(str, adata.obsm)):
        block = adata.obsm[key]
        block = block.to_numpy() if isinstance(block, pd.DataFrame) else block
        if isinstance(block, np.ndarray) and block.ndim == 2 and block.dtype.kind in "fiu":
            block = np.asarray(block[rows], dtype=float)
            if np.isfinite(block).all() and (values := _varying(block)) is not None:
                yield f"obsm[{key!r}]", values


def _varying(block: np.ndarray | sparse.csr_array) -> np.ndarray | None:
    """The features that vary most, with mean 0 and variance 1. None if fewer than two vary."""
    found = moments(block)
    spread = np.sqrt(found.var)
    usual = np.flatnonzero(spread > 1e-6 * np.maximum(np.abs(found.mean), 1e-12))
    if len(usual) < 2:
        return None
    columns = np.sort(usual[np.argsort(-spread[usual], kind="stable")[:N_FEATURES]])
    values = take(block, None, columns)
    values = as_dense(values)
    return (values - found.mean[columns]) / spread[columns]


def _strata(case: Case, rows: np.ndarray, unit: np.ndarray) -> list[np.ndarray]:
    """The values of at most three columns of ``obs`` that vary within units, e.g. the cell type, or no strata.

    Permutations within strata keep the composition of each unit, which chance or the design may have made equal.
    """
    found = []
    known = {case.split_key, case.label_key, *case.group_key}
    for key in sorted(map(str, set(case.adata.obs.columns) - known)):
        column = case.adata.obs[key].iloc[rows]
        if pd.api.types.is_float_dtype(column.dtype) or column.isna().any():
            continue
        codes = np.unique(as_names(column), return_inverse=True)[1]
        n_pairs = len(np.unique(unit * (codes.max() + 1) + codes))
        if 1 <= codes.max() < MAX_LEVELS and n_pairs > 1.5 * (unit.max() + 1):
            found.append(codes)
    return found[:MAX_STRATA] or [np.zeros(len(rows), dtype=int)]


def _variation(
    X: np.ndarray,
    unit: np.ndarray,
    codes: np.ndarray,
    blocks: np.ndarray,
    strata: list[np.ndarray],
    place: np.ndarray,
    rng: np.random.Generator,
) -> Variation:
    """Compare the variation between units with permuted cells, and with permuted labels.

    ``place`` gives each cell its random number, so that the order of the cells does not matter.
    """
    n_classes = int(codes.max()) + 1
    class_of_cell = codes[unit]
    means = _unit_means(X, unit)
    of_class = np.array([X[class_of_cell == c].mean(axis=0) for c in range(n_classes)])[codes]
    n = np.bincount(unit)

    def by_class(unit_means: np.ndarray) -> np.ndarray:
        """Variation between the units of all classes, and of each class, (1 + K,)."""
        of_unit = n * ((unit_means - of_class) ** 2).mean(axis=1)
        return np.array([of_unit.mean(), *(of_unit[codes == c].mean() for c in range(n_classes))])

    observed = by_class(means)
    ratio, below = np.full(1 + n_classes, np.inf), np.zeros(1 + n_classes, dtype=bool)
    for stratum in strata:
        groups = class_of_cell * (stratum.max() + 1) + stratum
        shuffled = (_shuffled(unit, groups, place, rng) for _ in range(N_PERMUTATIONS))
        drawn = np.array([by_class(_unit_means(X, of_cell)) for of_cell in shuffled])
        better = observed / drawn.mean(axis=0) < ratio
        ratio = np.where(better, observed / drawn.mean(axis=0), ratio)
        below = np.where(better, observed < drawn.min(axis=0), below)
    low = below & (ratio <= LOW)
    p_label = _p_label(means, n, of_class, codes, blocks, rng) if low.any() else (1.0, 0.0)
    return Variation(ratio, low, *p_label)


def _unit_means(X: np.ndarray, unit: np.ndarray) -> np.ndarray:
    member = sparse.csr_array((np.ones(len(unit)), (unit, np.arange(len(unit)))))
    return np.asarray(member @ X) / np.bincount(unit)[:, None]


def _shuffled(unit: np.ndarray, groups: np.ndarray, place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The unit of each cell after cells of the same group of cells have exchanged their units."""
    order = np.lexsort((place, groups))
    mixed = np.lexsort((rng.random(len(unit))[place], groups))
    found = np.empty_like(unit)
    found[order] = unit[mixed]
    return found


def _p_label(
    means: np.ndarray,
    n: np.ndarray,
    of_class: np.ndarray,
    codes: np.ndarray,
    blocks: np.ndarray,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """P-value of the label, for the units and for how much they vary, and the smallest possible p-value."""
    drawn, _ = labellings(codes, blocks, rng, limit=N_LABELLINGS)
    size = np.log(np.maximum(n * ((means - of_class) ** 2).mean(axis=1), 1e-12))
    centred = means - means.mean(axis=0)
    explained, spread = np.zeros(len(drawn)), np.zeros((len(drawn), codes.max() + 1))
    total = np.maximum((centred**2).sum(axis=0), 1e-12)
    for c in range(codes.max() + 1):
        inside = (drawn == c).astype(float)
        n_inside = inside.sum(axis=1)
        explained += ((inside @ centred) ** 2 / n_inside[:, None] / total).mean(axis=1)
        spread[:, c] = inside @ size / n_inside
    both = [explained, np.ptp(spread, axis=1)]
    at = int(np.flatnonzero((drawn == codes).all(axis=1))[0])
    p = min(1.0, 2 * min(p_value(statistic[at], statistic) for statistic in both))
    return p, 2 * min(smallest_of(statistic) for statistic in both)


def _said(case: Case, subject: str, found: Variation, classes: np.ndarray, level: float) -> Finding:
    lowest = int(np.argmin(np.where(found.low, found.ratio, np.inf))) if found.low.any() else 0
    about = Finding.about(subject, _MEASURE, found.ratio[lowest], LOW)
    units = units_in_words(case)
    named = "a class" if lowest == 0 else f"class {classes[lowest - 1]}"
    text = (
        f"The {units} of {named} of {case.label_key} vary {found.ratio[lowest]:.2f} times as much as random samples of "
        "cells."
    )
    if found.low.any() and found.p_label <= level:
        text = (
            f"{text} Real {units} cannot vary less than samples. The labels explain the {units}, or how much they "
            f"vary, better than permuted labels (p = {found.p_label:.2g}), so they were centred or corrected with the "
            "label."
        )
        advice = f"Use values from before the correction, or correct without {case.label_key} and without test cells."
        return about.says("fail", text, advice)
    if found.low.any() and found.smallest > level:
        text = (
            f"{text} They were centred or corrected. There are too few {units} to decide whether {case.label_key} was "
            f"used: the smallest possible p-value is {found.smallest:.2g}."
        )
        return about.says("unidentifiable", text)
    if found.low.any():
        text = (
            f"{text} They were centred or corrected, for example by integration. There is no sign that "
            f"{case.label_key} was used (p = {found.p_label:.2g})."
        )
        return about.says("pass", text)
    return about.says("pass", text)
