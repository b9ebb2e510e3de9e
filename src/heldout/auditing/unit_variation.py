"""Find units that differ less than samples of cells do: they were centred, integrated, or corrected with the label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from heldout._core.arrays import as_dense, loaded, lognormalised, moments, take
from heldout._core.partition import digests
from heldout._core.types import is_sparse
from heldout._core.words import first_few
from heldout.auditing._case import TARGET
from heldout.auditing._cell_states import clusters, columns_of_states
from heldout.auditing._exchange import blocks_of
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._variation import LOW, UnitCells, Variation, variation
from heldout.auditing._words import numbered, units_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout.auditing._case import Case

LEVEL = 0.01
"""Level for all matrices together."""
N_CELLS, N_FEATURES, MAX_COLUMNS = 20_000, 200, 4000
MOST_CELLS = 100_000
MIN_CELLS, MIN_UNITS = 5, 3
_MEASURE = "variation between units, divided by that of random samples of cells"


def unit_variation(case: Case) -> list[Finding]:
    """Find units that differ less than the sampling of their cells allows.

    There are two null hypotheses. (1) Units of a class differ at least as much as random samples of its cells. Cells
    are permuted between units of a class, within the values of columns such as the cell type, and within clusters that
    are computed from the matrix. The variation of units is low if it is below 0.8 times that of permuted cells, below
    that of each of 99 permutations, and p is at most 0.01 divided by the number of comparisons. (2) The labels of the
    units can be exchanged. The item fails for a matrix if the variation is low and the labels explain the units, or how
    much they vary, better than permuted labels do (p at most 0.01 divided by the number of matrices). It warns if the
    variation of the test units is low: test cells were corrected together, with the label or without it.
    """
    case.need_labels()
    rows, cells, classes, names = _cells(case)
    columns = columns_of_states(case, rows, cells.unit)
    level = LEVEL / (len(case.layers) + len(case.adata.obsm))
    findings = []
    for subject, X, scale in _matrices(case, rows):
        rng = case.rng(f"variation {subject}")
        strata = columns + clusters(X * scale, cells.place, case.seed) or [np.zeros(len(rows), dtype=int)]
        found = variation(X, cells, strata, level, rng)
        findings.append(_said(case, subject, found, cells, classes, names, level))
    if not findings:
        msg = "No matrix or embedding has values that vary."
        raise NotRun(msg)
    return findings


def _cells(case: Case) -> tuple[np.ndarray, UnitCells, np.ndarray, np.ndarray]:
    """Rows of all cells of some units, their units, the names of the classes, and the names of the units.

    Units are drawn whole, because a sample of the cells of a corrected unit varies as samples do.
    """
    large = np.flatnonzero(case.units.counts.sum(axis=1) >= MIN_CELLS)
    order = case.rng("variation").permutation(large)
    labels = case.need_labels().astype(str)
    rank = pd.Series(labels[order]).groupby(labels[order]).cumcount().to_numpy()
    n_before = case.units.counts.sum(axis=1)[order].cumsum()
    drawn = np.sort(order[(n_before <= N_CELLS) | (rank < MIN_UNITS + 1)])
    classes, codes = np.unique(labels[drawn], return_inverse=True)
    if len(classes) < 2 or np.bincount(codes).min() < MIN_UNITS:
        msg = f"A class of {case.label_key} has fewer than {MIN_UNITS} {units_in_words(case)} with {MIN_CELLS} cells."
        raise NotRun(msg)
    rows = np.flatnonzero(np.isin(case.units.of_cell, drawn))
    if len(rows) > MOST_CELLS:
        msg = (
            f"The {numbered(case, len(drawn))} that were drawn have {len(rows):,} cells, more than {MOST_CELLS:,}. "
            "Subsample the cells (heldout.pp.subsample) and audit again."
        )
        raise NotRun(msg)
    place = np.argsort(np.argsort(digests(case.adata.obs_names[rows])))
    unit = np.searchsorted(drawn, case.units.of_cell[rows])
    cells = UnitCells(unit, codes, blocks_of(case.units)[drawn], case.units.test_only[drawn], place)
    return rows, cells, classes, case.units.names[drawn]


def _matrices(case: Case, rows: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, values and scale of each matrix and embedding for these cells.

    Values (m × at most 200) have mean 0 and variance 1 for each feature, and the scale is the standard deviation.
    """
    adata = case.adata
    for _, where, X, state in case.matrices():
        columns, kind = None, state.kind
        if X.shape[1] > MAX_COLUMNS and kind not in {"counts", "normalised"}:
            columns = np.arange(0, X.shape[1], -(-X.shape[1] // MAX_COLUMNS))
        block = loaded(take(X, rows, columns))
        if kind in {"counts", "normalised"}:
            block = lognormalised(sparse.csr_array(block) if is_sparse(block) else block, TARGET)
        if (found := _varying(block)) is not None:
            yield where, *found
    for key in sorted(map(str, adata.obsm)):
        block = adata.obsm[key]
        block = block.to_numpy() if isinstance(block, pd.DataFrame) else block
        if isinstance(block, np.ndarray) and block.ndim == 2 and block.dtype.kind in "fiu":
            block = np.asarray(block[rows], dtype=float)
            if np.isfinite(block).all() and (found := _varying(block)) is not None:
                yield f"obsm[{key!r}]", *found


def _varying(block: np.ndarray | sparse.csr_array) -> tuple[np.ndarray, np.ndarray] | None:
    """The features that vary most, with mean 0 and variance 1, and their scale. None if fewer than two vary."""
    found = moments(block)
    spread = np.sqrt(found.var)
    usual = np.flatnonzero(spread > 1e-6 * np.maximum(np.abs(found.mean), 1e-12))
    if len(usual) < 2:
        return None
    columns = np.sort(usual[np.argsort(-spread[usual], kind="stable")[:N_FEATURES]])
    values = take(block, None, columns)
    values = as_dense(values)
    return (values - found.mean[columns]) / spread[columns], spread[columns]


def _said(
    case: Case, subject: str, found: Variation, cells: UnitCells, classes: np.ndarray, names: np.ndarray, level: float
) -> Finding:
    lowest = int(np.argmin(np.where(found.low, found.ratio, np.inf))) if found.low.any() else 0
    about = Finding.about(subject, _MEASURE, found.ratio[lowest], LOW)
    units = units_in_words(case)
    named = ["a class", *(f"class {name}" for name in classes), "test"][lowest]
    of_label = f" of {case.label_key}" if named != "test" else ""
    text = f"The {units} of {named}{of_label} vary {found.ratio[lowest]:.2f} times as much as random samples of cells."
    if not found.low.any():
        return about.says("pass", text)
    if found.p_label <= level:
        text = (
            f"{text} Real {units} cannot vary less than samples. The labels explain the {units}, or how much they "
            f"vary, better than permuted labels (p = {found.p_label:.2g}). So the {units} were centred or corrected "
            f"with the label, or the label has an effect that a correction without the label has left."
        )
        advice = f"Use values from before the correction, or correct without {case.label_key} and without test cells."
        return about.says("fail", text, advice)
    if found.smallest > level:
        text = (
            f"{text} They were centred or corrected. There are too few {units} to decide whether {case.label_key} was "
            f"used: the smallest possible p-value is {found.smallest:.2g}."
        )
        return about.says("unidentifiable", text)
    text = f"{text} There is no sign that {case.label_key} was used (p = {found.p_label:.2g})."
    if not cells.test.any() or found.ratio[-1] > LOW:
        return about.says("pass", text)
    order = np.argsort(np.where(cells.test, found.of_unit, np.inf), kind="stable")
    few = order[: max(1, int((cells.test & (found.of_unit <= LOW)).sum()))]
    text = (
        f"{text} {numbered(case, len(few))} of {cells.test.sum()} in test vary less than their cells allow, e.g. "
        f"{first_few(list(names[few]))}, so test cells were centred, integrated or corrected for batches."
    )
    advice = "Check that the correction is part of the claim, or fit it on train cells and apply it to each test unit."
    return about.says("warn", text, advice)
