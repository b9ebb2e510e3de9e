"""A ``dask.distributed`` client in scope computes the blocks: two worker processes, the same result."""

from __future__ import annotations

import os

import dask
import numpy as np
import pytest

import heldout as ho
from heldout._core.lazy import n_workers, over_blocks
from heldout.reading._store import open_lazily
from tests.helpers.libraries_on_disk import LIMITS, write_folder

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def store(tmp_path):
    """Four libraries on disk, of two labels."""
    paths = [write_folder(tmp_path / f"lib{i}", i) for i in range(4)]
    sheet = {"library": list("abcd"), "path": paths, "label": list("xyxy")}
    ho.pp.read_libraries(sheet, tmp_path / "store.zarr", **LIMITS)
    return tmp_path / "store.zarr"


def who(block, rows):
    return os.getpid(), block.shape[0] == len(rows)


def prepared(path):
    adata = open_lazily(path, rows=9)
    ho.pp.split_assigned(adata, "library", train=["a", "b"], test=["c", "d"])
    ho.pp.recipe_karpe26(adata, n_top_genes=20, min_cells=3)
    ho.pp.pca(adata, n_comps=3, mask_var=None)
    ho.tl.genotype(adata, "label", method="pseudobulk_logistic")
    ho.tl.audit(adata, group_key="library", label_key="label", items=["duplicates", "nuisance"])
    return adata


def test_two_worker_processes_give_the_same(store, client):
    with client.as_current():
        X = open_lazily(store, rows=9).X
        assert n_workers() == 2
        found = [result for _, result in over_blocks(X, who, np.arange(X.shape[0]))]
        assert all(right for _, right in found)
        pids = {pid for pid, _ in found}
        assert len(pids) == 2
        assert os.getpid() not in pids
        there = prepared(store)
        X_there = there.X.compute().toarray()
    with dask.config.set(scheduler="threads"):
        here = prepared(store)
        np.testing.assert_allclose(X_there, here.X.compute().toarray(), rtol=1e-6)
    assert there.var_names.equals(here.var_names)
    for name in ("X_pca", "genotype_log_probability"):
        np.testing.assert_allclose(there.obsm[name], here.obsm[name], atol=1e-5)
    assert ho.get.audit(there).equals(ho.get.audit(here))
