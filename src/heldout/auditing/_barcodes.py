"""Cell barcodes that libraries on different sides of the split share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import poisson

from heldout._core.words import first_few
from heldout.auditing._finding import Finding

if TYPE_CHECKING:
    from heldout.auditing._case import Case

WHITELIST = 737_280
"""Barcodes of the smallest list in use (10x Chromium v2); with a longer one fewer would be shared by chance."""

_PATTERN = r"(?<![A-Za-z])([ACGT]{12,18})(?![A-Za-z])"
_MIN_SHARED = 10
_MAX_P = 1e-3
_FAIL_SHARE = 0.2


def shared_barcodes(case: Case) -> list[Finding]:
    """Pairs of groups on different sides that share more barcodes than chance allows."""
    if not case.group_key:
        return [
            Finding("not run", "no group is known, so barcodes of libraries cannot be compared", subject="barcodes")
        ]
    barcodes = case.adata.obs_names.to_series().astype(str).str.extract(_PATTERN, expand=False).to_numpy(dtype=object)
    used = case.units.of_cell >= 0
    known = ~pd.isna(barcodes) & used
    if known.sum() < 0.5 * max(used.sum(), 1):
        return [Finding("not run", "the names of the cells hold no cell barcodes", subject="barcodes")]
    groups, of_cell = np.unique(case.units.groups[case.units.of_cell].astype(str), return_inverse=True)
    sets = _incidence(barcodes[known], of_cell[known], len(groups))
    pairs = _pairs(sets, _side(case, of_cell, len(groups)))
    if not len(pairs):
        return [Finding("not run", f"no two {case.unit} groups are on different sides", subject="barcodes")]
    measure: dict[str, Any] = {
        "subject": "barcodes",
        "measure": "barcodes shared by two groups, as a share of the smaller",
    }
    odd = pairs[(pairs["shared"] >= _MIN_SHARED) & (pairs["p"] * len(pairs) < _MAX_P)]
    highest = float(pairs["share"].max())
    if not len(odd):
        text = (
            f"{len(pairs)} pairs of {case.unit} on different sides share {int(pairs['shared'].sum())} cell barcodes, "
            f"{pairs['expected'].sum():.0f} are expected by chance at most"
        )
        return [Finding("pass", text, value=highest, threshold=_FAIL_SHARE, **measure)]
    odd = odd.sort_values(["share", "one", "other"], ascending=[False, True, True])
    examples = [
        f"{groups[row.one]} and {groups[row.other]} {row.shared} ({row.share:.0%} of the smaller, "
        f"{row.expected:.1f} expected)"
        for row in odd.itertuples()
    ]
    text = (
        f"{len(odd)} of {len(pairs)} pairs of {case.unit} on different sides share more cell barcodes than chance "
        f"allows: {first_few(examples)}"
    )
    if highest > _FAIL_SHARE:
        text += "; this looks like one library under two names"
        advice = (
            f"put both into one group: a column that names the library of origin, and split by it, not by {case.unit}"
        )
        return [Finding("fail", text, value=highest, threshold=_FAIL_SHARE, advice=advice, **measure)]
    text += "; a library that was sequenced twice, or index hopping on one flow cell"
    advice = "keep libraries of one flow cell on one side, or drop the cells whose barcode is in both"
    return [Finding("warn", text, value=highest, threshold=_FAIL_SHARE, advice=advice, **measure)]


def _incidence(barcodes: np.ndarray, of_cell: np.ndarray, n_groups: int) -> sparse.csr_array:
    """Which barcode is in which group, (barcodes × groups)."""
    codes, unique = pd.factorize(barcodes)
    counts = sparse.coo_array((np.ones(len(codes)), (codes, of_cell)), shape=(len(unique), n_groups)).tocsr()
    counts.data[:] = 1
    return counts


def _side(case: Case, of_cell: np.ndarray, n_groups: int) -> np.ndarray:
    """Side of each group: 0 train or val, 1 test, -1 both or neither (n_groups,)."""
    inside = [np.bincount(of_cell[case.mask(*p)], minlength=n_groups) > 0 for p in (("train", "val"), ("test",))]
    return np.where(inside[0] == inside[1], -1, inside[1].astype(int))


def _pairs(sets: sparse.csr_array, side: np.ndarray) -> pd.DataFrame:
    """Shared and expected barcodes of each pair of groups on different sides."""
    size = np.asarray(sets.sum(axis=0)).ravel()
    ones, others = np.flatnonzero(side == 1), np.flatnonzero(side == 0)
    shared = (sets[:, ones].T @ sets[:, others]).toarray()
    one, other = (grid.ravel() for grid in np.meshgrid(ones, others, indexing="ij"))
    expected = size[one] * size[other] / WHITELIST
    shared = shared.ravel()
    table = {"one": one, "other": other, "shared": shared.astype(int), "expected": expected}
    smaller = np.maximum(np.minimum(size[one], size[other]), 1)
    return pd.DataFrame({**table, "share": shared / smaller, "p": poisson.sf(shared - 1, expected)})
