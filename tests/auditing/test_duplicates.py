"""The audit finds the same cell under two names, and takes no coincidence for one."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from heldout.auditing._rowhash import is_telling, row_hashes, weights_of
from heldout.auditing.duplicates import duplicates
from tests.helpers.leaks import by_library, case_of, real, simulated, with_copies


def cells(adata, **options):
    return duplicates(case_of(adata, **options))[0]


def barcodes(adata, **options):
    (found,) = [f for f in duplicates(case_of(adata, **options)) if f.subject == "barcodes"]
    return found


@pytest.mark.parametrize(
    "load", [simulated, lambda: real("kang"), lambda: real("onek1k")], ids=["lmna", "kang", "onek1k"]
)
@pytest.mark.parametrize("n", [0, 7])
def test_copies_are_counted(load, n):
    adata = load()
    adata = with_copies(adata, n) if n else adata
    by_library(adata)
    found = cells(adata)
    assert found.value == n
    assert found.status == ("fail" if n else "pass")
    if n:
        copy, original = found.finding.split("e.g. ")[1].split(",")[0].split(" is ")
        assert (adata[copy].X != adata[original].X).nnz == 0


def test_each_matrix_type(any_array_type):
    adata = with_copies(simulated(200, 30), 5)
    adata.X = any_array_type(adata.X.toarray())
    by_library(adata)
    assert cells(adata).value == 5


def test_scaled_values():
    adata = with_copies(simulated(200, 30), 5)
    X = adata.X.toarray()
    adata.X = ((X - X.mean(0)) / (X.std(0) + 1e-6)).astype(np.float32)
    by_library(adata)
    found = cells(adata)
    assert found.status == "fail"
    assert found.value == 5


def test_the_same_genes_with_other_values():
    adata = with_copies(simulated(), 6, change=lambda X, _: X * 1.7)
    by_library(adata)
    found = cells(adata)
    assert found.value == 6
    assert "other values" in found.finding


def test_cells_too_simple_to_tell():
    adata = with_copies(simulated(), 6, change=lambda X, _: X.multiply(np.arange(X.shape[1]) < 2))
    few = adata.X.tolil()
    few[:6] = few[-6:]
    adata.X = few.tocsr()
    by_library(adata)
    found = cells(adata)
    assert found.status == "pass"


def test_low_depth_coincidences_do_not_alarm():
    """Kang, some three molecules a cell: pairs that are equal by chance are no copies."""
    adata = real("kang")
    total = np.asarray(adata.X.sum(axis=1)).ravel()
    keep = np.repeat(np.minimum(1, 3 / total), np.diff(adata.X.indptr))
    adata.X.data = np.random.default_rng(0).binomial(adata.X.data.astype(int), keep).astype(np.float32)
    adata.X.eliminate_zeros()
    by_library(adata)
    found = cells(adata)
    assert found.status == "pass"
    assert "too few genes" in found.finding


def test_copies_in_val_only_warn():
    adata = with_copies(simulated(), 8)
    by_library(adata)
    adata.obs["mine"] = adata.obs["split"].astype(str).replace({"test": "val"})
    adata.obs.loc[adata.obs_names[:3], "mine"] = "test"
    test, val = duplicates(case_of(adata, split_key="mine"))[:2]
    assert test.status == "pass"
    assert val.status == "warn"
    assert val.value == 8


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_hash_is_of_the_row_alone(seed):
    rng = np.random.default_rng(seed)
    X = rng.poisson(0.7, (12, 9)).astype(rng.choice([np.float32, np.float64, np.int64]))
    X[7] = X[2]
    csr = sparse.csr_matrix(X)
    for row in range(12):  # neither the order of the entries nor zeros that are stored count
        part = slice(csr.indptr[row], csr.indptr[row + 1])
        order = rng.permutation(part.stop - part.start)
        csr.indices[part], csr.data[part] = csr.indices[part][order], csr.data[part][order]
    stored = sparse.coo_matrix(X + 1).tocsr()
    stored.data -= 1
    kinds = [X, csr, sparse.csc_array(X), stored]
    values = [row_hashes(kind).values for kind in kinds]
    for found in values:
        np.testing.assert_array_equal(found, values[0])
    equal = (X[:, None] == X[None]).all(-1)
    np.testing.assert_array_equal(values[0][:, None] == values[0][None], equal)
    pattern = row_hashes(csr).genes
    np.testing.assert_array_equal(pattern[:, None] == pattern[None], ((X > 0)[:, None] == (X > 0)[None]).all(-1))


def test_chance_bound_is_one_where_all_genes_are_always_there():
    weights = weights_of(np.full(30, 100), 100)
    assert not is_telling(np.ones(30), weights, n_pairs=1)
    assert is_telling(np.arange(1.0, 31), weights, n_pairs=1)


def named(adata, shared, n=400, length=16, seed=0):
    """Random barcodes; ``shared`` of those of the first library are also in the second."""
    rng = np.random.default_rng(seed)
    names = ["".join(row) for row in rng.choice(list("ACGT"), (adata.n_obs, length))]
    libraries = np.sort(adata.obs["library"].unique())
    first, second = (np.flatnonzero(adata.obs["library"] == library) for library in libraries[:2])
    for i in range(shared):
        names[second[i]] = names[first[i]]
    adata.obs_names = [f"{library}_{name}-1" for library, name in zip(adata.obs["library"], names, strict=True)]
    by_library(adata)
    return adata


@pytest.mark.parametrize(("shared", "status"), [(0, "pass"), (5, "pass"), (12, "warn"), (60, "fail")])
def test_shared_barcodes(shared, status):
    found = barcodes(named(simulated(150, 100), shared))
    assert found.status == status
    if shared > 10:
        assert f"share {shared} barcodes (" in found.finding
        assert found.value == pytest.approx(shared / 100)


def test_chance_sharing_of_large_libraries_is_expected():
    rng = np.random.default_rng(0)
    whitelist = np.array(["".join(row) for row in rng.choice(list("ACGT"), (737_280 // 8, 16))])
    n = 3000  # against an eighth of the list the same share as large libraries against all of it
    picks = [rng.choice(whitelist, n, replace=False) for _ in range(4)]
    obs = pd.DataFrame({"library": np.repeat(list("abcd"), n)})
    obs.index = [f"{x}-{i}" for i, part in enumerate(picks) for x in part]
    adata = ad.AnnData(sparse.csr_matrix(rng.poisson(1, (4 * n, 12)).astype(np.float32)), obs=obs)
    by_library(adata)
    found = barcodes(adata)
    assert found.status == "warn"  # 98 shared where 12 are expected of the full list
    assert "expected" in found.finding


def test_names_without_barcodes_and_no_groups():
    adata = simulated(150, 30)
    adata.obs_names = [f"cell{i}" for i in range(adata.n_obs)]
    by_library(adata)
    assert barcodes(adata).status == "not run"
    assert barcodes(adata, group_key=()).status == "not run"


def test_barcodes_of_real_libraries():
    adata = real("kang")
    by_library(adata)
    assert barcodes(adata).status == "pass"
