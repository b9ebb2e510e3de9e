"""A small evaluated study of each task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import scanpy as sc

import heldout as ho
from tests.helpers.perturbations import combinations

if TYPE_CHECKING:
    from collections.abc import Callable

FEW = {"n_bootstrap": 50}


def donors(effect: float = 1.0) -> ad.AnnData:
    """Forty donors of twelve cells; half of them are sick."""
    rng = np.random.default_rng(0)
    donor = np.repeat(np.arange(40), 12)
    sick = (donor % 2).astype(bool)
    X = rng.normal(5, 1, size=(480, 20)).astype(np.float32).clip(0.1)
    X[sick, :3] += effect
    adata = ad.AnnData(X)
    adata.obs["donor"] = [f"D{number:02d}" for number in donor]
    adata.obs["status"] = np.where(sick, "sick", "healthy")
    adata.obs["total_counts"] = X.sum(axis=1)
    ho.pp.split_groups(adata, "donor", "status", val=0.2, test=0.5)
    ho.tl.genotype(adata, "status", method="pseudobulk_logistic")
    return adata


def screen() -> ad.AnnData:
    adata = combinations(n_genes=60)
    ho.tl.perturbation(adata, method="additive")
    return adata


def course() -> ad.AnnData:
    adata = ho.datasets.branching_simulated(n_cells=40, n_genes=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.split_time(adata, "time", test=96)
    ho.tl.forecast(adata, "time", method="damped_shift")
    return adata


def genes() -> ad.AnnData:
    adata = course()
    ho.pp.split_genes(adata)
    ho.tl.forecast_genes(adata, "time", method="ridge")
    return adata


EVALUATED: dict[str, tuple[Callable[[], ad.AnnData], list[str], str]] = {
    "genotype": (donors, ["majority", "qc_logistic"], "Which status does a new donor have?"),
    "perturbation": (screen, ["no_change", "mean"], "What do held-out perturbations change?"),
    "forecast": (course, ["persistence", "pooled_past"], "What do the cells look like at held-out times?"),
    "forecast_genes": (genes, ["persistence", "mean"], "How do held-out genes change until the target time?"),
}
