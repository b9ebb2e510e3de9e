"""Load the screens in which the same perturbation is measured in several contexts, log-normalised, for benchmarks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad

if TYPE_CHECKING:
    import pandas as pd

DATA = Path(os.environ.get("HELDOUT_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
KEY, CONTEXT = "perturbation", "cell_type"

FEWEST_CELLS = 20
"""Contexts with fewer control or perturbed cells are left out."""


def kang() -> ad.AnnData:
    """Kang 2018: interferon beta, 2 donors × 5 cell types; 1,267 genes."""
    adata = ad.read_h5ad(DATA / "kang2018" / "kang2018_2donors_ctrl_stim.h5ad")
    adata.obs[CONTEXT] = [
        f"{donor} {cell}" for donor, cell in zip(adata.obs["donor"], adata.obs["cluster_id"], strict=True)
    ]
    return _ready(adata, adata.obs["group_id"], {"ctrl": "control", "stim": "stimulated"}, counts=True)


def kang_100_genes() -> ad.AnnData:
    """Kang 2018: interferon beta, 3 donors × 8 cell types; 100 genes."""
    adata = ad.read_h5ad(DATA / "kang2018" / "kang2018_3donors_ctrl_stim_lognorm_100genes.h5ad")
    donors = adata.obs["sample_id"].astype(str).str.split("_").str[1]
    adata.obs["donor"] = donors.to_numpy()
    adata.obs[CONTEXT] = [f"{donor} {cell}" for donor, cell in zip(donors, adata.obs["cell"], strict=True)]
    return _ready(adata, adata.obs["stim"], {"ctrl": "control", "stim": "stimulated"}, counts=False)


def zhao() -> ad.AnnData:
    """Zhao 2021: panobinostat in slices of glioblastomas of 5 patients; 300 genes."""
    adata = ad.read_h5ad(DATA / "zhao2021" / "zhao2021_5patients.h5ad")
    adata.obs[CONTEXT] = adata.obs["patient_id"].astype(str).to_numpy()
    return _ready(adata, adata.obs["condition"], {"ctrl": "control"}, counts=True)


def _ready(adata: ad.AnnData, condition: pd.Series, names: dict[str, str], *, counts: bool) -> ad.AnnData:
    """Name the controls, leave out contexts with few cells, and log-normalise counts."""
    import scanpy as sc

    adata.obs[KEY] = [names.get(name, name) for name in condition.astype(str)]
    n = adata.obs.groupby([CONTEXT, KEY], observed=True).size().unstack(fill_value=0).min(axis=1)
    adata = adata[adata.obs[CONTEXT].isin(n.index[n >= FEWEST_CELLS])].copy()
    if counts:
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
    return adata


SCREENS = {"kang": kang, "kang_100_genes": kang_100_genes, "zhao": zhao}
"""Loaders by name; each returns cells with the perturbation (``control``) and the context in obs."""
