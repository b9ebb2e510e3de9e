"""Find cell barcodes that are shared by libraries on different sides of the split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import poisson

from heldout._core.words import first_few
from heldout.auditing._finding import Finding
from heldout.auditing._words import many

if TYPE_CHECKING:
    from heldout.auditing._case import Case

WHITELIST = 737_280
"""Barcodes in the shortest list in use (10x Chromium v2). Longer lists give fewer shared barcodes by chance."""

_PATTERN = r"(?<![A-Za-z])([ACGT]{12,18})(?![A-Za-z])"
_MIN_SHARED = 10
_MAX_P = 1e-3
_FAIL_SHARE = 0.2


def shared_barcodes(case: Case) -> list[Finding]:
    """Find pairs of groups on different sides that share more barcodes than expected by chance."""
    if not case.group_key:
        text = "No group_key is known, so barcodes of different groups cannot be compared."
        return [Finding("not run", text, subject="barcodes")]
    barcodes = case.adata.obs_names.to_series().astype(str).str.extract(_PATTERN, expand=False).to_numpy(dtype=object)
    used = case.units.of_cell >= 0
    known = ~pd.isna(barcodes) & used
    if known.sum() < 0.5 * max(used.sum(), 1):
        return [Finding("not run", "The cell names contain no cell barcodes.", subject="barcodes")]
    groups, of_cell = np.unique(case.units.groups[case.units.of_cell].astype(str), return_inverse=True)
    sets = _incidence(barcodes[known], of_cell[known], len(groups))
    pairs = _pairs(sets, _side(case, of_cell, len(groups)))
    if not len(pairs):
        return [
            Finding("not run", f"No two {many(case.unit)} are on different sides of the split.", subject="barcodes")
        ]
    measure: dict[str, Any] = {
        "subject": "barcodes",
        "measure": "largest share of common barcodes",
    }
    odd = pairs[(pairs["shared"] >= _MIN_SHARED) & (pairs["p"] * len(pairs) < _MAX_P)]
    highest = float(pairs["share"].max())
    if not len(odd):
        text = (
            f"{len(pairs)} pairs of {many(case.unit)} on different sides of the split share "
            f"{int(pairs['shared'].sum())} cell barcodes. At most {pairs['expected'].sum():.0f} are expected by chance."
        )
        return [Finding("pass", text, value=highest, threshold=_FAIL_SHARE, **measure)]
    odd = odd.sort_values(["share", "in_test", "in_train"], ascending=[False, True, True])
    examples = [
        f"{groups[row.in_test]} and {groups[row.in_train]} share {row.shared} barcodes ({row.share:.0%} of the smaller "
        f"group, {row.expected:.1f} expected)"
        for row in odd.itertuples()
    ]
    text = (
        f"{len(odd)} of {len(pairs)} pairs of {many(case.unit)} on different sides of the split share more cell "
        f"barcodes than expected by chance: {first_few(examples)}."
    )
    if highest > _FAIL_SHARE:
        text += " Probably both names refer to one library."
        advice = (
            f"Put both into one group: add a column that names the original library, and split by it instead of by "
            f"{case.unit}."
        )
        return [Finding("fail", text, value=highest, threshold=_FAIL_SHARE, advice=advice, **measure)]
    text += " Possible causes are a library that was sequenced twice and index hopping on one flow cell."
    advice = "Keep libraries of one flow cell on one side of the split, or drop cells whose barcode is in both groups."
    return [Finding("warn", text, value=highest, threshold=_FAIL_SHARE, advice=advice, **measure)]


def _incidence(barcodes: np.ndarray, of_cell: np.ndarray, n_groups: int) -> sparse.csr_array:
    """Indicator matrix of the barcodes in each group, (barcodes × groups)."""
    codes, unique = pd.factorize(barcodes)
    counts = sparse.coo_array((np.ones(len(codes)), (codes, of_cell)), shape=(len(unique), n_groups)).tocsr()
    counts.data[:] = 1
    return counts


def _side(case: Case, of_cell: np.ndarray, n_groups: int) -> np.ndarray:
    """Side of each group, (n_groups,): 0 for train or val, 1 for test, -1 for both or neither."""
    inside = [np.bincount(of_cell[case.mask(*p)], minlength=n_groups) > 0 for p in (("train", "val"), ("test",))]
    return np.where(inside[0] == inside[1], -1, inside[1].astype(int))


def _pairs(sets: sparse.csr_array, side: np.ndarray) -> pd.DataFrame:
    """Shared and expected barcodes of each pair of groups on different sides of the split."""
    size = np.asarray(sets.sum(axis=0)).ravel()
    test, train = np.flatnonzero(side == 1), np.flatnonzero(side == 0)
    shared = (sets[:, test].T @ sets[:, train]).toarray().ravel()
    in_test, in_train = (grid.ravel() for grid in np.meshgrid(test, train, indexing="ij"))
    expected = size[in_test] * size[in_train] / WHITELIST
    table = {"in_test": in_test, "in_train": in_train, "shared": shared.astype(int), "expected": expected}
    smaller = np.maximum(np.minimum(size[in_test], size[in_train]), 1)
    return pd.DataFrame({**table, "share": shared / smaller, "p": poisson.sf(shared - 1, expected)})
