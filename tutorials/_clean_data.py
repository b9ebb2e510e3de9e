"""Clean data in which leaks are planted, and their clean split."""

from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

import heldout as ho

N_DONORS, N_DAYS = 24, 4


def simulate(seed: int, *, n_cells: int = 40, n_genes: int = 400) -> ad.AnnData:
    """Simulate 24 donors with two libraries each, on four days with both labels.

    Library, donor, day and label change the expression.
    """
    rng = np.random.default_rng(seed)
    donors = pd.DataFrame({"donor": [f"D{i:02d}" for i in range(N_DONORS)], "day": np.arange(N_DONORS) % N_DAYS})
    donors["label"] = np.where(np.arange(N_DONORS) // N_DAYS % 2, "patient", "control")
    donors["sex"] = rng.permutation(np.repeat(["f", "m"], N_DONORS // 2))
    base = rng.normal(0, 1, n_genes)
    effect = {
        "day": rng.normal(0, 0.5, (N_DAYS, n_genes)),
        "label": rng.normal(0, 0.3, n_genes) * (rng.random(n_genes) < 0.1),
    }
    states = rng.normal(0, 0.4, (3, n_genes))
    blocks, rows = [], []
    for donor in donors.itertuples():
        of_donor = rng.normal(0, 0.2, n_genes)
        for lane in range(2):
            log = (
                base
                + effect["day"][donor.day]
                + effect["label"] * (donor.label == "patient")
                + of_donor
                + rng.normal(0, 0.15, n_genes)
            )
            log = log + states[rng.integers(3, size=n_cells)]
            share = np.exp(log) / np.exp(log).sum(axis=1, keepdims=True)
            depth = rng.lognormal(np.log(3 * n_genes) + rng.normal(0, 0.2), 0.3, n_cells)
            mean = share * depth[:, None]
            blocks.append(rng.poisson(mean * rng.gamma(5, 1 / 5, mean.shape)))
            rows += [{"library": f"{donor.donor}-{lane}", **donor._asdict()}] * n_cells
    obs = pd.DataFrame(rows).drop(columns="Index")
    obs.index = [f"cell{i}" for i in range(len(obs))]
    var = pd.DataFrame(index=[f"G{i}" for i in range(n_genes)])
    return ad.AnnData(sparse.csr_matrix(np.concatenate(blocks).astype(np.float32)), obs=obs, var=var)


def onek1k(seed: int) -> ad.AnnData:
    """Load 40 donors with a random label and a random day, balanced over each other.

    Each donor has two random libraries.
    """
    folder = Path(os.environ.get("HELDOUT_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
    adata = ad.read_h5ad(folder / "onek1k" / "onek1k_40donors.h5ad")
    rng = np.random.default_rng(seed)
    donors = rng.permutation(np.sort(adata.obs["indiv"].astype(str).unique()))
    number = adata.obs["indiv"].astype(str).map({name: i for i, name in enumerate(donors)}).to_numpy()
    half = rng.integers(2, size=adata.n_obs).astype(str)
    donor = adata.obs["indiv"].astype(str).to_numpy()
    adata.obs = pd.DataFrame(
        {
            "library": [f"{d}-{h}" for d, h in zip(donor, half, strict=True)],
            "donor": donor,
            "day": number % N_DAYS,
            "label": np.where(number // N_DAYS % 2, "patient", "control"),
            "sex": adata.obs["sex"].astype(str).to_numpy(),
        },
        index=adata.obs_names,
    )
    return adata


def hold_out(adata: ad.AnnData) -> ad.AnnData:
    """Make the clean split: all donors of day 3 are test, and those of day 2 are val."""
    ho.pp.split_matched(adata, ["library", "donor"], "day", label_key="label", test=3, val=2)
    return adata
