"""Fitting and predicting: the life cycle, what is learnt, what is refused."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import scanpy as sc
import torch
from sklearn.linear_model import LogisticRegression

import heldout as ho
from heldout.tasks.genotype.config import MLPConfig

if TYPE_CHECKING:
    import anndata as ad

SMALL = MLPConfig(n_hidden=16, max_epochs=3, batch_size=64)


def prepare(adata: ad.AnnData) -> ad.AnnData:
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    ho.pp.highly_variable_genes(adata, n_top_genes=60)
    ho.pp.scale(adata)
    return adata


@pytest.fixture(scope="session")
def _prepared() -> ad.AnnData:
    adata = ho.datasets.lmna_simulated(n_cells=40, n_genes=150)
    ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    return prepare(adata)


@pytest.fixture
def prepared(_prepared) -> ad.AnnData:
    return _prepared.copy()


@pytest.mark.parametrize("method", ["majority", "qc_logistic", "logistic", "pseudobulk_logistic", "mlp"])
def test_every_method_writes_the_same_slots_and_predicts_again_bit_equal(prepared, method):
    before = set(prepared.obs) | set(prepared.obsm)
    ho.tl.genotype(prepared, method=method, config=SMALL if method == "mlp" else None)
    written = (set(prepared.obs) | set(prepared.obsm)) - before
    assert written == {"genotype_prediction", "genotype_probability", "genotype_log_probability"}
    log_p = prepared.obsm["genotype_log_probability"].copy()
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, rtol=1e-5)
    assert prepared.obs["genotype_prediction"].cat.categories.tolist() == ["control", "patient"]
    np.testing.assert_array_equal(prepared.obs["genotype_probability"], np.exp(log_p)[:, 1])
    ho.tl.predict(prepared)
    np.testing.assert_array_equal(prepared.obsm["genotype_log_probability"], log_p)


def test_a_second_process_predicts_the_same_bits(prepared, tmp_path):
    ho.tl.genotype(prepared, auxiliary_key="day", config=SMALL)
    prepared.write_h5ad(tmp_path / "fitted.h5ad")
    code = """
