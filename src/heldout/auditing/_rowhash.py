"""A 64-bit hash of each row of a matrix, and a check that equal rows are not equal by chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.special import gammaln

from heldout._core.arrays import row_blocks
from heldout._core.types import is_sparse

if TYPE_CHECKING:
    from heldout._core.types import MatrixOrDask, Sparse

MIN_GENES = 10
MIN_VALUES = 10
CHANCE = 1e-3


@dataclass(frozen=True)
class RowHashes:
    """Hashes and counts that are needed to find equal rows.

    Parameters
    ----------
    values
        Hash of the non-zero genes and their values, (n,).
    genes
        Hash of the non-zero genes, (n,).
    n_nonzero
        Number of non-zero genes, (n,).
    gene_counts
        Number of rows in which each gene is not zero, (p,).
    """

    values: np.ndarray
    genes: np.ndarray
    n_nonzero: np.ndarray
    gene_counts: np.ndarray


def _mixed(x: np.ndarray) -> np.ndarray:
    """Scramble 64-bit numbers in place with the bijective finaliser of splitmix64."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def row_hashes(X: MatrixOrDask) -> RowHashes:
    """Hash each row: the sum, modulo 2**64, of one pseudo-random number for each pair of gene and value.

    Explicit zeros, the order of the entries and the precision of the stored values do not change the hash.
    """
    n, p = X.shape
    of_gene = _mixed((np.arange(1, p + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15))
    found = RowHashes(
        np.zeros(n, np.uint64), np.zeros(n, np.uint64), np.zeros(n, np.int64), np.zeros(p, dtype=np.int64)
    )
    if is_sparse(X) and X.format == "csc":
        width = max(1, 2**21 * p // max(X.nnz, 1))
        for first in range(0, p, width):
            columns = slice(first, min(first + width, p))
            _add(found, X[:, columns].tocsr(), of_gene[columns], slice(0, n), columns)
    else:
        for rows, block in row_blocks(X):
            _add(found, sparse.csr_array(block), of_gene, rows, slice(0, p))
    return found


def _add(found: RowHashes, block: Sparse, of_gene: np.ndarray, rows: slice, columns: slice) -> None:
    genes = of_gene[block.indices]
    values = block.data.astype(np.float64)
    there = values != 0
    terms = _mixed(values.view(np.uint64) ^ genes)
    if not there.all():
        terms[~there], genes[~there] = 0, 0
    found.values[rows] += _row_sums(terms, block.indptr)
    found.genes[rows] += _row_sums(genes, block.indptr)
    found.n_nonzero[rows] += _row_sums(there.astype(np.int64), block.indptr)
    found.gene_counts[columns] += np.bincount(block.indices[there], minlength=block.shape[1])


def _row_sums(entries: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    sums = np.zeros(len(indptr) - 1, dtype=entries.dtype)
    filled = np.flatnonzero(np.diff(indptr))
    if len(filled):
        sums[filled] = np.add.reduceat(entries, indptr[:-1][filled])
    return sums


def log_chance(genes: np.ndarray, weights: np.ndarray) -> float:
    """Upper bound of the log-probability that another cell with the same number of genes has exactly these genes.

    The model draws the genes of a cell one after the other by their weights (p,) without replacement. The bound uses
    the most likely order of the genes for every order.
    """
    w = np.sort(weights[genes])[::-1]
    left = np.maximum(1 - np.concatenate([[0.0], np.cumsum(w)[:-1]]), w)
    return float(min(0.0, gammaln(len(w) + 1) + np.log(w).sum() - np.log(left).sum()))


def weights_of(gene_counts: np.ndarray, n: int) -> np.ndarray:
    """Weight of each gene in the model of :func:`log_chance`, (p,), from the share of cells that detect it."""
    share = np.clip(gene_counts / max(n, 1), 0, 1 - 1 / (2 * max(n, 1)))
    rate = -np.log1p(-share)
    return rate / max(rate.sum(), np.finfo(float).tiny)


def is_telling(row: np.ndarray, weights: np.ndarray, *, n_pairs: float, background: np.ndarray | None = None) -> bool:
    """Whether a second row that equals this one is very unlikely by chance.

    The row needs at least ten genes that differ from the background (zero, or the scaled value of zero in
    ``background``). In addition, the same set of genes must be expected by chance in any of ``n_pairs`` pairs in less
    than one of a thousand audits, or the row must have ten distinct values.
    """
    differs = row != (0 if background is None else background)
    genes = np.flatnonzero(differs)
    if len(genes) < MIN_GENES:
        return False
    if log_chance(genes, weights) < np.log(CHANCE) - np.log(n_pairs):
        return True
    # Scaling turns one value into a different value for each gene. Then a few genes prove nothing.
    enough = background is None or len(genes) >= len(row) / 2
    return bool(enough and len(np.unique(row[differs])) >= MIN_VALUES)
