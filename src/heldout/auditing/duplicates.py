"""Find the same cell on both sides of the split, under any name."""

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
from heldout.auditing._words import many

if TYPE_CHECKING:
    from heldout._core.types import MatrixOrDask
    from heldout.auditing._case import Case
    from heldout.auditing._rowhash import RowHashes

N_JUDGED = 20_000
"""Maximum number of cells with an equal cell that are checked individually."""

_ADVICE = (
    "Drop one cell of each pair, e.g. the copies in train, or put the groups that share cells on one side of the split "
    "with heldout.pp.split_groups."
)


def duplicates(case: Case) -> list[Finding]:
    """Find equal cells on both sides, and libraries that share more cell barcodes than expected by chance."""
    return [*_copies(case), *shared_barcodes(case)]


def _copies(case: Case) -> list[Finding]:
    X, scaled = _any_matrix(case)
    hashes = row_hashes(X)
    background = None
    if scaled and not has_sparse_blocks(X):
        # Scaling turns a zero into the lowest value of the gene.
        background = np.min([block.min(axis=0) for _, block in row_blocks(X)], axis=0)
        above = sum((block > background).sum(axis=0) for _, block in row_blocks(X))
        hashes = replace(hashes, gene_counts=np.asarray(above))
    findings = []
    for partition, others in (("test", ("train", "val")), ("val", ("train",))):
        if case.mask(partition).any() and case.mask(*others).any():
            findings.append(_between(case, X, hashes, partition, others, background))
    if not findings:
        msg = "The split has cells on only one side."
        raise NotRun(msg)
    # Val against train is reported only if copies were found there.
    return [f for i, f in enumerate(findings) if i == 0 or f.status != "pass"]


def _any_matrix(case: Case) -> tuple[MatrixOrDask, bool]:
    """A matrix, and whether it is scaled. Equal cells are equal in every matrix."""
    try:
        return case.matrix[0], False
    except NotRun:
        try:
            X = get_matrix(case.adata, case.layer, dask=True)
            return X, describe(X).kind == "centred"
        except (TypeError, ValueError) as problem:
            raise NotRun(str(problem)) from problem


def _between(
    case: Case,
    X: MatrixOrDask,
    hashes: RowHashes,
    partition: str,
    others: tuple[str, ...],
    background: np.ndarray | None,
) -> Finding:
    here, there = np.flatnonzero(case.mask(partition)), np.flatnonzero(case.mask(*others))
    equal = _partners(hashes.values, here, there)
    same_genes = _partners(hashes.genes, here, there) if background is None else equal
    check = _ChanceCheck(X, hashes, n_pairs=float(len(here)) * len(there), background=background)
    copies, simple = check.divide(here[equal >= 0])
    # The same genes with other values: a copy that was normalised, rounded or corrected in another way.
    changed, _ = check.divide(here[(same_genes >= 0) & (equal < 0)], genes_only=True)
    n = len(copies) + len(changed)
    side = " or ".join(others)
    left_out = (
        f" {len(simple)} more {partition} cells equal a {side} cell but have too few genes to exclude chance."
        if len(simple)
        else ""
    )
    measure: dict[str, Any] = {
        "measure": f"{partition} cells with a copy in {side}",
        "value": float(n),
        "threshold": 1.0,
    }
    if not n:
        text = f"None of {len(here)} {partition} cells has a copy among {len(there)} {side} cells.{left_out}"
        return Finding("pass", text, **measure)
    partner = np.full(case.adata.n_obs, -1)
    partner[here] = np.where(equal >= 0, equal, same_genes)
    rows = np.concatenate([copies, changed])
    names = case.adata.obs_names
    pairs = [f"{names[i]} is {names[partner[i]]}" for i in rows]
    how = "The copies have the same values in all genes"
    if len(changed):
        also = f"{how} ({len(copies)} cells) or " if len(copies) else "The copies have "
        how = f"{also}exactly the same detected genes with other values ({len(changed)} cells)"
    text = (
        f"{n} of {len(here)} {partition} cells ({n / len(here):.1%}) have a copy in {side}. {how}, e.g. "
        f"{first_few(pairs)}.{_groups(case, rows, partner)}{left_out}"
    )
    return Finding("fail" if partition == "test" else "warn", text, advice=_ADVICE, **measure)


def _partners(hashes: np.ndarray, here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Row in ``there`` with the same hash as each row in ``here``, or -1."""
    order = there[np.argsort(hashes[there], kind="stable")]
    at = np.searchsorted(hashes[order], hashes[here]).clip(max=len(order) - 1)
    return np.where(hashes[order[at]] == hashes[here], order[at], -1)


class _ChanceCheck:
    """Divide rows that equal another row into very unlikely coincidences and rows that are too simple to decide."""

    def __init__(self, X: MatrixOrDask, hashes: RowHashes, *, n_pairs: float, background: np.ndarray | None) -> None:
        self.X, self.n_nonzero, self.background, self.n_pairs = X, hashes.n_nonzero, background, n_pairs
        self.weights = weights_of(hashes.gene_counts, X.shape[0])

    def divide(self, rows: np.ndarray, *, genes_only: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Rows that are very unlikely by chance, and the others. Only the first 20,000 rows are checked."""
        rows = rows[:N_JUDGED]
        verdicts = []
        for part in row_chunks(len(rows), 512):
            block = loaded(take(self.X, rows[part], None))
            block = block.toarray() if is_sparse(block) else block
            verdicts += [self._is_telling(row, genes_only=genes_only) for row in block]
        keep = np.array(verdicts, dtype=bool)
        return rows[keep], rows[~keep]

    def _is_telling(self, row: np.ndarray, *, genes_only: bool) -> bool:
        row = (row != 0).astype(np.int8) if genes_only else row
        return is_telling(row, self.weights, n_pairs=self.n_pairs, background=self.background)


def _groups(case: Case, rows: np.ndarray, partner: np.ndarray) -> str:
    if not case.group_key:
        return ""
    group = case.units.groups[case.units.of_cell]
    pairs = Counter((group[i], group[partner[i]]) for i in rows)
    (group_here, group_there), n = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[0]
    here = PARTITIONS[case.codes[rows[0]]]
    return f" The most frequent pair of {many(case.unit)} is {group_here} ({here}) and {group_there}: {n} cells."
