"""Tell whether columns are averages of the labels of neighbours of each cell, test cells included."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from heldout._core.types import is_sparse
from heldout.auditing._exchange import blocks_of, p_value, smallest_of
from heldout.auditing._finding import Finding, NotRun
from heldout.metrics.labellings import labellings, observed_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout.auditing._case import Case

LEVEL = 0.005
"""Level for all columns together that follow the labels of neighbours."""
CLEAR = 0.3
"""Smallest correlation of a column that follows the labels of neighbours."""
GRAPHS = ((50, 15), (20, 15), (20, 50), (10, 15))
"""Numbers of components and of neighbours."""
N_SMOOTH = 10
"""Components whose means over neighbours are removed: they follow the label if it has an effect on expression."""
MAX_STORED = 3
"""Graphs of ``obsp`` that are read."""
N_CELLS, N_LABELLINGS = 4000, 10_000
_MEASURE = "correlation with the share of a class among neighbours, within units and beyond components"


@dataclass(frozen=True)
class _Residuals:
    """Values minus their mean in each unit and minus what components of the cells explain."""

    unit: np.ndarray
    n_units: int
    basis: np.ndarray

    def of(self, values: np.ndarray) -> np.ndarray:
        """Residuals (q × c) of values (q × c)."""
        values = values - _means(values, self.unit, self.n_units)[self.unit]
        return np.asarray(values - self.basis @ (self.basis.T @ values))


def average_findings(case: Case, columns: dict[str, np.ndarray]) -> list[Finding]:
    """Compare columns (n,) with the share of each class among the neighbours of each cell.

    Shares and columns are compared within units, and beyond 50 components and the means of ten of them over neighbours.
    There, neither a gene score nor its mean over neighbours follows the labels of neighbours. Weights that decrease
    with the distance, and several steps over a graph, change the correlation little. Null hypothesis: the labels of the
    test units were not used, so that they can be permuted. The level is divided by the number of columns that follow
    the labels of neighbours at all.
    """
    units = case.units
    test = units.test_only
    columns = {name: values for name, values in columns.items() if np.isfinite(values[case.used]).all()}
    try:
        sample = case.sample
    except NotRun:
        return []
    if not columns or test.sum() < 2:
        return []
    classes, codes = np.unique(case.need_labels().astype(str), return_inverse=True)
    asked = np.searchsorted(
        sample.rows, case.drawn(np.isin(np.arange(len(units.of_cell)), sample.rows), N_CELLS, "near")
    )
    unit = units.of_cell[sample.rows]
    n_units = len(units.names)
    near = [_nearest(sample.pcs[:, :n_comps], asked, k) for n_comps, k in GRAPHS]
    smooth = [sample.pcs[rows, :N_SMOOTH].mean(axis=1) for rows in near]
    pcs = np.concatenate([sample.pcs[asked], *smooth], axis=1).astype(float)
    basis = np.linalg.qr(pcs - _means(pcs, unit[asked], n_units)[unit[asked]])[0]
    residuals = _Residuals(unit[asked], n_units, basis)
    values = np.stack([columns[name][sample.rows[asked]] for name in columns], axis=1).astype(float)
    values -= values.mean(axis=0)
    left = residuals.of(values)
    size, whole = np.linalg.norm(left, axis=0), np.linalg.norm(values, axis=0)
    kept = np.flatnonzero(size > 0.02 * np.maximum(whole, 1e-12))
    left = left[:, kept] / size[kept]
    drawn, _ = labellings(codes[test], blocks_of(units)[test], case.rng("neighbours"), limit=N_LABELLINGS)
    every = np.tile(codes, (len(drawn), 1))
    every[:, test] = drawn
    at = observed_row(drawn, codes[test])
    strongest = np.zeros((len(drawn), len(kept)))
    for shares in chain(_shares(near, unit, n_units), _stored(case, sample.rows[asked])):
        found = residuals.of(shares)
        products, gram = found.T @ left, found.T @ found
        for c in range(len(classes)):
            member = (every == c).astype(float)
            spread = np.sqrt(np.maximum(np.einsum("bu,bu->b", member @ gram, member), 1e-12))
            strongest = np.maximum(strongest, np.abs(member @ products) / spread[:, None])
    clear = np.flatnonzero(strongest[at] >= CLEAR)
    names = list(columns)
    return [_said(case, names[kept[j]], strongest[:, j], at, LEVEL / len(clear)) for j in clear]


def _said(case: Case, subject: str, strongest: np.ndarray, at: int, level: float) -> Finding:
    p, r = p_value(strongest[at], strongest), strongest[at]
    about = Finding.about(subject, _MEASURE, r, CLEAR)
    text = (
        f"{subject} follows the classes of {case.label_key} among the neighbours of each cell (correlation {r:.2f} "
        f"within units and beyond {case.sample.pcs.shape[1]} components)."
    )
    if p <= level:
        text = (
            f"{text} With permuted labels of the test units, the correlation is {np.median(strongest):.2f} (p = "
            f"{p:.2g}), so test cells are among the neighbours whose labels were used."
        )
        return about.says("fail", text, "Compute it from the labels of neighbours of other groups in train only.")
    if smallest_of(strongest) > level:
        text = (
            f"{text} There are too few test units to decide whether their labels were used: the smallest possible "
            f"p-value is {smallest_of(strongest):.2g}."
        )
        return about.says("unidentifiable", text)
    return about.says("pass", f"{text} There is no sign that labels of test units were used (p = {p:.2g}).")


def _nearest(Z: np.ndarray, asked: np.ndarray, k: int) -> np.ndarray:
    """The k nearest other cells (q × k) of the asked cells."""
    from sklearn.neighbors import NearestNeighbors

    k = min(k, len(Z) - 1)
    found = NearestNeighbors(n_neighbors=k + 1).fit(Z).kneighbors(Z[asked], return_distance=False)
    others = found != asked[:, None]
    others[others.all(axis=1), -1] = False
    return np.asarray(found[others].reshape(len(asked), k))


def _shares(near: list[np.ndarray], unit: np.ndarray, n_units: int) -> Iterator[np.ndarray]:
    """Share (q × U) of each unit among the neighbours of the asked cells, for each number of components and cells."""
    for rows in near:
        shares = np.zeros((len(rows), n_units))
        np.add.at(shares, (np.arange(len(rows))[:, None], unit[rows]), 1 / rows.shape[1])
        yield shares


def _stored(case: Case, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Share (q × U) of each unit among the neighbours of the cells in rows, in the graphs of ``obsp``."""
    unit, n_units = case.units.of_cell, len(case.units.names)
    cells = np.flatnonzero(unit >= 0)
    member = sparse.csr_array((np.ones(len(cells)), (cells, unit[cells])), shape=(len(unit), n_units))
    for key in sorted(map(str, case.adata.obsp))[:MAX_STORED]:
        graph = case.adata.obsp[key]
        if is_sparse(graph):
            near = sparse.csr_array(graph)[rows]
            total = np.maximum(np.asarray(near.sum(axis=1)).ravel(), 1e-12)
            yield np.asarray((near @ member).toarray()) / total[:, None]


def _means(values: np.ndarray, unit: np.ndarray, n_units: int) -> np.ndarray:
    total = np.zeros((n_units, values.shape[1]))
    np.add.at(total, unit, values)
    return total / np.maximum(np.bincount(unit, minlength=n_units), 1)[:, None]
