"""AnnData for the tests of the audit: a table of groups, with a few cells each."""

from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

import heldout as ho

MIXED = {
    "train": [f"GSM83250{n}" for n in (46, 47, 48, 50, 51, 53, 55, 57)],
    "val": ["GSM8325049", "GSM8325054"],
    "test": ["GSM8325052", "GSM8325056"],
}
"""The published split of the LMNA study that mixes days."""


def design(n_cells: int = 4, n_genes: int = 30, seed: int = 0, **columns: Any) -> ad.AnnData:
    """One group a row of ``columns`` (``split`` among them or not), counts without any structure."""
    table = pd.DataFrame(columns)
    table.insert(0, "library", [f"L{i:02d}" for i in range(len(table))])
    obs = table.loc[table.index.repeat(n_cells)].reset_index(drop=True)
    obs.index = [f"cell{i}" for i in range(len(obs))]
    X = np.random.default_rng(seed).poisson(1.0, (len(obs), n_genes)).astype(np.float32)
    return ad.AnnData(X, obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(n_genes)]))


def assigned(adata: ad.AnnData, partitions: list[str], **options: Any) -> ad.AnnData:
    """Give the libraries, in their order, to these partitions."""
    names = sorted(adata.obs["library"].unique())
    lists = {p: [n for n, q in zip(names, partitions, strict=True) if q == p] for p in ("train", "val", "test")}
    ho.pp.split_assigned(adata, "library", **lists, **options)
    return adata


def row(table: pd.DataFrame, item: str, subject: str | None = None) -> pd.Series:
    """The one row of an item, and subject if given."""
    rows = table[table["item"] == item]
    if subject is not None:
        rows = rows[rows["subject"] == subject]
    assert len(rows) == 1, rows[["item", "subject", "status"]]
    return rows.iloc[0]
