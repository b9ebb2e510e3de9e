"""Audit, fits, predictions and evaluation over dask arrays; training visits each train cell once an epoch."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import heldout as ho
from heldout._core import streaming
from heldout._core.blocks import BatchBlocks
from tests.helpers.lazy import lazy
from tests.helpers.properties import properties


@pytest.fixture
def pair(split):
    """Prepared cells, in memory and as a dask array."""
    dask = lazy(split, rows=53)
    for adata in (split, dask):
        ho.pp.recipe_karpe26(adata, n_top_genes=60)
    assert isinstance(dask.X, da.Array)
    return split, dask


@pytest.mark.parametrize("method", ["majority", "qc_logistic", "pseudobulk_logistic", "logistic"])
def test_baselines_and_evaluation(pair, method):
    memory, dask = pair
    for adata in pair:
        ho.tl.genotype(adata, "genotype", method=method)
        ho.tl.predict(adata)
        ho.tl.evaluate(adata, baselines=["majority", "pseudobulk_logistic"], n_bootstrap=20)
    assert isinstance(dask.X, da.Array)
    one, other = (adata.obsm["genotype_log_probability"] for adata in pair)
    np.testing.assert_allclose(other, one, atol=2e-2)  # L-BFGS stops where it stops
    one, other = (ho.get.evaluation(adata) for adata in pair)
    pd.testing.assert_frame_equal(one, other, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("kind", ["dense", "csr_matrix"])
def test_audit(split, kind):
    dask = lazy(split, kind, rows=53)
    for prepared in (False, True):
        memory = split.copy()
        if prepared:
            for adata in (memory, dask):
                ho.pp.recipe_karpe26(adata, n_top_genes=60)
        for adata in (memory, dask):
            ho.tl.audit(adata, group_key="library", label_key="genotype", covariate_keys=["day"])
        pd.testing.assert_frame_equal(ho.get.audit(memory), ho.get.audit(dask), rtol=1e-4, atol=1e-4)


def test_a_planted_copy_is_found(split):
    dense = split.X.toarray()
    train, test = (np.flatnonzero(split.obs["split"] == name) for name in ("train", "test"))
    dense[test[3]] = dense[train[5]]
    split.X = dense
    dask = lazy(split)
    ho.tl.audit(dask, items=["duplicates"], group_key="library", label_key="genotype")
    assert "fail" in ho.get.audit(dask)["status"].tolist()


def test_network_learns_from_the_store(pair):
    """As good as in memory; the same seed gives the same network; what is not asked for is refused."""
    config = ho.model.MLPConfig(max_epochs=4, n_hidden=16, batch_size=32)
    memory, dask = pair
    for adata in (memory, dask):
        ho.tl.genotype(adata, "genotype", auxiliary_key="day", config=config)
    one, other = (ho.get.history(adata, "genotype")["train_loss"].to_numpy() for adata in pair)
    assert other[-1] < 0.95 * other[0]
    np.testing.assert_allclose(other, one, rtol=0.1)
    first = dask.obsm["genotype_log_probability"].copy()
    ho.tl.genotype(dask, "genotype", auxiliary_key="day", config=config)
    np.testing.assert_array_equal(first, dask.obsm["genotype_log_probability"])
    with pytest.raises(ValueError, match="memory"):
        ho.tl.genotype(dask, "genotype", method="attention")


@properties(40)
@given(
    n=st.integers(1, 120),
    chunk=st.integers(1, 40),
    batch_size=st.sampled_from([2, 7, 32]),
    pool=st.sampled_from([1, 3, 32]),
    share=st.floats(0.05, 1),
    seed=st.integers(0, 5),
)
def test_each_row_once_an_epoch(n, chunk, batch_size, pool, share, seed):
    rows = np.flatnonzero(np.random.default_rng(seed).random(n) < share)
    if not len(rows):
        rows = np.array([0])
    X = da.from_array(np.arange(n, dtype=np.float32)[:, None], chunks=(chunk, 1)).map_blocks(
        sparse.csr_matrix, dtype=np.float32, meta=sparse.csr_matrix((0, 1), dtype=np.float32)
    )
    beside = {"labels": np.arange(n)}
    old, streaming.POOL = streaming.POOL, pool
    try:
        for own_seed in (None, seed):
            streamed = streaming.StreamedBlocks(X, rows, beside, batch_size, seed=own_seed)
            like = BatchBlocks(np.arange(n)[:, None], rows, beside, batch_size, seed=own_seed)
            for _ in range(2):
                parts = list(streamed)
                assert len(parts) == len(streamed) == len(like)
                batches = [batch for part in parts for batch in part]
                seen = np.concatenate([batch["labels"].numpy() for batch in batches])
                np.testing.assert_array_equal(np.concatenate([b["X"].numpy().ravel() for b in batches]), seen)
                assert [len(b["labels"]) for b in batches] == [len(b["labels"]) for part in like for b in part]
                if own_seed is None:
                    np.testing.assert_array_equal(seen, rows)
                else:
                    assert len(seen) == len(set(seen)) >= len(rows) - 1
                    assert set(seen) <= set(rows)
    finally:
        streaming.POOL = old
