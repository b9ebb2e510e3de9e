"""The leaks that are planted: what each is, the item of the audit that must name it, and the code that plants it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from _clean_data import hold_out
from scipy import sparse
from sklearn.feature_selection import f_classif
from sklearn.linear_model import LogisticRegression

import heldout as ho

Plant = Callable[[ad.AnnData], dict[str, Any]]

LEAKS: list[tuple[str, str, Plant]] = []
"""Name of each leak, the item that must name it, and a function that plants it and returns options of the audit."""


def leak(what: str, item: str) -> Callable[[Plant], Plant]:
    """Register a function that plants a leak."""

    def register(plant: Plant) -> Plant:
        LEAKS.append((what, item, plant))
        return plant

    return register


def rows_of(adata: ad.AnnData, partition: str) -> np.ndarray:
    return np.flatnonzero(adata.obs["split"] == partition)


def replace_cells(adata: ad.AnnData, at: np.ndarray, X: Any) -> None:
    """Replace the counts of these rows. Names and columns stay."""
    dense = sparse.lil_matrix(adata.X)
    dense[at] = X
    adata.X = sparse.csr_matrix(dense)


@leak("cells split at random", "group_overlap")
def _cells(adata):
    ho.pp.split_cells(adata, test=0.25, val=0)
    return {"group_key": "library", "label_key": "label"}


@leak("two libraries of a donor in train and test", "group_overlap")
def _undeclared_donor(adata):
    side = np.where(adata.obs["library"].str.endswith("0"), "train", "test")
    adata.obs["side"] = side
    ho.pp.split_assigned(adata, "side", train=["train"], test=["test"])
    return {"group_key": "library", "label_key": "label"}


@leak("train and test libraries on one lane", "group_overlap")
def _lane(adata):
    libraries = np.sort(adata.obs["library"].unique())
    adata.obs["flowcell_lane"] = adata.obs["library"].map({name: f"lane{i % 5}" for i, name in enumerate(libraries)})
    return {}


@leak("a donor of test in train with another spelling", "aliases")
def _spelling(adata):
    name = adata.obs["donor"].iloc[rows_of(adata, "test")[0]]
    donor = adata.obs["donor"].astype(str).to_numpy(dtype=object)
    donor[rows_of(adata, "train")[:30]] = f" {name.lower()}"
    adata.obs["donor"] = donor
    return {"group_key": "donor", "label_key": None}


@leak("half of each test donor in train under another name", "same_unit")
def _two_names(adata):
    test = rows_of(adata, "test")
    half = test[np.random.default_rng(0).random(len(test)) < 0.5]
    donor, side = (adata.obs[key].astype(str).to_numpy(dtype=object) for key in ("donor", "split"))
    donor[half], side[half] = "x" + donor[half], "train"
    adata.obs["donor"], adata.obs["split"] = donor, side
    del adata.uns["heldout"]
    return {"group_key": "donor", "label_key": "label"}


@leak("cells moved to test after the split", "integrity")
def _moved(adata):
    adata.obs.iloc[rows_of(adata, "train")[:5], adata.obs.columns.get_loc("split")] = "test"
    return {"group_key": ["library", "donor"], "label_key": "label"}


@leak("cells in no partition", "integrity")
def _lost(adata):
    adata.obs["split"] = adata.obs["split"].astype(object)
    adata.obs.iloc[:7, adata.obs.columns.get_loc("split")] = None
    return {"group_key": ["library", "donor"], "label_key": "label"}


@leak("test cells copied into train under new names", "duplicates")
def _copies(adata):
    replace_cells(adata, rows_of(adata, "train")[:20], adata.X[rows_of(adata, "test")[:20]])
    return {}


@leak("a test library sequenced again into train", "near_duplicates")
def _again(adata):
    rng = np.random.default_rng(0)
    deep = np.argsort(-np.asarray(adata.X[rows_of(adata, "test")].sum(axis=1)).ravel())[:40]
    thinned = adata.X[rows_of(adata, "test")[deep]].copy()
    thinned.data = rng.binomial(thinned.data.astype(int), 0.7).astype(np.float32)
    replace_cells(adata, rows_of(adata, "train")[:40], thinned)
    return {"items": "all"}


@leak("the same barcodes in a train and a test library", "duplicates")
def _barcodes(adata):
    rng = np.random.default_rng(0)
    names = np.array(["".join(word) for word in rng.choice(list("ACGT"), (adata.n_obs, 16))])
    names[rows_of(adata, "train")[:30]] = names[rows_of(adata, "test")[:30]]
    barcoded = [f"{name}-{library}" for name, library in zip(names, adata.obs["library"], strict=True)]
    del adata.uns["heldout"], adata.obs["split"]
    adata.obs_names = barcoded
    hold_out(adata)
    return {}


@leak("variable genes chosen by scanpy on all cells", "provenance")
def _genes(adata):
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata, n_top_genes=100)
    return {}


@leak("genes chosen by the label on all cells", "label_selection")
def _by_label(adata):
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    score = f_classif(adata.X, adata.obs["label"])[0]
    adata.var["chosen"] = score >= np.sort(score)[-40]
    return {}


@leak("donors centred on the mean of their class", "unit_variation")
def _centred(adata):
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    X = pd.DataFrame(adata.X.toarray())
    of_library = X.groupby(adata.obs["library"].to_numpy()).transform("mean")
    of_class = X.groupby(adata.obs["label"].to_numpy()).transform("mean")
    adata.layers["corrected"] = (X - 0.9 * (of_library - of_class)).to_numpy(dtype=np.float32)
    return {}


@leak("dates that separate the classes", "disguised_label")
def _dates(adata):
    day = pd.factorize(adata.obs["donor"], sort=True)[0] % 28 + 1
    month = np.where(adata.obs["label"] == "patient", 3, 1)
    adata.obs["processed"] = [f"2020-{m:02d}-{d:02d}" for m, d in zip(month, day, strict=True)]
    return {}


@leak("scaled by scanpy on all cells", "provenance")
def _scaled(adata):
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    adata.layers["log"] = adata.X.copy()
    adata.X = adata.X.toarray()
    sc.pp.scale(adata, max_value=10)
    return {}


@leak("principal components by scanpy on all cells", "provenance")
def _components(adata):
    copy = adata.copy()
    sc.pp.normalize_total(copy, target_sum=1e4)
    sc.pp.log1p(copy)
    sc.pp.pca(copy, n_comps=20)
    adata.obsm["X_pca"], adata.varm["PCs"], adata.uns["pca"] = copy.obsm["X_pca"], copy.varm["PCs"], copy.uns["pca"]
    return {}


@leak("a model of another split", "provenance")
def _stale(adata):
    ho.pp.split_matched(adata, ["library", "donor"], "day", label_key="label", test=0, val=2)
    ho.tl.genotype(adata, "label", method="qc_logistic")
    hold_out(adata)
    return {}


@leak("label and batch are the same", "confounding")
def _batch(adata):
    adata.obs["kit"] = np.where(adata.obs["label"] == "patient", "v3", "v2")
    return {"covariate_keys": ["kit"]}


@leak("test days that train has only with the other label", "covariate_prediction")
def _mixed(adata):
    donors = adata.obs[["donor", "day", "label"]].drop_duplicates()
    late, early = donors["day"] == 3, donors["day"] == 0
    test = donors[(late & (donors["label"] == "control")) | (early & (donors["label"] == "patient"))]["donor"]
    del adata.uns["heldout"]
    train = [donor for donor in donors["donor"] if donor not in set(test)]
    ho.pp.split_assigned(adata, "donor", train=train, test=list(test), label_key="label")
    return {"match_key": "day"}


@leak("a class that is not in test", "class_coverage")
def _one_class(adata):
    donors = adata.obs[["donor", "label"]].drop_duplicates()
    test = donors.loc[donors["label"] == "control", "donor"].iloc[:4].tolist()
    ho.pp.split_assigned(adata, "donor", train=[d for d in donors["donor"] if d not in test], test=test)
    return {"label_key": "label"}


@leak("two test donors", "power")
def _few(adata):
    donors = adata.obs[["donor", "label"]].drop_duplicates()
    test = donors.groupby("label")["donor"].first().tolist()
    ho.pp.split_assigned(
        adata, "donor", train=[d for d in donors["donor"] if d not in test], test=test, label_key="label"
    )
    return {}


@leak("a reporter gene in the patients", "single_genes")
def _reporter(adata):
    names = adata.var_names.to_list()
    names[5] = "EGFP"
    adata.var_names = names
    dense = sparse.lil_matrix(adata.X)
    patient = (adata.obs["label"] == "patient").to_numpy()
    dense[:, 5] = (patient * np.random.default_rng(0).poisson(3, adata.n_obs))[:, None]
    adata.X = sparse.csr_matrix(dense)
    return {}


@leak("all patients are women (XIST, RPS4Y1)", "single_genes")
def _sex(adata):
    names = adata.var_names.to_list()
    names[5], names[6] = "XIST", "RPS4Y1"
    adata.var_names = names
    rng = np.random.default_rng(0)
    patient = (adata.obs["label"] == "patient").to_numpy()
    dense = sparse.lil_matrix(adata.X)
    dense[:, 5] = (patient * rng.poisson(2, adata.n_obs))[:, None]
    dense[:, 6] = (~patient * rng.poisson(2, adata.n_obs))[:, None]
    adata.X = sparse.csr_matrix(dense)
    return {}


@leak("patients sequenced half as deep", "nuisance")
def _depth(adata):
    thinned = adata.X.copy().astype(int)
    keep = np.where((adata.obs["label"] == "patient").to_numpy(), 0.4, 1.0)
    thinned.data = np.random.default_rng(0).binomial(thinned.data, np.repeat(keep, np.diff(thinned.indptr)))
    adata.X = sparse.csr_matrix(thinned.astype(np.float32))
    return {}


@leak("a forecast trained on the future", "temporal_order")
def _future(adata):
    ho.pp.split_assigned(adata, "day", train=[0, 1, 3], test=[2])
    return {"group_key": "donor", "time_key": "day", "covariate_keys": []}


@leak("cells of the held-out time in train", "temporal_order")
def _same_time(adata):
    ho.pp.split_groups(adata, "donor", val=0, test=0.25)
    return {"time_key": "day"}


@leak("the model started from a fit that has seen the test perturbation", "pretraining")
def _(adata: ad.AnnData) -> dict[str, Any]:
    names = ["control", "A", "B", "C"]
    adata.obs["perturbation"] = np.random.default_rng(0).choice(names, adata.n_obs)
    adata.layers["lognormalised"] = sc.pp.log1p(sc.pp.normalize_total(adata, inplace=False)["X"])
    earlier = adata.copy()
    earlier.obs_names = [f"earlier-{name}" for name in adata.obs_names]
    options = {"method": "latent_additive", "layer": "lognormalised"}
    for screen, start in ((earlier, {}), (adata, {"start": "perturbation", "reference": earlier})):
        ho.pp.split_assigned(screen, "perturbation", train=names)
        ho.tl.perturbation(screen, "perturbation", **options, **start)
    ho.pp.split_assigned(adata, "perturbation", train=["control", "A", "B"], test=["C"])
    return {"perturbation_key": "perturbation", "label_key": "label"}


@leak("the perturbation A+B in train is B+A in test", "perturbations")
def _renamed(adata):
    names = ["control", "A", "B", "C", "A+B", "B+A", "A+C"]
    adata.obs["perturbation"] = np.random.default_rng(0).choice(names, adata.n_obs)
    del adata.uns["heldout"]
    ho.pp.split_assigned(adata, "perturbation", train=["control", "A", "B", "C", "A+B"], test=["B+A", "A+C"])
    return {"perturbation_key": "perturbation", "label_key": "label"}


@leak("three models chosen on the test set", "test_looks")
def _looks(adata):
    for method in ("majority", "qc_logistic", "pseudobulk_logistic"):
        ho.tl.genotype(adata, "label", method=method)
        ho.tl.evaluate(adata, "genotype", baselines=[], n_bootstrap=10)
    return {}


@leak("test cells dropped that a model got wrong", "too_good")
def _dropped(adata):
    ho.pp.split_groups(adata, ["library", "donor"], "label", val=0, test=0.3, rng=0)
    counts = adata.X.toarray()
    X = np.log1p(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) * 1e4)
    train, label = (adata.obs["split"] == "train").to_numpy(), adata.obs["label"].to_numpy()
    model = LogisticRegression(C=0.01, max_iter=1000).fit(X[train], label[train])
    adata._inplace_subset_obs(train | (model.predict(X) == label))
    return {}


@leak("another chemistry in the test set", "shift")
def _chemistry(adata):
    ho.pp.split_groups(adata, ["library", "donor"], "label", val=0, test=0.25, rng=1)
    rng = np.random.default_rng(0)
    keep = np.ones(adata.shape[1])
    keep[rng.random(adata.n_vars) < 0.3] = 0.5
    thinned = adata.X.copy().astype(int).tocsr()
    of_row = np.repeat(np.arange(adata.n_obs), np.diff(thinned.indptr))
    share = np.where(np.isin(of_row, rows_of(adata, "test")), keep[thinned.indices], 1.0)
    thinned.data = rng.binomial(thinned.data, share)
    adata.X = sparse.csr_matrix(thinned.astype(np.float32))
    return {"items": "all"}


@leak("a fingerprint that crosses the split", "fingerprint")
def _fingerprint(adata):
    return {**_cells(adata), "items": "all"}


@leak("a random label that can be predicted", "random_labels")
def _random_labels(adata):
    return {**_cells(adata), "group_key": "donor", "items": "all"}


@leak("a score that comes from sister cells", "leakage_gap")
def _gap(adata):
    return {**_cells(adata), "items": "all"}
