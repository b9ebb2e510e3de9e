"""Replay gives new cells what they would have got had they been there; and the leak guard over the chain."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pytest
from anndata import AnnData

import heldout as ho
from tests.helpers.preparations import (
    assert_replayed,
    counts_first_then_normalised,
    counts_first_then_normalised_subset,
    counts_in_a_layer,
    everything,
    everything_subset,
    genes_in_another_order_since,
    hvg,
    later,
    log,
    pca,
    pca_of_some_genes,
    pca_then_fewer_genes,
    scale,
    scale_counts,
    scale_not_logged,
    to_dense,
    two_pcas,
    x_and_layer,
)

CHAINS = [
    hvg,
    scale,
    scale_not_logged,
    scale_counts,
    pca,
    pca_of_some_genes,
    everything,
    everything_subset,
    pca_then_fewer_genes,
    two_pcas,
    counts_in_a_layer,
    counts_first_then_normalised,
    counts_first_then_normalised_subset,
    genes_in_another_order_since,
]
chains = pytest.mark.parametrize("prepare", CHAINS, ids=[chain.__name__ for chain in CHAINS])


@chains
def test_later_cells_get_what_they_would_have_got(whole, new, prepare):
    prepare(whole)
    assert ho.pp.replay(new, whole) is None
    assert_replayed(new, whole)


@chains
def test_genes_in_another_order_and_genes_that_nobody_knows(whole, new, prepare):
    prepare(whole)
    unknown = AnnData(new.X[:, :20] * 3, obs=new.obs, layers={"counts": new.X[:, :20]})
    unknown.var_names = [f"UNKNOWN{i}" for i in range(20)]
    new = ad.concat([new, unknown], axis=1, merge="same")
    new = new[:, np.random.default_rng(0).permutation(new.n_vars)].copy()
    ho.pp.replay(new, whole)
    assert_replayed(new, whole)


@pytest.mark.parametrize("prepare", [everything, everything_subset, counts_in_a_layer])
def test_every_kind_of_matrix(whole, new, array_type, prepare):
    for adata in (whole, new):
        adata.X = array_type(adata.X.toarray())
        adata.layers["counts"] = array_type(adata.layers["counts"].toarray())
    prepare(whole)
    ho.pp.replay(new, whole)
    expected = whole[later(whole)]
    np.testing.assert_allclose(to_dense(new.X), to_dense(expected.X), rtol=1e-6)
    np.testing.assert_allclose(new.obsm["X_pca"], expected.obsm["X_pca"], rtol=1e-5, atol=1e-5)
    assert type(new.X) is type(whole.X)


@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_counts_of_another_type(whole, new, dtype):
    everything(whole)
    new.X = new.X.toarray().astype(dtype)
    ho.pp.replay(new, whole)
    np.testing.assert_allclose(new.X, to_dense(whole[later(whole)].X), rtol=1e-6)


def test_a_median_total_is_kept_to_the_last_digit(whole, new):
    for adata in (whole, new):
        adata.X = adata.X * 1013
    log(whole, total=None)
    ho.pp.scale(whole)
    ho.pp.replay(new, whole)
    np.testing.assert_allclose(to_dense(new.X), to_dense(whole[later(whole)].X), rtol=1e-6)


@pytest.mark.parametrize("prepare", [hvg, scale, pca, everything, everything_subset])
def test_cells_that_are_log_normalised_already(whole, new, prepare):
    prepare(whole)
    ho.pp.replay(log(new), whole)
    assert_replayed(new, whole)


@pytest.mark.parametrize("log_first", [False, True])
def test_a_single_cell(whole, new, log_first):
    everything_subset(whole)
    one = (log(new) if log_first else new)[3].copy()
    ho.pp.replay(one, whole)
    expected = whole[one.obs_names]
    np.testing.assert_array_equal(to_dense(one.X), to_dense(expected.X))
    np.testing.assert_allclose(one.obsm["X_pca"], expected.obsm["X_pca"], rtol=1e-6, atol=1e-5)


def test_an_empty_cell_stays_empty(whole, new):
    scale(whole)
    new.X = new.X.toarray()
    new.X[3] = 0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Some cells have zero counts", UserWarning)
        ho.pp.replay(new, whole)
    assert (new.X[3] == 0).all()
    np.testing.assert_array_equal(new.X[4], to_dense(whole[new.obs_names[4]].X)[0])


def test_x_and_a_layer(whole, new):
    x_and_layer(whole)
    new.layers["log"] = log(new).X.copy()
    ho.pp.replay(new, whole)
    assert_replayed(new, whole)
    np.testing.assert_array_equal(to_dense(new.layers["log"]), to_dense(whole[later(whole)].layers["log"]))


def test_a_reference_read_back_from_a_file(whole, new, through_file):
    everything(whole)
    ho.pp.replay(new, through_file(whole))
    assert_replayed(new, whole)
    assert_replayed(through_file(new), whole)


def test_copy_leaves_both_alone(whole, new, unchanged):
    everything_subset(whole)
    with unchanged(whole), unchanged(new):
        replayed = ho.pp.replay(new, whole, copy=True)
    assert_replayed(replayed, whole)


def test_in_place_keeps_the_object_and_its_own_columns(whole, new):
    everything_subset(whole)
    new.obs["mine"] = np.arange(new.n_obs)
    new.uns["mine"] = 5
    ho.pp.replay(new, whole)
    assert_replayed(new, whole)
    assert list(new.obs["mine"]) == list(range(new.n_obs))
    assert new.uns["mine"] == 5
    assert not new.is_view


def test_a_view_becomes_its_own_and_the_parent_stays(whole, new, unchanged):
    everything(whole)
    with unchanged(new):
        view = new[new.obs["day"] == 30]
        ho.pp.replay(view, whole)
    assert not view.is_view
    np.testing.assert_array_equal(to_dense(view.X), to_dense(whole[view.obs_names].X))


@pytest.mark.parametrize("method", ["logistic", "pseudobulk_logistic"])
@pytest.mark.parametrize("prepare", [hvg, everything, everything_subset, counts_in_a_layer])
def test_a_prediction_of_later_cells_is_that_of_the_reference(whole, new, prepare, method):
    prepare(whole)
    ho.tl.genotype(whole, "genotype", method=method)
    ho.pp.replay(new, whole)
    ho.tl.predict(new, reference=whole)
    expected = whole[later(whole)]
    np.testing.assert_allclose(
        new.obsm["genotype_log_probability"], expected.obsm["genotype_log_probability"], rtol=1e-6, atol=1e-6
    )
    assert list(new.obs["genotype_prediction"]) == list(expected.obs["genotype_prediction"])


def test_prediction_without_replay_is_refused(whole, new, unchanged):
    everything(whole)
    ho.tl.genotype(whole, "genotype", method="logistic")
    with unchanged(new), pytest.raises(ValueError, match=r"heldout.pp.replay\(adata, reference\)"):
        ho.tl.predict(new, reference=whole)
