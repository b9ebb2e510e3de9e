"""Splits where the matrix is not in memory: it is never read."""

import anndata as ad
import dask.array as da
import h5py
import mudata as md
import numpy as np
import pytest
from scipy import sparse

import heldout as ho
from heldout._core.partition import read_partition
from heldout.get import split_table
from heldout.pp import split_from

SPLITS = {
    "groups": lambda a, **kw: ho.pp.split_groups(a, "library", "genotype", val=0.2, test=0.2, **kw),
    "matched": lambda a, **kw: ho.pp.split_matched(a, "library", "day", label_key="genotype", test=19, val=0, **kw),
    "assigned": lambda a, **kw: ho.pp.split_assigned(a, "day", train=[0, 2], val=[4], test=[19], **kw),
    "perturbations": lambda a, **kw: ho.pp.split_perturbations(a, "library", control="GSM8325046", **kw),
    "cells": lambda a, **kw: ho.pp.split_cells(a, **kw),
}


@pytest.fixture(params=SPLITS.values(), ids=SPLITS.keys())
def make(request):
    return request.param


def explode(block):
    msg = "X was read"
    raise AssertionError(msg)


@pytest.fixture
def never_read(monkeypatch):
    """From the call on, reading any dataset of an HDF5 file is an error."""

    def arm():
        monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda self, at: explode(at))
        monkeypatch.setattr(h5py.Dataset, "__array__", lambda self, *args, **kwargs: explode(self))

    yield arm
    monkeypatch.undo()


@pytest.fixture
def backed(lmna, tmp_path):
    """The simulation, its matrix left in the file."""
    lmna.write_h5ad(tmp_path / "lmna.h5ad")
    adata = ad.read_h5ad(tmp_path / "lmna.h5ad", backed="r")
    yield adata
    adata.file.close()


@pytest.fixture
def lazy(lmna):
    """The simulation with a dask array of csr chunks that cannot be computed."""
    X = da.from_array(np.zeros(lmna.shape, dtype=np.float32), chunks=(100, -1))
    meta = sparse.csr_matrix((0, 0), dtype=np.float32)
    return ad.AnnData(da.map_blocks(explode, X, dtype=np.float32, meta=meta), obs=lmna.obs, var=lmna.var)


def assert_same_split(found, expected):
    one, two = read_partition(found), read_partition(expected)
    assert (one.hash, one.codes.tolist(), one.scheme, one.params) == (
        two.hash,
        two.codes.tolist(),
        two.scheme,
        two.params,
    )


# --- backed ---------------------------------------------------------------------------------------------------------


def test_the_matrix_of_the_backed_tests_cannot_be_read(backed, never_read):
    never_read()
    with pytest.raises(AssertionError, match="X was read"):
        backed.X[:]


def test_a_backed_anndata(make, backed, lmna, never_read):
    make(lmna)
    never_read()
    make(backed)
    assert backed.isbacked
    assert_same_split(backed, lmna)
    assert ho.get.split(backed).equals(ho.get.split(lmna))


def test_a_backed_anndata_in_memory_later(make, backed, lmna):
    make(lmna)
    make(backed)
    assert_same_split(backed.to_memory(), lmna)
    assert_same_split(backed[::2].to_memory(), lmna[::2])


def test_a_published_split_on_a_backed_anndata(backed, lmna, never_read):
    ho.pp.split_cells(lmna)
    never_read()
    split_from(backed, split_table(lmna))
    assert_same_split(backed, lmna)
    assert split_table(backed).equals(split_table(lmna))


def test_the_split_of_a_backed_anndata_reaches_its_file(make, lmna, tmp_path):
    path = tmp_path / "lmna.h5ad"
    lmna.write_h5ad(path)
    make(lmna)
    backed = ad.read_h5ad(path, backed="r+")
    make(backed)
    backed.write()
    backed.file.close()
    assert_same_split(ad.read_h5ad(path), lmna)


def test_a_copy_of_a_backed_anndata_is_refused_by_anndata(make, backed):
    with pytest.raises(ValueError, match="in backed mode"):
        make(backed, copy=True)
    assert "split" not in backed.obs
    assert "heldout" not in backed.uns


def test_a_view_of_a_backed_anndata_is_refused_by_anndata(make, backed):
    view = backed[::-1]
    with pytest.raises(ValueError, match="in backed mode"):
        make(view)
    assert "split" not in backed.obs
    assert "heldout" not in backed.uns


# --- dask -----------------------------------------------------------------------------------------------------------


def test_the_matrix_of_the_dask_tests_cannot_be_computed(lazy):
    with pytest.raises(AssertionError, match="X was read"):
        lazy.X.compute(scheduler="synchronous")


def test_a_dask_backed_anndata(make, lazy, lmna):
    make(lmna)
    make(lazy)
    assert isinstance(lazy.X, da.Array)
    assert_same_split(lazy, lmna)
    assert ho.get.split(lazy).equals(ho.get.split(lmna))


def test_a_view_and_a_copy_of_a_dask_backed_anndata(make, lazy, lmna):
    make(lmna)
    changed = make(lazy, copy=True)
    assert isinstance(changed.X, da.Array)
    assert "split" not in lazy.obs
    assert_same_split(changed, lmna)
    assert_same_split(changed[lmna.obs["day"] != 0], lmna[lmna.obs["day"] != 0])


def test_a_published_split_on_a_dask_backed_anndata(lazy, lmna):
    ho.pp.split_cells(lmna)
    split_from(lazy, split_table(lmna))
    assert_same_split(lazy, lmna)
    assert split_table(lazy).equals(split_table(lmna))


# --- MuData ---------------------------------------------------------------------------------------------------------


def two_modalities(rna):
    protein = ad.AnnData(np.ones((rna.n_obs, 2), dtype=np.float32), obs=rna.obs[[]].copy())
    protein.var_names = ["CD3", "CD4"]
    return md.MuData({"rna": rna, "protein": protein})


def test_a_modality_of_a_mudata_by_itself(make, lmna):
    mdata = two_modalities(lmna)
    columns = [*mdata.obs.columns]
    make(mdata["rna"])
    assert read_partition(mdata["rna"]).counts()["train"] > 0
    assert [*mdata.obs.columns] == columns
    assert "split" not in mdata["protein"].obs
