"""Dask arrays: block by block the same as in memory."""

from __future__ import annotations

import anndata as ad
import dask.array as da
import numpy as np
import pytest
import scanpy as sc
from dask import config
from scipy import sparse

import heldout as ho
from heldout._core.arrays import describe, get_matrix, moments
from heldout._core.fits import read_fit
from heldout._core.lazy import block_rows, over_blocks
from tests.helpers.lazy import BLOCKS, lazy


def in_memory(X):
    X = X.compute() if isinstance(X, da.Array) else X
    return X.toarray() if sparse.issparse(X) else X


@pytest.fixture(params=BLOCKS)
def kind(request):
    return request.param


@pytest.fixture
def pair(split, kind):
    """Split counts, in memory and as a dask array; one block has no train cell."""
    return split, lazy(split, kind)


def logged(pair, kind="csr_matrix"):
    """Both log-normalised; of the kinds that scanpy does not take, before they become lazy."""
    memory, dask = pair
    for adata in (memory, dask) if kind == "csr_matrix" else (memory,):
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
    return memory, dask if kind == "csr_matrix" else lazy(memory, kind)


def test_moments_and_state(pair, kind):
    memory, dask = pair
    mask = (memory.obs["split"] == "train").to_numpy()
    for one, other in zip(
        vars(moments(memory.X, mask)).values(), vars(moments(get_matrix(dask, dask=True), mask)).values(), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    assert describe(dask.X) == describe(memory.X)
    memory, dask = logged(pair, kind)
    assert describe(dask.X).kind == describe(memory.X).kind == "lognormalised"
    broken = memory.X.toarray()
    broken[300, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        describe(lazy(ad.AnnData(broken)).X)


@pytest.mark.parametrize("flavor", ["variance", "seurat", "seurat_v3"])
def test_highly_variable_genes(pair, kind, flavor):
    if kind != "csr_matrix" and flavor == "seurat":
        pytest.skip("scanpy takes no sparse arrays and no csc blocks here")
    memory, dask = pair if flavor == "seurat_v3" else logged(pair, kind)
    for adata in (memory, dask):
        ho.pp.highly_variable_genes(adata, n_top_genes=40, flavor=flavor)
    assert isinstance(dask.X, da.Array)
    assert dask.var["highly_variable"].equals(memory.var["highly_variable"])
    np.testing.assert_allclose(dask.var["highly_variable_rank"], memory.var["highly_variable_rank"])
    for name in ("highly_variable_score", "means", "variances"):
        np.testing.assert_allclose(dask.var[name], memory.var[name], rtol=1e-5, atol=1e-6)


def test_scale(pair, kind):
    memory, dask = logged(pair, kind)
    for adata in (memory, dask):
        ho.pp.scale(adata, max_value=2)
    assert isinstance(dask.X, da.Array)
    assert dask.X.dtype == memory.X.dtype == dask.X.compute().dtype
    np.testing.assert_allclose(in_memory(dask.X), in_memory(memory.X), rtol=1e-5)
    with pytest.raises(ValueError, match="scaled before"):
        ho.pp.scale(dask)


def test_scale_with_centring(split):
    split.X = split.X.toarray()
    sparse_blocks = lazy(split)
    memory, dask = logged((split, None), "dense")
    for adata in (memory, dask):
        ho.pp.scale(adata, max_value=2, zero_center=True)
    np.testing.assert_allclose(in_memory(dask.X), in_memory(memory.X), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="dense"):
        ho.pp.scale(sparse_blocks, zero_center=True)


def test_pca(pair, kind):
    memory, dask = logged(pair, kind)
    for adata in (memory, dask):
        ho.pp.highly_variable_genes(adata, n_top_genes=60)
        ho.pp.pca(adata, n_comps=10)
    np.testing.assert_allclose(dask.obsm["X_pca"], memory.obsm["X_pca"], atol=1e-4)
    np.testing.assert_allclose(read_fit(dask, "X_pca").arrays["variance"], read_fit(memory, "X_pca").arrays["variance"])


def test_pca_of_many_genes_is_refused(split, monkeypatch):
    monkeypatch.setattr("heldout.pp._pca._WIDE", 100)
    with pytest.raises(ValueError, match="150 genes are too many"):
        ho.pp.pca(lazy(split), n_comps=3)


def test_subsample_and_splits(pair):
    memory, dask = pair
    for adata in (memory, dask):
        ho.pp.subsample(adata, "library", 11)
        ho.pp.split_groups(adata, "library", label_key="genotype", key_added="groups")
        ho.pp.split_cells(adata, key_added="cells")
        ho.pp.split_time(adata, "day", test=30, key_added="time")
        ho.pp.folds(adata, "library", n_folds=3, label_key="genotype", key_added="fold")
    assert isinstance(dask.X, da.Array)
    assert dask.obs.equals(memory.obs)
    np.testing.assert_array_equal(in_memory(dask.X), in_memory(memory.X))
    assert ho.get.split(dask).equals(ho.get.split(memory))


def test_replay(pair, kind):
    memory, dask = pair
    new = memory[::7].copy()
    del new.obs["split"], new.uns["heldout"]
    lazy_new = lazy(new)
    memory, dask = logged(pair, kind)
    for adata, cells in ((memory, new), (dask, lazy_new)):
        ho.pp.highly_variable_genes(adata, n_top_genes=40, subset=True)
        ho.pp.scale(adata)
        ho.pp.replay(cells, adata)
    assert isinstance(lazy_new.X, da.Array)
    np.testing.assert_allclose(in_memory(lazy_new.X), in_memory(new.X), rtol=1e-5)


def test_recipe_is_the_four_steps(pair):
    memory, dask = pair
    steps = memory.copy()
    sc.pp.normalize_total(steps, target_sum=1e4)
    sc.pp.log1p(steps)
    ho.pp.highly_variable_genes(steps, n_top_genes=40, subset=True)
    ho.pp.scale(steps, max_value=3)
    for adata in (memory, dask):
        assert ho.pp.recipe_karpe26(adata, n_top_genes=40, max_value=3) is None
        assert adata.var["highly_variable_rank"].equals(steps.var["highly_variable_rank"])
        np.testing.assert_allclose(adata.var["variances"], steps.var["variances"], rtol=1e-5)
        np.testing.assert_allclose(in_memory(adata.X), in_memory(steps.X), rtol=1e-5)
        assert ho.get.fits(adata)["method"].equals(ho.get.fits(steps)["method"])
    assert isinstance(dask.X, da.Array)


def test_recipe_takes_counts_only(pair, kind):
    memory, dask = pair
    for value, words in ((0.5, "not integers"), (-1, "below zero"), (np.inf, "infinite")):
        dense = in_memory(memory.X).copy()
        dense[350, 4] = value
        wrong = memory.copy()
        wrong.X = dense
        for adata in (wrong, lazy(wrong, kind)):
            with pytest.raises(ValueError, match=words if adata is not wrong else "."):
                ho.pp.recipe_karpe26(adata, n_top_genes=40)
            assert adata.n_vars == 150
            assert "highly_variable" not in adata.var
    with pytest.raises(ValueError, match="target_sum"):
        ho.pp.recipe_karpe26(memory, target_sum=0)


def test_blocks_of_columns_are_joined(split):
    dask = lazy(split, "dense")
    dask.X = dask.X.rechunk((50, 40))
    np.testing.assert_allclose(moments(get_matrix(dask, dask=True)).var, moments(split.X).var)


def test_blocks_of_unknown_size_are_refused():
    X = da.ones((20, 3), chunks=(5, 3))
    adata = type("Lazy", (), {"X": X[X[:, 0] > 0], "layers": {}})()
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        get_matrix(adata, dask=True)


def test_results_come_in_order_and_no_more_than_asked_for_is_ahead(split):
    dask = lazy(split, rows=10)
    begun = []

    def noted(block):
        begun.append(len(begun))
        return block.shape[0]

    with config.set(num_workers=1):
        found = over_blocks(dask.X, noted)
        next(found)
        assert len(begun) <= 3
        rows = [slice(0, 10), *(rows for rows, _ in found)]
    assert rows == block_rows(dask.X)
    assert len(begun) == len(rows)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_the_scheduler_that_the_user_has_chosen(split, scheduler):
    with config.set(scheduler=scheduler):
        sums = [n for _, n in over_blocks(lazy(split).X, np.sum)]
    assert sum(sums) == split.X.sum()


def test_an_error_in_a_block_is_the_callers(split):
    def broken(block):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(over_blocks(lazy(split).X, broken))


def test_what_needs_memory_says_how(split):
    with pytest.raises(TypeError, match=r"adata.X is a dask array, .* adata.X = adata.X.compute\(\)"):
        get_matrix(lazy(split))
