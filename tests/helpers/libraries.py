"""Simulated libraries for the tests of the audit, clean unless asked otherwise."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

import heldout as ho


def libraries(
    seed: int,
    *,
    n_libraries: int = 16,
    n_days: int = 2,
    n_cells: int = 40,
    n_genes: int = 100,
    fingerprint: float = 0.3,
    effect: float = 0.0,
    depth_by_label: float = 0.0,
) -> AnnData:
    """Negative binomial counts of libraries of two labels, balanced in days; obs: library, label, day.

    ``fingerprint`` is the sd of the log shift of each library, ``effect`` that of the label, ``depth_by_label`` the
    difference of log depth between labels.
    """
    rng = np.random.default_rng(seed)
    label = np.arange(n_libraries) % 2
    day = np.arange(n_libraries) // 2 % n_days
    base = rng.normal(0, 1, n_genes)
    mean = (
        base + 0.5 * rng.normal(0, 1, (n_days, n_genes))[day] + fingerprint * rng.normal(0, 1, (n_libraries, n_genes))
    )
    mean = mean + effect * np.outer(label, rng.normal(0, 1, n_genes))
    depth = np.log(3 * n_genes) + rng.normal(0, 0.3, n_libraries) + depth_by_label * label
    of_cell = np.repeat(np.arange(n_libraries), n_cells)
    share = np.exp(mean) / np.exp(mean).sum(axis=1, keepdims=True)
    rate = share[of_cell] * np.exp(depth[of_cell] + rng.normal(0, 0.3, len(of_cell)))[:, None]
    counts = rng.poisson(rate * rng.gamma(3, 1 / 3, rate.shape))
    number = rng.permutation(n_libraries)[of_cell]  # names do not tell the label
    obs = pd.DataFrame(
        {
            "library": [f"L{i:03d}" for i in number],
            "label": np.array(["case", "control"])[label[of_cell]],
            "day": day[of_cell],
        },
        index=[f"c{i}" for i in range(len(of_cell))],
    )
    genes = [*(f"G{i}" for i in range(n_genes - 5)), *(f"MT-{i}" for i in range(5))]
    return AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=obs, var=pd.DataFrame(index=genes))


def by_library(adata: AnnData, *, test: float = 0.5, rng: int = 0) -> AnnData:
    """Split by library, labels balanced."""
    ho.pp.split_groups(adata, "library", label_key="label", test=test, val=0, rng=rng)
    return adata


def by_cell(adata: AnnData, *, rng: int = 0) -> AnnData:
    """Put a third of the cells of each library in test: a leak."""
    rows = np.random.default_rng(rng).permutation(adata.n_obs)
    split = np.full(adata.n_obs, "train", dtype=object)
    split[rows[: adata.n_obs // 3]] = "test"
    adata.obs["split"] = pd.Categorical(split, categories=["train", "val", "test", "unused"])
    return adata


def said(adata: AnnData, item: str, *, group_key: str = "library", label_key: str | None = "label", **options):
    """Rows of one item."""
    table = ho.tl.audit(adata, group_key, label_key, items=[item], **options)
    return table[table["item"] == item].reset_index(drop=True)
