"""Tell whether a column is the share of a class among the neighbours of each cell, test cells included."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout.auditing._exchange import blocks_of, p_value
from heldout.auditing._finding import Finding, NotRun
from heldout.metrics.labellings import labellings

if TYPE_CHECKING:
    from heldout.auditing._case import Case

LEVEL = 0.01
CLEAR = 0.3
MAX_NEIGHBOURS = 100
N_LABELLINGS = 200
_MEASURE = "correlation with the share of a class among neighbours"


def is_share(values: np.ndarray) -> int | None:
    """Number of neighbours k if all values are multiples of 1/k between 0 and 1, or None."""
    known = np.unique(values)
    if len(known) < 3 or len(known) > MAX_NEIGHBOURS + 1 or not np.isfinite(known).all():
        return None
    if known.min() < 0 or known.max() > 1:
        return None
    for k in range(2, MAX_NEIGHBOURS + 1):
        if np.abs(known * k - np.round(known * k)).max() < 1e-5 * k:
            return k
    return None


def neighbour_finding(case: Case, subject: str, values: np.ndarray, k: int) -> Finding | None:
    """Compare a column with the share of each class among k neighbours, of all cells and of train cells.

    Null hypothesis: the labels of the test units were not used, so that they can be permuted. None if the column does
    not follow the labels of neighbours.
    """
    try:
        sample = case.sample
    except NotRun:
        return None
    units, test = case.units, case.units.test_only
    if test.sum() < 2:
        return None
    classes, codes = np.unique(case.need_labels().astype(str), return_inverse=True)
    unit, values = units.of_cell[sample.rows], values[sample.rows]
    train = case.mask("train")[sample.rows]
    everyone, of_train = _neighbours(sample.pcs, np.ones(len(unit), bool), k), _neighbours(sample.pcs, train, k)
    drawn, _ = labellings(codes[test], blocks_of(units)[test], case.rng(f"share {subject}"), limit=N_LABELLINGS)
    every = np.tile(codes, (len(drawn) + 1, 1))
    every[1:, test] = drawn
    both = np.abs([[_correlation(values, row[unit] == c, everyone) for row in every] for c in range(len(classes))])
    on_train = max(abs(_correlation(values, codes[unit] == c, of_train)) for c in range(len(classes)))
    strongest = both.max(axis=0)
    p = p_value(strongest[0], strongest[1:])
    found = Finding.about(subject, _MEASURE, strongest[0], CLEAR)
    if strongest[0] >= CLEAR and strongest[0] > on_train and p <= LEVEL:
        text = (
            f"{subject} is the share of a class among {k} neighbours of each cell, and test cells are among the "
            f"neighbours. Its correlation with this share is {strongest[0]:.2f} on all cells and {on_train:.2f} on "
            f"the train cells. With permuted labels of the test units, it is {np.median(strongest[1:]):.2f} "
            f"(p = {p:.2g})."
        )
        return found.says("fail", text, "Compute the share from the neighbours of other groups in train only.")
    if on_train >= CLEAR:
        return found.says("pass", f"{subject} follows the classes of the neighbours of each cell in train.")
    return None


def _neighbours(pcs: np.ndarray, among: np.ndarray, k: int) -> np.ndarray:
    """Row numbers of the k nearest of these cells for each cell, without the nearest if it is the cell itself."""
    from sklearn.neighbors import NearestNeighbors

    rows = np.flatnonzero(among)
    k = min(k, len(rows) - 1)
    found = rows[NearestNeighbors(n_neighbors=k + 1).fit(pcs[rows]).kneighbors(pcs, return_distance=False)]
    itself = found == np.arange(len(pcs))[:, None]
    itself[~itself.any(axis=1), -1] = True
    first = itself.argmax(axis=1)
    keep = np.ones(found.shape, dtype=bool)
    keep[np.arange(len(found)), first] = False
    return found[keep].reshape(len(found), k)


def _correlation(values: np.ndarray, member: np.ndarray, neighbours: np.ndarray) -> float:
    share = member[neighbours].mean(axis=1)
    if share.std() == 0 or values.std() == 0:
        return 0.0
    return float(np.corrcoef(values, share)[0, 1])
