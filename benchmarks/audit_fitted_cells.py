"""Level and power of the audit item `provenance` for fits without a record.

    python benchmarks/audit_fitted_cells.py [--n 50] [--first 1000] [--leaks ranges] [--data onek1k kang simulated]

Each leak is a fit on all cells. Its honest twin is the same fit on the train cells, applied to all cells. Each seed
draws half of the cells, 500 genes and the test donors. Printed is the share of seeds in which the values of the leak
and of the twin are named as fitted on test cells (fail), the share of twins that pass, and the share of seeds in which
anything at all fails or warns. HELDOUT_DATA_DIR names the folder of the real data.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import anndata as ad
import numpy as np
from audit_label_items import fitted_on, labelled, lognormalised

import heldout as ho

Plant = Callable[[ad.AnnData, np.ndarray, int], None]
PLANTS: list[tuple[str, str, Plant]] = []
"""Kind of leak, name of the leak, and a function that fits on a mask of cells and applies the fit to all cells."""


def plant(kind: str, name: str) -> Callable[[Plant], Plant]:
    """Register a leak."""

    def register(function: Plant) -> Plant:
        PLANTS.append((kind, name, function))
        return function

    return register


def drawn(data: str, seed: int) -> ad.AnnData:
    """Log-normalised values of half of the cells and of 500 genes, with a random label and test set."""
    adata = lognormalised(labelled(data, seed))
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(adata.n_obs)[: adata.n_obs // 2])
    expressed = np.flatnonzero(adata.X[rows].getnnz(axis=0) > 20)
    adata = adata[rows, np.sort(rng.permutation(expressed)[:500])].copy()
    adata.X = adata.X.toarray()
    return adata


def _scaler(adata, rows, scaler):
    adata.X = scaler.fit(adata.X[rows]).transform(adata.X).astype(np.float32)


@plant("ranges", "min–max scaling")
def _minmax(adata, rows, seed):
    from sklearn.preprocessing import MinMaxScaler

    _scaler(adata, rows, MinMaxScaler())


@plant("ranges", "min–max scaling, then clipped")
def _minmax_clipped(adata, rows, seed):
    from sklearn.preprocessing import MinMaxScaler

    _scaler(adata, rows, MinMaxScaler(clip=True))


@plant("ranges", "genes centred, then max–abs scaling")
def _maxabs(adata, rows, seed):
    from sklearn.preprocessing import MaxAbsScaler

    adata.X = adata.X - adata.X[rows].mean(axis=0)
    _scaler(adata, rows, MaxAbsScaler())


@plant("ranges", "robust scaling")
def _robust(adata, rows, seed):
    from sklearn.preprocessing import RobustScaler

    _scaler(adata, rows, RobustScaler())


def _kmeans(adata, rows, seed, n, Z):
    from sklearn.cluster import KMeans

    labels = KMeans(n, n_init=1, random_state=seed).fit(Z[rows]).predict(Z)
    adata.obs["population"] = [f"p{label}" for label in labels]


@plant("clusters", "12 clusters of k-means in X")
def _clusters(adata, rows, seed):
    _kmeans(adata, rows, seed, 12, adata.X)


@plant("clusters", "5 clusters of k-means on 10 of 30 components of the train cells")
def _clusters_of_components(adata, rows, seed):
    from sklearn.decomposition import PCA

    model = PCA(30, random_state=0).fit(adata.X[fitted_on(adata, leak=False)])
    adata.obsm["X_pca"] = model.transform(adata.X)
    _kmeans(adata, rows, seed, 5, adata.obsm["X_pca"][:, :10])


def _embedded(adata, rows, model):
    adata.obsm["X_factors"] = model.fit(adata.X[rows]).transform(adata.X)


@plant("factors", "NMF, 15 factors, 60 iterations")
def _nmf_early(adata, rows, seed):
    from sklearn.decomposition import NMF

    _embedded(adata, rows, NMF(15, init="nndsvda", max_iter=60, random_state=seed))


@plant("factors", "NMF, 5 factors, 200 iterations")
def _nmf(adata, rows, seed):
    from sklearn.decomposition import NMF

    _embedded(adata, rows, NMF(5, init="nndsvda", max_iter=200, random_state=seed))


@plant("factors", "truncated SVD, 10 components")
def _svd(adata, rows, seed):
    from sklearn.decomposition import TruncatedSVD

    _embedded(adata, rows, TruncatedSVD(10, random_state=seed))


def _dropped(adata, rows, seed, share):
    from sklearn.decomposition import PCA

    adata.obsm["X_pca"] = PCA(30, random_state=0).fit(adata.X[rows]).transform(adata.X)
    adata._inplace_subset_obs(np.random.default_rng(seed).random(adata.n_obs) >= share)


@plant("dropped", "30 components, then 5 % of the cells dropped")
def _few_dropped(adata, rows, seed):
    _dropped(adata, rows, seed, 0.05)


@plant("dropped", "30 components, then half of the cells dropped")
def _half_dropped(adata, rows, seed):
    _dropped(adata, rows, seed, 0.5)


@plant("none", "two random columns, depth in 5 bins, and types by a classifier")
def _columns(adata, rows, seed):
    from sklearn.cluster import KMeans
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    adata.obs["random"] = rng.integers(5, size=adata.n_obs)
    depth = adata.X.sum(axis=1)
    adata.obs["depth"] = np.searchsorted(np.quantile(depth, [0.2, 0.4, 0.6, 0.8]), depth)
    train = np.flatnonzero(fitted_on(adata, leak=False))
    types = KMeans(6, n_init=1, random_state=seed).fit_predict(adata.X[train])
    adata.obs["type"] = LogisticRegression(max_iter=200).fit(adata.X[train], types).predict(adata.X)


@plant("none", "log-normalised values")
def _nothing(adata, rows, seed):
    pass


def statuses(adata: ad.AnnData) -> list[str]:
    table = ho.tl.audit(adata, group_key="donor", label_key="label", items=["provenance"])
    return list(table.loc[table["item"] == "provenance", "status"].astype(str))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=50)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--leaks", nargs="+", default=sorted({kind for kind, _, _ in PLANTS}))
    parser.add_argument("--data", nargs="+", default=["onek1k", "kang", "simulated"])
    arguments = parser.parse_args()
    for kind, name, function in PLANTS:
        if kind not in arguments.leaks:
            continue
        for data in arguments.data:
            found: dict[bool, list[list[str]]] = {True: [], False: []}
            for seed in range(arguments.first, arguments.first + arguments.n):
                for leak in (True, False):
                    adata = drawn(data, seed)
                    function(adata, fitted_on(adata, leak), seed)
                    found[leak].append(statuses(adata))
            failed, alarms = (
                [np.mean([bool({"fail", *more} & set(s)) for s in found[leak]]) for leak in (True, False)]
                for more in ((), ("warn",))
            )
            passed = np.mean(["pass" in s for s in found[False]])
            print(
                f"{kind}\t{name}\t{data}\tleak fails {failed[0]:.1%}\ttwin fails {failed[1]:.1%}, warns or fails "
                f"{alarms[1]:.1%}, passes {passed:.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
