"""How a random split of cells makes a meaningless label look predictable.

Each donor gets a random label, so nothing can be predicted. A random split of cells still predicts it, because test
cells and train cells come from the same donors. A split by donor does not.

    python tutorials/donor_leak.py onek1k
    python tutorials/donor_leak.py kang
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc

import heldout as ho

DATA = {
    "onek1k": ("onek1k/onek1k_40donors.h5ad", "indiv"),
    "kang": ("kang2018/kang2018_8donors.h5ad", "sample_id"),
}
N_FOLDS = 5
METHODS = {"logistic regression": "logistic", "Model A (MLP)": "mlp"}


def data_dir() -> Path:
    """Return the folder with the real data, from HELDOUT_DATA_DIR."""
    return Path(os.environ.get("HELDOUT_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))


def load(name: str) -> tuple[ad.AnnData, str]:
    """Return raw counts of a public data set, and the name of its donor column."""
    path, donor_key = DATA[name]
    adata = ad.read_h5ad(data_dir() / path)
    adata.obs[donor_key] = adata.obs[donor_key].astype(str).astype("category")
    return adata, donor_key


def label_donors(adata: ad.AnnData, donor_key: str, seed: int) -> None:
    """Label a random half of the donors A, and the others B."""
    donors = np.sort(adata.obs[donor_key].unique())
    drawn = np.random.default_rng(seed).permutation(np.arange(len(donors)) % 2)
    label = dict(zip(donors, np.where(drawn, "A", "B"), strict=True))
    adata.obs["random_label"] = adata.obs[donor_key].astype(str).map(label).astype("category")


def make_folds(adata: ad.AnnData, donor_key: str, scheme: str, seed: int) -> None:
    """Write five folds to obs["fold"]: of random cells, or of donors, with both labels in each fold if possible."""
    rng = np.random.default_rng(seed)
    if scheme == "cells":
        adata.obs["fold"] = rng.permutation(np.arange(adata.n_obs) % N_FOLDS)
        return
    donors = adata.obs[[donor_key, "random_label"]].astype(str).drop_duplicates()
    shuffled = (
        donors.sort_values(donor_key).sample(frac=1, random_state=seed).sort_values("random_label", kind="stable")
    )
    fold = dict(zip(shuffled[donor_key], np.arange(len(shuffled)) % N_FOLDS, strict=True))
    adata.obs["fold"] = adata.obs[donor_key].astype(str).map(fold).to_numpy(dtype=int)


def cross_validate(raw: ad.AnnData, donor_key: str, *, scheme: str, method: str, seed: int) -> dict[str, float]:
    """Compute the AUC of the pooled predictions for held-out folds, by donor and by cell."""
    raw = raw.copy()
    label_donors(raw, donor_key, seed)
    make_folds(raw, donor_key, scheme, seed)
    log_probability = np.empty((raw.n_obs, 2))
    for fold in range(N_FOLDS):
        # Model A needs a validation fold for early stopping. A closed form does not.
        val = [(fold + 1) % N_FOLDS] if method == "mlp" else []
        train = [k for k in range(N_FOLDS) if k != fold and k not in val]
        adata = raw.copy()
        ho.pp.split_assigned(adata, "fold", train=train, val=val, test=[fold])
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
        ho.pp.highly_variable_genes(adata, n_top_genes=800)
        ho.pp.scale(adata, max_value=10)
        ho.tl.genotype(adata, "random_label", method=method, rng=seed)
        test = (adata.obs["split"] == "test").to_numpy()
        log_probability[test] = adata.obsm["genotype_log_probability"][test]
    labels = (raw.obs["random_label"] == "B").to_numpy().astype(int)
    _, first, donors = np.unique(raw.obs[donor_key].astype(str), return_index=True, return_inverse=True)
    by_donor = ho.metrics.group_log_probability(log_probability, donors)
    return {
        "donor": ho.metrics.roc_auc(labels[first], by_donor),
        "cell": ho.metrics.roc_auc(labels, log_probability),
    }


def study(name: str, *, repeats: int, methods: dict[str, str] = METHODS) -> pd.DataFrame:
    """Compute the AUC of five-fold cross-validation for each split, method and random labelling."""
    adata, donor_key = load(name)
    return pd.DataFrame(
        {
            "folds of": scheme,
            "method": shown,
            "labelling": seed,
            **cross_validate(adata, donor_key, scheme=scheme, method=method, seed=seed),
        }
        for scheme in ("cells", "donors")
        for shown, method in methods.items()
        for seed in range(repeats)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=sorted(DATA))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    result = study(arguments.data, repeats=arguments.repeats)
    summary = result.groupby(["folds of", "method"])[["donor", "cell"]].agg(["mean", "min", "max"]).round(2)
    print(
        f"{arguments.data}: AUC of a random label of donors, {arguments.repeats} labellings, "
        f"{N_FOLDS}-fold cross-validation"
    )
    print(summary.to_string())
