"""The choice of genes against numpy and scanpy run by hand on the train cells, and what it refuses."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import heldout as ho

if TYPE_CHECKING:
    from anndata import AnnData

COLUMNS = ["highly_variable", "highly_variable_rank", "highly_variable_score", "means", "variances"]


def split(adata: AnnData) -> AnnData:
    """Day 19 is test, day 0 val, and day 30 unused."""
    ho.pp.split_assigned(
        adata,
        "library",
        train=[f"GSM83250{n}" for n in (47, 48, 49, 50, 51, 55, 56)],
        val=["GSM8325046", "GSM8325054"],
        test=["GSM8325052", "GSM8325057"],
    )
    return adata


def log(adata: AnnData) -> AnnData:
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def train_of(adata: AnnData, min_cells: int = 10) -> AnnData:
    """Train cells, with the genes that are in enough of them."""
    train = adata[adata.obs["split"] == "train"].copy()
    X = train.X.toarray() if sparse.issparse(train.X) else train.X
    return train[:, (X != 0).sum(axis=0) >= min_cells].copy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_variance_is_the_definition(lmna, array_type, dtype):
    log(split(lmna))
    X = lmna.X.toarray().astype(dtype)
    lmna.X = array_type(X)
    ho.pp.highly_variable_genes(lmna, 40, min_cells=30)
    train = X[(lmna.obs["split"] == "train").to_numpy()].astype(np.float64)
    variance = pd.Series(train.var(axis=0, ddof=1), index=lmna.var_names)
    candidates = (train != 0).sum(axis=0) >= 30
    assert 40 < candidates.sum() < lmna.n_vars  # the limit matters here
    expected = variance[candidates].nlargest(40)
    var = lmna.var
    assert set(var.index[var["highly_variable"]]) == set(expected.index)
    chosen = var.dropna(subset="highly_variable_rank").sort_values("highly_variable_rank")
    assert list(chosen.index) == list(expected.index)
    assert list(chosen["highly_variable_rank"]) == list(range(40))
    np.testing.assert_allclose(var["highly_variable_score"][candidates], variance[candidates], rtol=1e-10)
    assert var["highly_variable_score"][~candidates].isna().all()
    np.testing.assert_allclose(var["means"], train.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(var["variances"], variance, rtol=1e-10)


@pytest.mark.parametrize("min_cells", [1, 30])
@pytest.mark.parametrize("flavor", ["seurat", "seurat_v3"])
def test_scanpy_flavors_are_scanpys_on_the_train_cells(lmna, array_type, flavor, min_cells):
    split(lmna)
    if flavor == "seurat":
        log(lmna)
    lmna.X = array_type(lmna.X.toarray())
    train = train_of(lmna, min_cells)
    ho.pp.highly_variable_genes(lmna, 40, flavor=flavor, min_cells=min_cells)

    train.X = sparse.csr_matrix(train.X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        expected = sc.pp.highly_variable_genes(train, flavor=flavor, n_top_genes=40, inplace=False)
    expected.index = train.var_names
    ours = lmna.var.loc[train.var_names]
    score = "dispersions_norm" if flavor == "seurat" else "variances_norm"
    np.testing.assert_allclose(ours["highly_variable_score"], expected[score], rtol=1e-4, atol=1e-5)
    assert list(ours.index[ours["highly_variable"]]) == list(expected.index[expected["highly_variable"]])
    if flavor == "seurat_v3":
        pd.testing.assert_series_equal(
            ours["highly_variable_rank"], expected["highly_variable_rank"], check_dtype=False, check_names=False
        )


def test_seurat_honours_the_base_of_the_logarithm(lmna):
    split(lmna)
    sc.pp.normalize_total(lmna, target_sum=1e4)
    two = lmna.copy()
    sc.pp.log1p(lmna)
    sc.pp.log1p(two, base=2)
    for adata in (lmna, two):
        ho.pp.highly_variable_genes(adata, 30, flavor="seurat")
    np.testing.assert_allclose(two.var["highly_variable_score"], lmna.var["highly_variable_score"], rtol=1e-3)


@pytest.mark.parametrize("flavor", ["variance", "seurat", "seurat_v3"])
def test_only_train_cells_have_a_say(lmna, flavor):
    other = split(lmna).copy()
    elsewhere = np.flatnonzero(other.obs["split"] != "train")
    assert len(elsewhere) == 150
    X = other.X.toarray()
    X[elsewhere] = np.random.default_rng(0).negative_binomial(0.5, 0.01, size=(150, 150))
    other.X = sparse.csr_matrix(X)
    for adata in (lmna, other):
        if flavor != "seurat_v3":
            log(adata)
        ho.pp.highly_variable_genes(adata, 30, flavor=flavor)
    pd.testing.assert_frame_equal(lmna.var[COLUMNS], other.var[COLUMNS], check_exact=True)


def test_the_order_of_cells_and_genes_does_not_matter(lmna):
    log(split(lmna))
    rng = np.random.default_rng(0)
    other = lmna[rng.permutation(lmna.n_obs), rng.permutation(lmna.n_vars)].copy()
    for adata in (lmna, other):
        ho.pp.highly_variable_genes(adata, 30)
    ours, theirs = lmna.var["highly_variable_rank"], other.var["highly_variable_rank"]
    pd.testing.assert_series_equal(ours, theirs.loc[ours.index])


def test_ties_are_broken_by_name(lmna):
    log(split(lmna))
    X = lmna.X.toarray()
    X[:, 7] = X[:, 3]
    X[:, 5] = X[:, 3]
    lmna.X = X
    ho.pp.highly_variable_genes(lmna, 150, min_cells=1)
    rank = lmna.var["highly_variable_rank"].to_numpy()
    np.testing.assert_array_equal(rank[[5, 7]], rank[3] + [1, 2])


def test_fewer_candidates_than_wanted(lmna, caplog):
    log(split(lmna))
    X = lmna.X.toarray()
    X[:, :20] += 1
    X[:, 20:] *= np.arange(lmna.n_obs)[:, None] < 33  # three train cells
    lmna.X = X
    with caplog.at_level(logging.WARNING, logger="heldout"):
        ho.pp.highly_variable_genes(lmna, 30)
    assert "Only 20 genes are detected in 10 or more train cells" in caplog.text
    assert list(lmna.var["highly_variable"]) == [True] * 20 + [False] * 130


def test_subset_keeps_the_chosen_and_the_whole_fit(lmna):
    log(split(lmna))
    whole = ho.pp.highly_variable_genes(lmna, 30, copy=True)
    assert whole.n_vars == 150
    assert ho.pp.highly_variable_genes(lmna, 30, subset=True) is None
    assert list(lmna.var_names) == list(whole.var_names[whole.var["highly_variable"]])
    assert lmna.var["highly_variable"].all()
    stored = lmna.uns["heldout"]["fits"]["highly_variable_genes"]
    assert list(stored["genes"]) == list(whole.var_names)
    assert stored["hash"] == whole.uns["heldout"]["fits"]["highly_variable_genes"]["hash"]


def test_a_layer_is_as_good_as_x(lmna):
    split(lmna)
    by_layer = lmna.copy()
    by_layer.layers["log"] = log(lmna).X.copy()
    ho.pp.highly_variable_genes(lmna, 30)
    ho.pp.highly_variable_genes(by_layer, 30, layer="log")
    pd.testing.assert_frame_equal(lmna.var[COLUMNS], by_layer.var[COLUMNS], check_exact=True)


def test_copy_leaves_the_original_alone(lmna, unchanged):
    log(split(lmna))
    with unchanged(lmna):
        changed = ho.pp.highly_variable_genes(lmna, 30, copy=True)
    assert changed.var["highly_variable"].sum() == 30


def test_the_record(lmna):
    log(split(lmna))
    ho.pp.highly_variable_genes(lmna, 30)
    mine = lmna.uns["heldout"]
    assert list(mine["chain"]) == ["highly_variable_genes"]
    assert list(mine["fits"]) == ["highly_variable_genes"]
    split_hash = mine["splits"]["split"]["hash"]
    assert mine["fits"]["highly_variable_genes"]["split_hash"] == split_hash
    assert split_hash in mine["assignments"]
    ho.pp.highly_variable_genes(lmna, 20)  # again: replaces the first choice
    assert list(lmna.uns["heldout"]["chain"]) == ["highly_variable_genes"]
    assert lmna.var["highly_variable"].sum() == 20


def test_a_view_becomes_its_own_and_the_parent_stays(lmna, unchanged):
    log(split(lmna))
    with unchanged(lmna):
        view = lmna[lmna.obs["day"] != 30]
        ho.pp.highly_variable_genes(view, 30, subset=True)
    assert not view.is_view
    assert view.shape == (330, 30)


def scaled_by_us(adata):
    ho.pp.scale(log(adata))


def scaled_by_scanpy(adata, **options):
    log(adata).X = adata.X.toarray()
    sc.pp.scale(adata, **options)


def set_value(value, to=log):
    def change(adata):
        to(adata)
        adata.X = adata.X.toarray()
        adata.X[3, 4] = value

    return change


def normalised(adata):
    sc.pp.normalize_total(adata, target_sum=1e4)


def corrected_counts(adata):
    adata.X = adata.X.toarray() * np.random.default_rng(0).uniform(5, 9, size=adata.shape)


def no_split(adata):
    del log(adata).obs["split"]


def split_by_hand(adata):
    del log(adata).uns["heldout"]


def no_train(adata):
    del log(adata).uns["heldout"]
    train = ["GSM8325046"]
    ho.pp.split_assigned(adata, "library", train=train, test=["GSM8325047"])
    adata._inplace_subset_obs(adata.obs["split"] != "train")


def duplicated_genes(adata):
    log(adata).var_names = ["A", "A", *adata.var_names[2:]]


BAD = {
    "counts": (lambda adata: None, {}, r"needs log-normalised.*raw counts.*normalize_total\(adata"),
    "counts, seurat": (lambda adata: None, {"flavor": "seurat"}, r"needs log-normalised.*raw counts"),
    "not logged": (normalised, {}, r"has counts normalised to 10000 per cell, not logged.*Call sc.pp.log1p"),
    "corrected counts": (corrected_counts, {}, r"above any logarithm of counts"),
    "logged for seurat_v3": (log, {"flavor": "seurat_v3"}, r"needs raw counts, but adata.X has log1p.*layer"),
    "scaled by us": (scaled_by_us, {}, r"already scaled.*Select genes before scaling"),
    "scaled by scanpy": (scaled_by_scanpy, {}, r"already scaled"),
    "scaled by scanpy, clipped": (lambda a: scaled_by_scanpy(a, max_value=10), {}, r"already scaled"),
    "scaled by scanpy, not centred": (
        lambda a: scaled_by_scanpy(a, zero_center=False, max_value=10),
        {},
        r"already scaled.*Select genes before scaling",
    ),
    "NaN": (set_value(np.nan), {}, r"adata.X has NaN or infinite"),
    "infinite": (set_value(np.inf), {}, r"adata.X has NaN or infinite"),
    "NaN in counts": (set_value(np.nan, to=lambda a: a), {"flavor": "seurat_v3"}, r"adata.X has NaN or infinite"),
    "negative counts": (set_value(-1, to=lambda a: a), {"flavor": "seurat_v3"}, r"negative values"),
    "zeros": (lambda a: setattr(a, "X", a.X * 0), {}, r"All values of adata.X are zero"),
    "not a split": (no_split, {}, r"split_key='split' is not a column of adata.obs"),
    "no record": (split_by_hand, {}, r"has no record.*split_assigned"),
    "no train": (no_train, {}, r"needs cells in 'train'"),
    "duplicated genes": (duplicated_genes, {}, r"var_names has 1 duplicated.*'A'.*var_names_make_unique"),
    "no such layer": (log, {"layer": "logged"}, r"layer='logged' is not in adata.layers"),
    "flavor": (
        log,
        {"flavor": "cell_ranger"},
        r"flavor='cell_ranger' must be one of 'variance', 'seurat', 'seurat_v3'",
    ),
    "no genes": (log, {"n_top_genes": 0}, r"n_top_genes=0 must be an integer >= 1"),
    "min_cells": (log, {"min_cells": 1000}, r"No gene is detected in min_cells=1000.*210 train cells"),
}


@pytest.mark.parametrize(("prepare", "options", "message"), BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("copy", [False, True], ids=["in place", "copy"])
def test_bad_input_is_refused_and_changes_nothing(lmna, unchanged, prepare, options, message, copy):
    prepare(split(lmna))
    with unchanged(lmna), pytest.raises(ValueError, match=message):
        ho.pp.highly_variable_genes(lmna, **options, copy=copy)


def test_genes_with_a_spread_around_one_are_not_taken_for_scaled(lmna):
    split(lmna)
    noise = np.random.default_rng(0).normal(size=lmna.shape)
    lmna.X = (5 + np.linspace(0.9, 1.1, 150) * noise).clip(0)
    ho.pp.highly_variable_genes(lmna, 30)
    assert lmna.var["highly_variable"][-30:].sum() > 15


def test_a_bad_view_stays_a_view(lmna, unchanged):
    split(lmna)
    view = lmna[:, :50]
    with unchanged(view), unchanged(lmna), pytest.raises(ValueError, match="raw counts"):
        ho.pp.highly_variable_genes(view, 10)


def test_not_an_anndata(lmna):
    with pytest.raises(TypeError, match="adata must be an AnnData, got ndarray"):
        ho.pp.highly_variable_genes(lmna.X.toarray())


def test_a_gene_called_like_another_kind_of_fit(lmna, unchanged):
    log(split(lmna))
    ho.pp.highly_variable_genes(lmna, 30)
    with (
        unchanged(lmna),
        pytest.raises(ValueError, match=r"already holds a 'pp.highly_variable_genes' fit.*another key"),
    ):
        ho.pp.pca(lmna, 3, key_added="highly_variable_genes")
