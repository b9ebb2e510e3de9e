"""Find modules of co-expressed genes, and assign them to partitions by shares of genes.

A module is a branch of Ward's tree over the genes. The distance of two genes is the Euclidean distance of their
standardised expression vectors, √(2 − 2r), where r is their Pearson correlation. Ward's criterion requires a Euclidean
distance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heldout._core.arrays import row_chunks
from heldout._core.lazy import over_blocks
from heldout._core.types import is_dask, is_sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout._core.types import Matrix, MatrixOrDask

EXACT_LIMIT = 60_000
"""Largest number of assignments for which all are visited. Beyond, a random assignment is improved by moves and
swaps.
"""

MOST_GENES = 15_000
"""Largest number of varying genes for which the correlation matrix is computed (15,000² float64 need 1.8 GB)."""

_CELLS = 2048

_DECIMALS = 6
"""Correlations are rounded, so that rounding errors of a machine do not decide between equal correlations."""


def correlation(X: MatrixOrDask, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the Pearson correlation of the genes over some cells, and the mask of the genes that vary there.

    Cells are read in chunks. The order is that of ``rows``, or that of the array for a dask array. Sums are in float64.

    Parameters
    ----------
    X
        Matrix (n_obs × n_vars): dense, csr or csc, or a dask array.
    rows, columns
        Numbers of the cells and genes to use, in the order of use.

    Returns
    -------
    The correlation of the varying genes (V × V), and the mask of the genes in ``columns`` that vary (n,).

    Raises
    ------
    ValueError
        If values of these cells are not finite, or if more than ``MOST_GENES`` genes vary.
    """
    X = X.tocsr() if is_sparse(X) else X
    low, high = np.full(len(columns), np.inf), np.full(len(columns), -np.inf)
    total = np.zeros(len(columns))
    for block in _blocks(X, rows, columns):
        low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
        total += block.sum(axis=0)
    varies = high > low
    columns, mean = columns[varies], total[varies] / len(rows)
    if len(columns) > MOST_GENES:
        msg = (
            f"{len(columns)} genes vary in the train cells, but modules are found among at most {MOST_GENES}. Keep "
            "the highly variable genes first: heldout.pp.highly_variable_genes(adata); adata = adata[:, "
            "adata.var['highly_variable']].copy()"
        )
        raise ValueError(msg)
    products = np.zeros((len(columns), len(columns)))
    for block in _blocks(X, rows, columns):
        deviations = block - mean
        products += deviations.T @ deviations
    sd = np.sqrt(np.diag(products))
    products /= sd[:, None]
    products /= sd
    return np.clip(products, -1, 1, out=products), varies


def _blocks(X: MatrixOrDask, rows: np.ndarray, columns: np.ndarray) -> Iterator[np.ndarray]:
    """Yield dense values of some cells and genes, a few cells at a time."""
    if is_dask(X):
        wanted = np.zeros(X.shape[0], dtype=bool)
        wanted[rows] = True
        parts: Iterator[Matrix] = (
            block[inside[part]]
            for _, (block, inside) in over_blocks(X, _with_wanted, wanted, wanted=wanted)
            for part in row_chunks(len(inside), _CELLS)
        )
    else:
        parts = (X[rows[part]] for part in row_chunks(len(rows), _CELLS))
    for block in parts:
        dense = block.toarray() if is_sparse(block) else block
        dense = np.ascontiguousarray(dense[:, columns], dtype=np.float64)
        if not np.isfinite(dense).all():
            msg = (
                "The matrix has NaN or infinite values in train cells, so genes cannot be correlated. Find them with "
                "np.isfinite, and drop or repair those cells or genes."
            )
            raise ValueError(msg)
        yield dense


def _with_wanted(block: Matrix, wanted: np.ndarray) -> tuple[Matrix, np.ndarray]:
    return block, np.flatnonzero(wanted)


