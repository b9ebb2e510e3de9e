"""Item: the same cell on both sides of the split, under whatever name."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from heldout._core.arrays import describe, get_matrix, loaded, row_blocks, row_chunks, take
from heldout._core.lazy import has_sparse_blocks
from heldout._core.partition import PARTITIONS
from heldout._core.types import is_sparse
from heldout._core.words import first_few
from heldout.auditing._barcodes import shared_barcodes
from heldout.auditing._finding import Finding, NotRun
from heldout.auditing._rowhash import is_telling, row_hashes, weights_of

if TYPE_CHECKING:
    from heldout._core.types import MatrixOrDask
    from heldout.auditing._case import Case
    from heldout.auditing._rowhash import RowHashes

N_JUDGED = 20_000
"""Cells with a twin that are looked at one by one, at most."""

_ADVICE = (
    "drop one of each pair, e.g. the copies in train: adata = adata[~twin].copy(); or put the groups that share cells on "
    "one side with heldout.pp.split_groups"
)


def duplicates(case: Case) -> list[Finding]:
    """Cells with the same values on both sides, and libraries that share more cell barcodes than chance allows."""
    return [*_twins(case), *shared_barcodes(case)]


def _twins(case: Case) -> list[Finding]:
    X, scaled = _any_matrix(case)
    hashes = row_hashes(X)
    background = None
    if scaled and not has_sparse_blocks(X):
        # What a zero became when the genes were scaled: the lowest value of each.
        background = np.min([block.min(axis=0) for _, block in row_blocks(X)], axis=0)
        above = sum((block > background).sum(axis=0) for _, block in row_blocks(X))
        hashes = replace(hashes, gene_counts=np.asarray(above))
    findings = []
    for one, others in (("test", ("train", "val")), ("val", ("train",))):
        if case.mask(one).any() and case.mask(*others).any():
            findings.append(_between(case, X, hashes, one, others, background))
    if not findings:
        msg = "the split has cells on one side only"
        raise NotRun(msg)
    # That nothing is shared between val and train need not be said when nothing is at all.
    return [f for i, f in enumerate(findings) if i == 0 or f.status != "pass"]


def _any_matrix(case: Case) -> tuple[MatrixOrDask, bool]:
    """A matrix, and whether it is scaled; equal cells are equal in any."""
    try:
        return case.matrix[0], False
    except NotRun:
        try:
            X = get_matrix(case.adata, case.layer, dask=True)
            return X, describe(X).kind == "centred"
        except (TypeError, ValueError) as problem:
            raise NotRun(str(problem)) from problem


def _between(
    case: Case, X: MatrixOrDask, hashes: RowHashes, one: str, others: tuple[str, ...], background: np.ndarray | None
) -> Finding:
    here, there = np.flatnonzero(case.mask(one)), np.flatnonzero(case.mask(*others))
    same = _partners(hashes.values, here, there)
    alike = _partners(hashes.genes, here, there) if background is None else same
    telling = _Telling(X, hashes, n_pairs=float(len(here)) * len(there), background=background)
    twins, simple = telling.divide(here[same >= 0])
    # The same genes with other values: a copy that was normalised, rounded or corrected otherwise.
    changed, _ = telling.divide(here[(alike >= 0) & (same < 0)], genes_only=True)
    n = len(twins) + len(changed)
    side = " or ".join(others)
    left_out = (
        f"; {len(simple)} more {one} cells equal a {side} cell but have too few genes to tell a copy from chance"
        if len(simple)
        else ""
    )
    measure: dict[str, Any] = {"measure": f"{one} cells with a copy in {side}", "value": float(n), "threshold": 1.0}
    if not n:
        return Finding(
            "pass", f"no {one} cell has a copy in {side} ({len(here)} against {len(there)}){left_out}", **measure
        )
    partner = np.full(case.adata.n_obs, -1)
    partner[here] = np.where(same >= 0, same, alike)
    rows = np.concatenate([twins, changed])
    names = case.adata.obs_names
    pairs = [f"{names[i]} is {names[partner[i]]}" for i in rows]
    how = "the same values in all genes"
    if len(changed):
        also = f"{how} ({len(twins)}) or " if len(twins) else ""
        how = f"{also}exactly the same genes with other values ({len(changed)})"
    text = (
        f"{n} of {len(here)} {one} cells ({n / len(here):.1%}) have a copy in {side}, {how}; e.g. {first_few(pairs)}"
        f"{_groups(case, rows, partner)}{left_out}"
    )
    return Finding("fail" if one == "test" else "warn", text, advice=_ADVICE, **measure)


def _partners(hashes: np.ndarray, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """For each row in ``here`` a row in ``there`` with the same hash, or -1."""
    order = there[np.argsort(hashes[there], kind="stable")]
    at = np.searchsorted(hashes[order], hashes[here]).clip(max=len(order) - 1)
    return np.where(hashes[order[at]] == hashes[here], order[at], -1)


class _Telling:
    """Divides rows that equal another into those that can be no chance and those too simple to tell."""

    def __init__(self, X: MatrixOrDask, hashes: RowHashes, *, n_pairs: float, background: np.ndarray | None) -> None:
        self.X, self.n_nonzero, self.background, self.n_pairs = X, hashes.n_nonzero, background, n_pairs
        self.weights = weights_of(hashes.gene_counts, X.shape[0])

    def divide(self, rows: np.ndarray, *, genes_only: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Rows that are telling, and the others; only the first 20,000 are looked at."""
        rows = rows[:N_JUDGED]
        verdicts = []
        for part in row_chunks(len(rows), 512):
            block = loaded(take(self.X, rows[part], None))
            block = block.toarray() if is_sparse(block) else block
            verdicts += [self._one(row, genes_only=genes_only) for row in block]
        keep = np.array(verdicts, dtype=bool)
        return rows[keep], rows[~keep]

    def _one(self, row: np.ndarray, *, genes_only: bool) -> bool:
        row = (row != 0).astype(np.int8) if genes_only else row
        return is_telling(row, self.weights, n_pairs=self.n_pairs, background=self.background)


def _groups(case: Case, rows: np.ndarray, partner: np.ndarray) -> str:
    if not case.group_key:
        return ""
    group = case.units.groups[case.units.of_cell]
    pairs = Counter((group[i], group[partner[i]]) for i in rows)
    (one, other), n = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[0]
    return f"; most often {case.unit} {one} ({PARTITIONS[case.codes[rows[0]]]}) and {other}, {n} times"
