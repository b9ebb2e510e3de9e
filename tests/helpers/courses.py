"""A simulated time course of genes that follow a rule, and quick options, for the tests of gene forecasts."""

from __future__ import annotations

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd

import heldout as ho
from heldout.tasks.forecast_genes import METHODS

CLOSED = (
    "persistence",
    "mean",
    "linear",
    "ridge",
    "low_rank",
    "gaussian_process",
    "multi_kernel",
    "coexpression",
    "stacked",
)
NETWORKS = ("lstm", "feedforward", "lstm_published", "feedforward_published")
QUICK = {
    name: replace(METHODS[name].load().default_config, max_epochs=3, n_hidden=(8, 4), batch_size=64)
    for name in NETWORKS
}


def course(n_cells: int = 30, n_genes: int = 40, rng: int = 0) -> ad.AnnData:
    """A time course in which a gene's level at time 8 follows from its last step: change = 0.7 × step + 0.3."""
    draw = np.random.default_rng(rng)
    past = draw.normal(2, 0.7, size=(n_genes, 4)).cumsum(axis=1)
    levels = np.column_stack([past, past[:, 3] + 0.7 * (past[:, 3] - past[:, 2]) + 0.3])
    times = np.array([0.0, 1.0, 2.0, 4.0, 8.0])
    X = np.concatenate([draw.normal(level, 0.2, size=(n_cells, n_genes)) for level in levels.T])
    obs = pd.DataFrame({"hour": np.repeat(times, n_cells), "library": draw.permutation(np.arange(5 * n_cells) % 3)})
    obs.index = [f"cell{i}" for i in range(len(obs))]
    obs["library"] = [f"lib{i}" for i in obs["library"]]
    adata = ad.AnnData(X, obs=obs, var=pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)]))
    ho.pp.split_genes(adata, test=0.25, val=0.15)
    return adata


def options(method: str) -> dict:
    return {"method": method, "config": QUICK.get(method), "n_replicates": 4}