def find_modules(
    correlation: np.ndarray, n_modules: int | None, *, least: int = 1, largest: float = np.inf
) -> np.ndarray:
    """Return the module number of each gene, (V,), from Ward's tree cut into ``n_modules`` branches.

    There are fewer modules if genes are tied.

    Parameters
    ----------
    correlation
        Pearson correlation, (V × V).
    n_modules
        Number of modules, at most V. If None, the smallest number that ``least`` and ``largest`` allow.
    least, largest
        Smallest number of modules, and largest number of genes in a module. Used only if ``n_modules`` is None.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    upper = squareform(correlation, checks=False)
    tree = linkage(np.sqrt(2 - 2 * np.round(upper, _DECIMALS)), method="ward")
    if n_modules is None:
        n_merged = np.searchsorted(np.maximum.accumulate(tree[:, 3]), largest, side="right")
        n_modules = max(least, len(correlation) - int(n_merged))
    return fcluster(tree, n_modules, criterion="maxclust") - 1


def assign_modules(sizes: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the partition number of each module, (M,), so that the partitions have their shares of the genes.

    The objective is the squared distance between the numbers of genes of the partitions and the wanted numbers. No
    partition is empty. Up to ``EXACT_LIMIT`` assignments, the result is the exact optimum, drawn among equal optima.
    Beyond, modules are drawn one after another into the partition with the most room. This start is then improved by
    moves and swaps until none helps.

    Parameters
    ----------
    sizes
        Number of genes of each module, (M,), with M ≥ P. The order must not depend on the order of the genes.
    shares
        Wanted share of each partition, (P,). The shares are positive and sum to 1.
    rng
        Generator of the draw.
    """
    if len(shares) ** len(sizes) <= EXACT_LIMIT:
        return _best_of_all(sizes, shares, rng)
    room = sizes.sum() * shares
    codes = np.empty(len(sizes), dtype=np.int64)
    order = rng.permutation(len(sizes))
    for step, module in enumerate(order):
        codes[module] = step if step < len(shares) else np.argmax(room)
        room[codes[module]] -= sizes[module]
    while _improve(codes, sizes, room, order):
        pass
    return codes


def _best_of_all(sizes: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    every = np.indices((len(shares),) * len(sizes)).reshape(len(sizes), -1).T
    members = [every == code for code in range(len(shares))]
    filled = np.all([member.any(axis=1) for member in members], axis=0)
    gaps = np.stack([member @ sizes for member in members], axis=1) - sizes.sum() * shares
    cost = np.where(filled, np.round((gaps**2).sum(axis=1), 6), np.inf)
    return every[rng.choice(np.flatnonzero(cost == cost.min()))]


def _improve(codes: np.ndarray, sizes: np.ndarray, room: np.ndarray, order: np.ndarray) -> bool:
    """Make the best move of one module, or the best swap of two modules, in place. Return whether one helped.

    Moving ``x`` genes from partition a to b changes the objective by 2x(x + room[a] − room[b]).
    """
    held = np.bincount(codes, minlength=len(room))
    best, change = -1e-9, None
    for module in order:
        a = codes[module]
        for b in range(len(room)):
            if b == a:
                continue
            there = order[codes[order] == b]
            x = np.append(sizes[module] - sizes[there], sizes[module] if held[a] > 1 else 0)  # swaps, then the move
            gain = 2 * x * (x + room[a] - room[b])
            at = int(np.argmin(gain))
            if gain[at] < best:
                best, change = float(gain[at]), (module, b, there[at] if at < len(there) else None, x[at])
    if change is None:
        return False
    module, b, other, genes = change
    a, codes[module] = codes[module], b
    if other is not None:
        codes[other] = a
    room[a] += genes
    room[b] -= genes
    return True


def draw_shares(n: int, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the partition number of each of ``n`` genes, (n,), with the rounded shares in a random order."""
    edges = np.round(np.cumsum(shares) * n)
    codes = np.empty(n, dtype=np.int64)
    codes[rng.permutation(n)] = np.searchsorted(edges, np.arange(n), side="right")
    return codes.clip(max=len(shares) - 1)
