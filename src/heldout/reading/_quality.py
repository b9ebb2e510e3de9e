"""Decide which cells of a library are kept, and why the others are dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse

REASONS = ("few_genes", "many_genes", "high_mito", "not_drawn")
"""Reasons to drop a cell. A cell with several reasons counts for the first reason."""


@dataclass(frozen=True)
class Limits:
    """Limits of a kept cell. None sets no limit. ``max_pct_mito`` is a percentage."""

    min_genes: int | None
    max_genes: int | None
    max_pct_mito: float | None

    def check(self) -> None:
        """Refuse limits that no cell can meet."""
        for name, value, low, high in (
            ("min_genes", self.min_genes, 0, np.inf),
            ("max_genes", self.max_genes, 1, np.inf),
            ("max_pct_mito", self.max_pct_mito, 0, 100),
        ):
            if value is not None and (isinstance(value, bool) or not low <= value <= high):
                allowed = f">= {low}" if high == np.inf else f"in [{low}, {high}]"
                msg = f"{name}={value!r} must be a number {allowed}, or None for no limit."
                raise ValueError(msg)
        if self.min_genes is not None and self.max_genes is not None and self.min_genes > self.max_genes:
            msg = (
                f"min_genes={self.min_genes} is above max_genes={self.max_genes}, so no cell can be kept. Lower "
                "min_genes or raise max_genes."
            )
            raise ValueError(msg)


@dataclass(frozen=True)
class Quality:
    """Quality of each cell, (n,) each.

    ``n_genes`` is the number of detected genes, ``total`` the sum of counts, and ``pct_mito`` the percentage of counts
    in mitochondrial genes. ``reason`` is the number of the reason to drop the cell, -1 for a kept cell.
    """

    n_genes: np.ndarray
    total: np.ndarray
    pct_mito: np.ndarray
    reason: np.ndarray

    def take(self, rows: np.ndarray) -> Quality:
        """Return these cells."""
        return Quality(self.n_genes[rows], self.total[rows], self.pct_mito[rows], self.reason[rows])


def assess(X: sparse.csr_matrix, counted: np.ndarray, mito: np.ndarray, limits: Limits) -> Quality:
    """Assess each cell by the genes ``counted`` (g,) bool, of which ``mito`` (g,) bool are mitochondrial."""
    from heldout._core.compiled import count_genes

    n_genes, total, total_mito = count_genes(X.data, X.indices, X.indptr, counted, mito & counted)
    pct = 100 * total_mito / np.maximum(total, 1)
    reason = np.full(X.shape[0], -1, dtype=np.int8)
    for number, out in reversed(
        [
            (0, None if limits.min_genes is None else n_genes < limits.min_genes),
            (1, None if limits.max_genes is None else n_genes > limits.max_genes),
            (2, None if limits.max_pct_mito is None else pct > limits.max_pct_mito),
        ]
    ):
        if out is not None:
            reason[out] = number
    return Quality(n_genes, total.astype(np.float32), pct.astype(np.float32), reason)
