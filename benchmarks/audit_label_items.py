"""Level and power of the audit items that use the label.

    python benchmarks/audit_label_items.py [--n 200] [--first 0] [--items label_selection] [--data onek1k kang simulated]

A random label is given to each donor. Each leak, and its honest twin, is made in each of n labellings. The label of the
real data means nothing, so each alarm on a twin is a false alarm. Printed are the alarms (fail or warn) for each item, leak
and data set, and the upper bound of Clopper and Pearson for the share of alarms on the twins (95 % confidence,
one-sided). --first is the first seed: seeds from 1000 were not used to develop the items. HELDOUT_DATA_DIR names the folder of the real data.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from scipy import sparse, stats
from sklearn.cluster import KMeans
from sklearn.feature_selection import f_classif
from sklearn.neighbors import NearestNeighbors

import heldout as ho

Plant = Callable[[ad.AnnData, bool, int], ad.AnnData]
PLANTS: list[tuple[str, str, Plant]] = []
"""Item, name of the leak, and a function that makes the leak (True) or its honest twin (False)."""
FILES = {"onek1k": ("onek1k/onek1k_40donors.h5ad", "indiv"), "kang": ("kang2018/kang2018_8donors.h5ad", "sample_id")}


def plant(item: str, name: str) -> Callable[[Plant], Plant]:
    """Register a leak."""

    def register(function: Plant) -> Plant:
        PLANTS.append((item, name, function))
        return function

    return register


@cache
def counts(data: str) -> ad.AnnData:
    """Counts with the donor in obs["donor"]."""
    if data == "simulated":
        adata = ho.datasets.lmna_simulated(n_cells=100, n_genes=400)
        adata.obs = pd.DataFrame({"donor": adata.obs["library"].astype(str).to_numpy()}, index=adata.obs_names)
    else:
        path, key = FILES[data]
        adata = ad.read_h5ad(Path(os.environ.get("HELDOUT_DATA_DIR", "../shared/data")) / path)
        adata.obs = pd.DataFrame({"donor": adata.obs[key].astype(str).to_numpy()}, index=adata.obs_names)
    adata.X = sparse.csr_matrix(adata.X, dtype=np.float32)
    return ad.AnnData(adata.X, obs=adata.obs, var=adata.var[[]])


def labelled(data: str, seed: int) -> ad.AnnData:
    """Give each donor a random label, and hold out 30 % of the donors (half of them for few donors)."""
    adata = counts(data).copy()
    donors = np.random.default_rng(seed).permutation(np.unique(adata.obs["donor"]))
    labels = {donor: ("patient", "control")[i % 2] for i, donor in enumerate(donors)}
    adata.obs["label"] = adata.obs["donor"].map(labels).to_numpy()
    ho.pp.split_groups(adata, "donor", "label", val=0, test=0.3 if len(donors) > 20 else 0.5, rng=seed)
    return adata


def lognormalised(adata: ad.AnnData) -> ad.AnnData:
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def fitted_on(adata: ad.AnnData, leak: bool) -> np.ndarray:
    return np.ones(adata.n_obs, bool) if leak else (adata.obs["split"] == "train").to_numpy()


def _marked(adata: ad.AnnData, score: np.ndarray, n: int) -> ad.AnnData:
    adata.var["chosen"] = np.nan_to_num(score) >= np.sort(np.nan_to_num(score))[-n]
    return adata


@plant("label_selection", "SelectKBest, 50 genes")
def _f(adata, leak, seed):
    lognormalised(adata)
    rows = fitted_on(adata, leak)
    return _marked(adata, f_classif(adata.X[rows], adata.obs["label"][rows])[0], 50)


@plant("label_selection", "SelectKBest on counts, 200 genes")
def _f_counts(adata, leak, seed):
    rows = fitted_on(adata, leak)
    score = f_classif(adata.X[rows], adata.obs["label"][rows])[0]
    return _marked(lognormalised(adata), score, 200)


@plant("label_selection", "pseudobulk of counts, 30 genes")
def _pseudobulk(adata, leak, seed):
    rows = fitted_on(adata, leak)
    donors, of_cell = np.unique(adata.obs["donor"][rows], return_inverse=True)
    member = sparse.csr_matrix((np.ones(len(of_cell)), (of_cell, np.arange(len(of_cell)))))
    sums = (member @ adata.X[rows]).toarray()
    profile = np.log1p(sums / sums.sum(axis=1, keepdims=True) * 1e6)
    patient = adata.obs.groupby("donor")["label"].first()[donors].to_numpy() == "patient"
    score = np.abs(stats.ttest_ind(profile[patient], profile[~patient]).statistic)
    return _marked(lognormalised(adata), score, 30)


@plant("label_selection", "lasso of cells")
def _lasso(adata, leak, seed):
    from sklearn.linear_model import SGDClassifier

    lognormalised(adata)
    rows = np.flatnonzero(fitted_on(adata, leak))
    model = SGDClassifier(loss="log_loss", penalty="l1", alpha=2e-3, max_iter=5, tol=None, random_state=seed)
    score = np.abs(model.fit(adata.X[rows], adata.obs["label"].iloc[rows]).coef_[0])
    return _marked(adata, score, min(60, max(6, int((score > 0).sum()))))


@plant("label_selection", "genes removed, others in raw")
def _raw(adata, leak, seed):
    _f(adata, leak, seed)
    adata.raw = adata
    return adata[:, adata.var.pop("chosen").to_numpy()].copy()


@plant("label_selection", "record of rank_genes_groups")
def _record(adata, leak, seed):
    lognormalised(adata)
    adata.obs["label"] = adata.obs["label"].astype("category")
    ranked = adata[fitted_on(adata, leak)].copy()
    sc.tl.rank_genes_groups(ranked, "label", method="t-test")
    adata.uns["rank_genes_groups"] = ranked.uns["rank_genes_groups"]
    return adata


@plant("label_selection", "variable genes of all cells (no leak of the label)")
def _variable(adata, leak, seed):
    lognormalised(adata)
    rows = fitted_on(adata, True)
    X = adata.X[rows].toarray()
    return _marked(adata, X.var(axis=0) / np.maximum(X.mean(axis=0), 0.01), 200)


def _means(X: np.ndarray, names: pd.Series) -> np.ndarray:
    return pd.DataFrame(X).groupby(names.to_numpy()).transform("mean").to_numpy()


@plant("unit_variation", "donors moved by 0.7 to the mean of their class; twin: counts")
def _by_class(adata, leak, seed):
    X = lognormalised(adata).X.toarray()
    if leak:
        adata.X = (X - 0.7 * (_means(X, adata.obs["donor"]) - _means(X, adata.obs["label"]))).astype(np.float32)
    return adata


@plant("unit_variation", "donors moved by 0.4 to the mean of their class; twin: train donors moved to their mean")
def _weakly(adata, leak, seed):
    X = lognormalised(adata).X.toarray()
    train = fitted_on(adata, leak=False)
    share, target = (0.4, _means(X, adata.obs["label"])) if leak else (0.9 * train[:, None], X[train].mean(axis=0))
    adata.X = (X - share * (_means(X, adata.obs["donor"]) - target)).astype(np.float32)
    return adata


@plant("unit_variation", "donors moved by 0.8 to the mean of each of 10 clusters, without the label; twin: components")
def _by_cluster(adata, leak, seed):
    Z = sc.pp.pca(lognormalised(adata).X.toarray(), n_comps=30)
    cluster = pd.Series(KMeans(10, n_init=1, random_state=seed).fit_predict(Z).astype(str))
    both = cluster + " " + adata.obs["donor"].to_numpy()
    adata.obsm["X_corrected"] = Z - 0.8 * (_means(Z, both) - _means(Z, cluster)) * leak
    return adata


@plant("unit_variation", "components with donors moved to their class; twin: components")
def _components(adata, leak, seed):
    Z = sc.pp.pca(lognormalised(adata).X.toarray(), n_comps=15)
    adata.obsm["X_corrected"] = Z - 0.8 * (_means(Z, adata.obs["donor"]) - _means(Z, adata.obs["label"])) * leak
    return adata


@plant("disguised_label", "dates; twin: 3 random numbers, 3 random categories, 10 components")
def _dates(adata, leak, seed):
    rng = np.random.default_rng(seed)
    donors = np.unique(adata.obs["donor"])
    for j in range(3):
        for kind, values in (("number", rng.normal(size=len(donors))), ("category", rng.integers(3, size=len(donors)))):
            adata.obs[f"{kind}{j}"] = adata.obs["donor"].map(dict(zip(donors, values, strict=True))).to_numpy()
    if leak:
        day = pd.factorize(adata.obs["donor"], sort=True)[0] % 28 + 1
        month = np.where(adata.obs["label"] == "patient", 3, 1)
        adata.obs["date"] = [f"2020-{m:02d}-{d:02d}" for m, d in zip(month, day, strict=True)]
    adata.obsm["X_pca"] = sc.pp.pca(lognormalised(adata).X.toarray(), n_comps=10)
    return adata


@plant("disguised_label", "share of patients among 15 neighbours of all cells; twin: of train cells")
def _share(adata, leak, seed):
    Z = sc.pp.pca(lognormalised(adata).X.toarray(), n_comps=20)
    rows = np.flatnonzero(fitted_on(adata, leak))
    nearest = NearestNeighbors(n_neighbors=16).fit(Z[rows]).kneighbors(Z, return_distance=False)[:, 1:]
    adata.obs["score"] = (adata.obs["label"] == "patient").to_numpy()[rows[nearest]].mean(axis=1)
    return adata


def alarm(adata: ad.AnnData, item: str) -> str:
    """The most serious status of an item."""
    table = ho.tl.audit(adata, group_key="donor", label_key="label", items=[item])
    found = set(table.loc[table["item"] == item, "status"].astype(str))
    return next(status for status in ("fail", "warn", "unidentifiable", "pass", "not run") if status in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--items", nargs="+", default=sorted({item for item, _, _ in PLANTS}))
    parser.add_argument("--data", nargs="+", default=["onek1k", "kang", "simulated"])
    arguments = parser.parse_args()
    n, seeds = arguments.n, range(arguments.first, arguments.first + arguments.n)
    print("| item | leak | data | leak found | alarms on the twin | at most |\n|---|---|---|---|---|---|", flush=True)
    for item, name, function in PLANTS:
        if item not in arguments.items:
            continue
        for data in arguments.data:
            found = {
                leak: [alarm(function(labelled(data, seed), leak, seed), item) for seed in seeds]
                for leak in (True, False)
            }
            alarms, false = (sum(status in {"fail", "warn"} for status in found[leak]) for leak in (True, False))
            bound = 1.0 if false == n else stats.beta.ppf(0.95, false + 1, n - false)
            print(f"| {item} | {name} | {data} | {alarms} of {n} | {false} of {n} | {bound:.1%} |", flush=True)


if __name__ == "__main__":
    main()
