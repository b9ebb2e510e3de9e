"""Promises of the README that need no real data: held-out units, train-only fits, shared controls."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

import heldout as ho
from tests.helpers.scripts import load


def _donors(seed: int, *, counts: bool = False) -> ad.AnnData:
    """Twenty donors whose cells have a fingerprint of their donor. The label of a donor means nothing."""
    rng = np.random.default_rng(seed)
    donor = np.repeat(np.arange(20), 30)
    rate = np.exp(rng.normal(0, 0.25, size=(20, 150)) + rng.normal(0, 0.5, size=150))[donor]
    adata = ad.AnnData(rng.poisson(2 * rate).astype(np.float32))
    adata.obs["donor"] = [f"D{d:02d}" for d in donor]
    adata.obs["label"] = np.where(np.isin(donor, rng.permutation(20)[:10]), "patient", "control")
    if not counts:
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
    return adata


def test_a_label_that_means_nothing_is_predictable_until_donors_are_held_out():
    """The cross-validation of the tutorial, on simulated donors: folds over cells and folds over donors."""
    script, found = load("tutorials/donor_leak.py"), {"cells": [], "donors": []}
    for seed in range(3):
        adata = _donors(seed, counts=True)
        for scheme, aucs in found.items():
            result = script.cross_validate(adata, "donor", scheme=scheme, method="logistic", seed=seed)
            aucs.append(result["donor"])
    assert np.mean(found["cells"]) > 0.9
    assert np.mean(found["donors"]) < 0.65


def test_donors_on_both_sides_have_no_verdict():
    adata = _donors(0)
    adata.obs["set"] = np.where(np.arange(adata.n_obs) % 5 == 0, "te", "tr")
    ho.pp.split_assigned(adata, "set", train=["tr"], test=["te"])
    audit = ho.tl.audit(adata, group_key="donor", label_key="label").set_index("item")
    assert audit.loc["group_overlap", "status"] == "fail"
    ho.tl.genotype(adata, "label", method="logistic", group_key="donor")
    report = ho.tl.evaluate(adata, baselines=["majority"])
    auc = report.query("role == 'model' and level == 'donor' and metric == 'auc'").iloc[0]
    assert auc["estimate"] > 0.9
    assert auc["verdict"] == "leaks"
    assert np.isnan([auc["ci_low"], auc["p_value"]]).all()


@pytest.mark.parametrize(
    "method",
    [
        "logistic",
        "pseudobulk_logistic",
        "pseudobulk_shrunken",
        "nearest_centroid",
        "celltype_pseudobulk",
        "mean_embedding",
    ],
)
def test_no_step_sees_test_cells(method):
    """Genes, scaling, components and the fit stay the same, whatever the test cells are."""
    fits = []
    for noise in (0.0, 3.0):
        adata = _donors(1)
        ho.pp.split_groups(adata, "donor", "label", val=0, test=0.3)
        test = (adata.obs["split"] == "test").to_numpy()
        adata.X[test] = adata.X[test] + noise * np.random.default_rng(0).random((test.sum(), adata.n_vars))
        ho.pp.highly_variable_genes(adata, n_top_genes=60)
        ho.pp.scale(adata)
        ho.pp.pca(adata, n_comps=5)
        ho.tl.genotype(adata, "label", method=method)
        log_p = adata.obsm["genotype_log_probability"]
        fits.append((adata.var["highly_variable"].to_numpy(), adata.obsm["X_pca"][~test], np.asarray(log_p)[~test]))
    np.testing.assert_array_equal(fits[0][0], fits[1][0])
    np.testing.assert_allclose(fits[0][1], fits[1][1], atol=1e-5)
    np.testing.assert_allclose(fits[0][2], fits[1][2], atol=1e-5)


def test_shared_controls_make_noise_look_predictable():
    """Perturbations without any effect: the same controls on both sides give a correlation, separate ones do not."""
    rng = np.random.default_rng(0)
    names = np.repeat(["control", "A", "B", "A+B", "C", "D", "C+D"], [60, *[60] * 6])
    adata = ad.AnnData(rng.normal(3, 1, size=(len(names), 200)))
    adata.obs["perturbation"] = names
    table = load("benchmarks/_shared_controls.py").controls(adata, draws=20)
    assert (table["same half"] > 0.3).all()
    assert (table["disjoint halves"].abs() < 0.15).all()