import anndata as ad, numpy as np, heldout as ho
adata = ad.read_h5ad("fitted.h5ad")
stored = adata.obsm["genotype_log_probability"].copy()
ho.tl.predict(adata)
assert np.array_equal(stored, adata.obsm["genotype_log_probability"])
print("equal", len(ho.get.history(adata)))
"""
    python = [sys.executable, "-W", "ignore", "-c", code]
    ran = subprocess.run(python, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["equal", "3"], ran.stderr


def test_logistic_equals_scikit_learn_on_the_train_cells(prepared):
    ho.tl.genotype(prepared, method="logistic")
    genes = prepared.var["highly_variable"].to_numpy()
    train = (prepared.obs["split"] == "train").to_numpy()
    X, y = prepared.X[:, genes], (prepared.obs["genotype"] == "patient").to_numpy()
    reference = LogisticRegression(max_iter=1000).fit(X[train], y[train])
    np.testing.assert_allclose(prepared.obs["genotype_probability"], reference.predict_proba(X)[:, 1], rtol=1e-4)


def test_pseudobulk_logistic_equals_scikit_learn_on_the_means(prepared):
    ho.tl.genotype(prepared, method="pseudobulk_logistic")
    genes = prepared.var["highly_variable"].to_numpy()
    X = prepared.X[:, genes].toarray()
    train = prepared.obs["split"] == "train"
    libraries = prepared.obs.loc[train, "library"].cat.remove_unused_categories()
    means = np.stack(
        [X[(prepared.obs["library"] == name).to_numpy()].mean(axis=0) for name in libraries.cat.categories]
    )
    y = [
        prepared.obs.loc[prepared.obs["library"] == n, "genotype"].iloc[0] == "patient"
        for n in libraries.cat.categories
    ]
    reference = LogisticRegression(max_iter=1000).fit(means, y)
    np.testing.assert_allclose(prepared.obs["genotype_probability"], reference.predict_proba(X)[:, 1], rtol=1e-3)


def test_qc_logistic_does_not_read_genes(prepared):
    ho.tl.genotype(prepared, method="qc_logistic")
    first = prepared.obs["genotype_probability"].copy()
    blank = prepared.copy()
    blank.X = np.random.default_rng(0).random(blank.shape, dtype=np.float32)
    del blank.uns["heldout"]["chain"]
    ho.tl.genotype(blank, method="qc_logistic")
    np.testing.assert_array_equal(first, blank.obs["genotype_probability"])


def test_test_cells_have_no_influence_on_the_network(prepared):
    other = prepared.copy()
    test = (other.obs["split"] == "test").to_numpy()
    X = other.X.toarray()
    X[test] = np.random.default_rng(0).random(X[test].shape)
    other.X = X
    prepared.X = prepared.X.toarray()
    for adata in (prepared, other):
        ho.tl.genotype(adata, config=SMALL)
    seen = ~test
    np.testing.assert_array_equal(
        prepared.obsm["genotype_log_probability"][seen], other.obsm["genotype_log_probability"][seen]
    )


def test_model_b_has_a_head_for_train_days_only(prepared):
    ho.tl.genotype(prepared, auxiliary_key="day", config=SMALL, key_added="b")
    fit = ho.get.fits(prepared).loc["b"]
    assert fit["method"] == "genotype.mlp"
    history = ho.get.history(prepared, "b")
    assert history["val_auxiliary_accuracy"].isna().all(), "day 0 is not in train, so val has nothing to score"
    assert history["train_auxiliary_loss"].notna().all()
    assert (history["train_loss"] > history["train_label_loss"]).all()


def test_three_classes(prepared):
    prepared.obs["stage"] = np.where(
        prepared.obs["day"] < 4, "early", np.where(prepared.obs["day"] < 16, "mid", "late")
    )
    del prepared.uns["heldout"]["chain"]
    train = ["GSM8325046", "GSM8325047", "GSM8325049", "GSM8325051", "GSM8325053"]
    rest = ["GSM8325054", "GSM8325055", "GSM8325056"]
    ho.pp.split_assigned(prepared, "library", train=train, val=["GSM8325048", "GSM8325050", "GSM8325052"], test=rest)
    for method in ("mlp", "logistic", "pseudobulk_logistic", "majority"):
        ho.tl.genotype(prepared, "stage", method=method, config=SMALL if method == "mlp" else None)
        assert prepared.obsm["genotype_log_probability"].shape == (480, 3)
    ho.tl.genotype(prepared, "stage", config=MLPConfig(max_epochs=15))
    table = ho.tl.evaluate(prepared, baselines=["majority"])
    auc = table.query("level == 'cell' and metric == 'auc' and role == 'model'")["estimate"].item()
    assert auc > 0.8


def test_global_random_state_is_left_alone(prepared):
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    ho.tl.genotype(prepared, config=SMALL)
    torch.testing.assert_close(torch.rand(3), expected[0])
    np.testing.assert_array_equal(np.random.rand(3), expected[1])  # noqa: NPY002


def test_the_same_seed_gives_the_same_fit_and_another_does_not(prepared):
    hashes = []
    for seed in (0, 0, 1):
        ho.tl.genotype(prepared, config=SMALL, rng=seed)
        hashes.append(ho.get.fits(prepared).loc["genotype", "hash"])
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("convert", ["toarray", "tocsc"])
def test_array_types_give_the_same_network(prepared, convert):
    other = prepared.copy()
    other.X = getattr(other.X, convert)()
    for adata in (prepared, other):
        ho.tl.genotype(adata, config=SMALL)
    np.testing.assert_allclose(
        prepared.obsm["genotype_log_probability"], other.obsm["genotype_log_probability"], atol=1e-5
    )


def test_val_with_one_class_and_without_cells(prepared, caplog):
    del prepared.uns["heldout"]["chain"]
    train = [f"GSM83250{n}" for n in (47, 48, 50, 53, 55, 57)]
    ho.pp.split_assigned(prepared, "library", train=train, val=["GSM8325046"], test=["GSM8325052", "GSM8325056"])
    with caplog.at_level(logging.WARNING, "heldout"):
        ho.tl.genotype(prepared, config=SMALL)
    assert "val does not have every class: groups of train are left out instead" in caplog.text
    assert ho.get.history(prepared)["member"].nunique() > 1
    only_val = SMALL.changed(n_inner_folds=0)
    with caplog.at_level(logging.WARNING, "heldout"):
        ho.tl.genotype(prepared, config=only_val)
    assert "Training stops on its loss" in caplog.text
    assert ho.get.history(prepared)["val_group_loss"].notna().all()
    ho.pp.split_assigned(prepared, "library", train=train, test=["GSM8325052", "GSM8325056"])
    with caplog.at_level(logging.WARNING, "heldout"):
        ho.tl.genotype(prepared, config=only_val)
    assert "runs all 3 epochs" in caplog.text


def refused(adata: ad.AnnData, match: str, **arguments) -> None:
    """Call tl.genotype, expect the error, and nothing changed."""
    before = adata.copy()
    with pytest.raises((ValueError, TypeError), match=match):
        ho.tl.genotype(adata, **arguments)
    assert set(adata.obs) == set(before.obs)
    assert set(adata.obsm) == set(before.obsm)
    assert adata.uns["heldout"].keys() == before.uns["heldout"].keys()
    np.testing.assert_array_equal(adata.X.toarray(), before.X.toarray())


def test_bad_input(prepared):
    refused(prepared, "label_key='genotyp'.*Did you mean 'genotype'", label_key="genotyp")
    refused(prepared, "method='mpl' is not a genotype method. Did you mean 'mlp'", method="mpl")
    refused(prepared, "auxiliary_key='day' is only for method='mlp'", method="logistic", auxiliary_key="day")
    refused(prepared, "config must be a LogisticConfig", method="logistic", config=SMALL)
    refused(prepared, "split_key='fold' is not a column", split_key="fold")
    refused(prepared, "layer='counts' is not in adata.layers", layer="counts")
    refused(prepared, "mask_var='hvg' is not a column of adata.var", mask_var="hvg")
    refused(prepared, "without '/'", key_added="a/b")
    refused(prepared, "'scale' already holds a 'pp.scale' fit", key_added="scale")
    prepared.obs.loc[prepared.obs_names[:5], "genotype"] = np.nan
    refused(prepared, "has 5 missing values")


def test_a_class_that_train_lacks_is_refused(prepared):
    del prepared.uns["heldout"]["chain"]
    ho.pp.split_assigned(prepared, "library", train=["GSM8325046", "GSM8325047"], test=["GSM8325054"])
    refused(prepared, "train has only 'control' of label_key='genotype', but val and test also have 'patient'")


def test_non_finite_values_are_refused(prepared):
    prepared.X = prepared.X.toarray()
    prepared.X[3, 3] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        ho.tl.genotype(prepared, method="majority")


def test_another_split_after_preparation_is_refused(prepared):
    ho.pp.split_matched(prepared, "library", "day", label_key="genotype", test=16, val=0)
    refused(prepared, "'highly_variable_genes' was made on another split.*now test cells")


def test_predicting_with_a_fit_of_another_split_is_refused(prepared):
    ho.tl.genotype(prepared, method="logistic")
    del prepared.uns["heldout"]["chain"]
    ho.pp.split_matched(prepared, "library", "day", label_key="genotype", test=16, val=0)
    for verb in (ho.tl.predict, ho.tl.evaluate):
        with pytest.raises(ValueError, match="'genotype' was made on another split"):
            verb(prepared)


def test_genes_chosen_by_somebody_else(prepared, caplog):
    own = prepared.var["highly_variable"].to_numpy()
    prepared.var["highly_variable"] = ~own
    with pytest.raises(ValueError, match="150 genes differ. The function of scanpy"):
        ho.tl.genotype(prepared, method="majority")
    prepared.var["mine"] = ~own
    ho.tl.genotype(prepared, method="logistic", mask_var="mine")
    assert ho.get.fits(prepared).loc["genotype", "n_genes"] == 90
    prepared.uns["heldout"]["chain"] = np.array(["scale"])
    with caplog.at_level(logging.WARNING, "heldout"):
        ho.tl.genotype(prepared, method="logistic")
    assert "If test cells were used to choose the genes, information leaks from test" in caplog.text


def test_a_step_run_again_drops_those_that_followed_it(lmna):
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=19, val=0)
    sc.pp.normalize_total(lmna, target_sum=1e4)
    sc.pp.log1p(lmna)
    unscaled = lmna.X.copy()
    ho.pp.highly_variable_genes(lmna, 50)
    ho.pp.scale(lmna)
    ho.pp.pca(lmna, 3)
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=16, val=0)
    with pytest.raises(ValueError, match="'highly_variable_genes' was made on another split"):
        ho.pp.pca(lmna, 3)
    lmna.X = unscaled
    ho.pp.highly_variable_genes(lmna, 50)
    assert list(lmna.uns["heldout"]["chain"]) == ["highly_variable_genes"]
    ho.pp.scale(lmna)
    ho.tl.genotype(lmna, method="logistic")


def test_steps_that_leave_the_matrix_alone_may_follow_a_fit(prepared):
    ho.tl.genotype(prepared, method="logistic")
    ho.pp.pca(prepared, 5)
    ho.tl.predict(prepared)
    assert len(ho.tl.evaluate(prepared, baselines=[])) == 12


def test_new_cells_raw_are_refused_and_replayed_are_predicted(prepared):
    ho.tl.genotype(prepared, config=SMALL)
    raw = ho.datasets.lmna_simulated(n_cells=40, n_genes=150)
    with pytest.raises(ValueError, match="was scaled by pp.scale; adata was prepared differently.*pp.replay"):
        ho.tl.predict(raw, reference=prepared)
    ho.pp.replay(raw, prepared)
    ho.tl.predict(raw, reference=prepared)
    np.testing.assert_allclose(
        raw.obsm["genotype_log_probability"], prepared.obsm["genotype_log_probability"], atol=1e-5
    )


def test_counts_are_refused_by_a_fit_on_logs(lmna):
    raw = lmna.copy()
    ho.pp.split_matched(lmna, "library", "day", label_key="genotype", test=19, val=0)
    sc.pp.normalize_total(lmna, target_sum=1e4)
    sc.pp.log1p(lmna)
    ho.tl.genotype(lmna, method="logistic")
    with pytest.raises(
        ValueError, match="trained on log1p of counts normalised to 10000 per cell; adata holds raw counts"
    ):
        ho.tl.predict(raw, reference=lmna)
    sc.pp.normalize_total(raw, target_sum=1e3)
    sc.pp.log1p(raw)
    with pytest.raises(ValueError, match="adata holds log1p of counts normalised to 1000 per cell"):
        ho.tl.predict(raw, reference=lmna)


def test_genes_in_another_order_and_missing_genes(prepared):
    ho.tl.genotype(prepared, method="logistic")
    expected = prepared.obsm["genotype_log_probability"].copy()
    shuffled = prepared[:, np.random.default_rng(0).permutation(prepared.n_vars)].copy()
    ho.tl.predict(shuffled)
    np.testing.assert_allclose(shuffled.obsm["genotype_log_probability"], expected, atol=1e-5)
    gene = prepared.var_names[prepared.var["highly_variable"]][0]
    fewer = prepared[:, prepared.var_names != gene].copy()
    with pytest.raises(ValueError, match=f"60 genes, 1 of them are not in adata.var_names \\(e.g. '{gene}'\\)"):
        ho.tl.predict(fewer)


def test_cells_filtered_after_the_split_change_nothing(prepared):
    ho.tl.genotype(prepared, method="logistic")
    kept = prepared[prepared.obs["total_counts"] > prepared.obs["total_counts"].median()].copy()
    before = kept.obsm["genotype_log_probability"].copy()
    ho.tl.predict(kept)
    np.testing.assert_allclose(kept.obsm["genotype_log_probability"], before, atol=1e-6)
    assert len(ho.tl.evaluate(kept, baselines=["majority"])) == 24


@pytest.mark.parametrize(("method", "warns"), [("logistic", True), ("pseudobulk_logistic", True), ("majority", False)])
def test_raw_counts_are_told(caplog, method, warns):
    adata = ho.datasets.lmna_simulated(n_cells=10, n_genes=100)
    ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)
    with caplog.at_level(logging.WARNING, "heldout"):
        ho.tl.genotype(adata, "genotype", method=method)
    assert ("adata.X holds raw counts" in caplog.text) == warns
    caplog.clear()
    adata.layers["log"] = sc.pp.log1p(sc.pp.normalize_total(adata, target_sum=1e4, copy=True), copy=True).X
    with caplog.at_level(logging.WARNING, "heldout"):
        ho.tl.genotype(adata, "genotype", method=method, layer="log", key_added="logged")
    assert "raw counts" not in caplog.text
