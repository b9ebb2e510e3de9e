"""Donors with a known signal: in the mean, in one cell type, in the composition, or in the variance of cells."""

from __future__ import annotations

from typing import Literal, get_args

import anndata as ad
import numpy as np

Signal = Literal["none", "mean", "one type", "composition", "variance"]
SIGNALS: tuple[Signal, ...] = get_args(Signal)
TYPES = ("A", "B", "C", "D")
SHARES = np.array([0.35, 0.3, 0.25, 0.1])
_N_HIT = 10
"""Number of genes that differ between the classes."""


def donors(
    signal: Signal, seed: int, *, n_donors: int = 60, n_cells: int = 60, n_genes: int = 60, size: float = 1.0
) -> ad.AnnData:
    """Log-expression of the cells of donors, half of them patients, with ``label``, ``donor`` and ``cell_type``.

    Cell types, donors and cells differ in every gene. Donors differ in their composition and have from a third to
    twice as many cells as ``n_cells``.

    Parameters
    ----------
    signal
        How patients differ. ``mean``: ten genes in all cells. ``one type``: ten genes in cells of type D, which is
        a tenth of the cells. ``composition``: more cells of A and B and fewer of C, with C halfway between A and B, so
        that the mean stays the same. ``variance``: cells of patients vary along a direction of ten genes, with the
        same mean.
    seed
        Seed of all random numbers.
    size
        Factor of the signal.
    """
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(n_donors) % 2)
    n = rng.integers(n_cells // 3, 2 * n_cells, n_donors)
    types = rng.normal(scale=0.7, size=(len(TYPES), n_genes))
    if signal == "composition":
        types[2] = (types[0] + types[1]) / 2
    donor = np.repeat(np.arange(n_donors), n)
    shares = np.stack([_shares(rng, signal, sick, size) for sick in label])
    of_cell = np.concatenate([rng.choice(len(TYPES), k, p=p) for k, p in zip(n, shares, strict=True)])
    X = types[of_cell] + rng.normal(scale=0.3, size=(n_donors, n_genes))[donor]
    X += rng.normal(size=X.shape)
    sick, hit = label[donor] == 1, rng.permutation(n_genes)[:_N_HIT]
    change = size * rng.choice([-1.0, 1.0], _N_HIT)
    if signal == "mean":
        X[np.ix_(sick, hit)] += 0.25 * change
    if signal == "one type":
        X[np.ix_(sick & (of_cell == 3), hit)] += change
    if signal == "variance":
        activity = rng.normal(size=sick.sum())
        X[np.ix_(sick, hit)] += activity[:, None] * change
    adata = ad.AnnData(X.astype(np.float32))
    adata.obs["donor"] = [f"D{number:03d}" for number in donor]
    adata.obs["label"] = np.where(sick, "patient", "control")
    adata.obs["cell_type"] = np.array(TYPES)[of_cell]
    return adata


def _shares(rng: np.random.Generator, signal: Signal, sick: int, size: float) -> np.ndarray:
    """Composition of a donor: Dirichlet around the usual shares, less of C in patients if this is the signal."""
    usual = SHARES
    if signal == "composition" and sick:
        moved = min(0.18 * size, 0.24)
        usual = SHARES + np.array([moved / 2, moved / 2, -moved, 0.0])
    return np.asarray(rng.dirichlet(usual * 60))
