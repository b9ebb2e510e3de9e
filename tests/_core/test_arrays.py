"""Moments against numpy, what describe takes a matrix for, and that nothing is made dense on the way."""

from __future__ import annotations

import tracemalloc

import anndata as ad
import dask
import dask.array as da
import h5py
import numpy as np
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse

import heldout as ho
from heldout._core.arrays import describe, get_matrix, moments, take

DTYPES = ["float32", "float64", "int64"]


def numbers(n: int = 300, p: int = 12) -> np.ndarray:
    """Non-negative whole numbers, mostly zero, with an empty row, an empty column and a constant one."""
    rng = np.random.default_rng(0)
    X = rng.poisson(0.4 * rng.gamma(2, 1, p), size=(n, p)).astype(np.float64)
    X[:, 2], X[:, 3], X[n // 2] = 0, 5, 0
    return X


def with_stored_zeros(X):
    """The same matrix with every third stored entry replaced by a stored zero."""
    X.data[::3] = 0
    return X


def assert_moments(found, X: np.ndarray, rtol: float = 1e-12) -> None:
    assert found.n == len(X)
    np.testing.assert_allclose(found.mean, X.mean(axis=0), rtol=rtol)
    np.testing.assert_allclose(found.var, X.var(axis=0, ddof=1), rtol=rtol, atol=1e-28)
    np.testing.assert_array_equal(found.n_nonzero, (X != 0).sum(axis=0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("masked", [False, True])
def test_moments_are_numpys(array_type, dtype, masked):
    X = numbers().astype(dtype)
    mask = np.random.default_rng(1).random(len(X)) < 0.6 if masked else None
    reference = X.astype(np.float64) if mask is None else X[mask].astype(np.float64)
    assert_moments(moments(array_type(X), mask), reference)


def test_moments_over_many_chunks(array_type):
    X = np.random.default_rng(2).gamma(0.3, size=(9001, 5)) + np.linspace(0, 3, 9001)[:, None]
    mask = np.arange(9001) >= 4500  # the first chunk of rows is masked out as a whole
    assert_moments(moments(array_type(X), mask), X[mask], rtol=1e-10)


def test_moments_in_many_column_blocks(monkeypatch):
    monkeypatch.setattr("heldout._core.arrays._ENTRIES", 100)
    X = numbers()
    assert_moments(moments(sparse.csc_array(X)), X)
    assert_moments(moments(X), X)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix, sparse.csc_array])
def test_stored_zeros_count_as_zeros(kind):
    X = with_stored_zeros(kind(numbers()))
    mask = np.arange(X.shape[0]) % 4 > 0
    assert_moments(moments(X), X.toarray())
    assert_moments(moments(X, mask), X.toarray()[mask])


@pytest.mark.parametrize("offset", [1e4, 1e7])
def test_variance_survives_a_large_offset(array_type, offset):
    X = np.random.default_rng(3).normal(offset, 1, size=(6000, 3))
    np.testing.assert_allclose(moments(array_type(X)).var, X.var(axis=0, ddof=1), rtol=1e-6)


@pytest.mark.parametrize("value", [0.1, 1e-3, 12345.678])
def test_a_constant_column_has_no_variance(array_type, value):
    X = np.full((7000, 2), value)
    X[::2, 1] += 1e-6 * value  # hardly varies, but does
    found = moments(array_type(X))
    assert found.var[0] == 0
    np.testing.assert_allclose(found.var[1], X[:, 1].var(ddof=1), rtol=1e-4)


def test_float32_totals_are_summed_in_float64(array_type):
    X = np.full((5000, 2), 2**24 + 2, dtype=np.float32)
    X[::2, 1] += 4
    found = moments(array_type(X))
    np.testing.assert_array_equal(found.mean, [2**24 + 2, 2**24 + 4])
    np.testing.assert_allclose(found.var, [0, 4 * 5000 / 4999], rtol=1e-6)


def test_one_row_has_a_mean_and_zero_variance(array_type):
    X = numbers()
    mask = np.arange(len(X)) == 7
    found = moments(array_type(X), mask)
    assert found.n == 1
    np.testing.assert_array_equal(found.mean, X[7])
    np.testing.assert_array_equal(found.var, 0)


def test_no_row_gives_zeros(array_type):
    found = moments(array_type(numbers()), np.zeros(300, dtype=bool))
    assert found.n == 0
    for part in (found.mean, found.var, found.n_nonzero):
        np.testing.assert_array_equal(part, 0)


def to_dense(X) -> np.ndarray:
    return X.toarray() if sparse.issparse(X) else X


@pytest.mark.parametrize("rows", [None, np.array([5, 3, 3, 299]), slice(10, 20)], ids=["all", "numbers", "slice"])
@pytest.mark.parametrize("columns", [None, np.array([4, 0, 7]), np.arange(12)], ids=["all", "some", "in order"])
def test_take_is_numpys_indexing(array_type, rows, columns):
    X = numbers()
    matrix = array_type(X)
    found = take(matrix, rows, columns)
    expected = X[slice(None) if rows is None else rows][:, slice(None) if columns is None else columns]
    np.testing.assert_array_equal(to_dense(found), expected)
    assert type(found) is type(matrix)


def test_take_of_everything_copies_nothing(array_type):
    X = array_type(numbers())
    assert take(X, None, None) is X
    assert take(X, None, np.arange(12)) is X


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
def test_describe_counts(array_type, dtype):
    state = describe(array_type(numbers().astype(dtype)))
    assert (state.kind, state.total) == ("counts", None)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("total", [1e4, 1e6, 2500, 62])
@pytest.mark.parametrize("log", [False, True])
def test_describe_recovers_the_total(lmna, array_type, dtype, total, log):
    sc.pp.normalize_total(lmna, target_sum=total)
    X = lmna.X.toarray().astype(dtype)
    state = describe(array_type(np.log1p(X) if log else X))
    assert state.kind == ("lognormalised" if log else "normalised")
    assert state.total == total


def test_describe_keeps_the_digits_of_a_median_total(lmna):
    lmna.X = lmna.X.toarray() * 1013
    median = float(np.median(lmna.X.sum(axis=1)))
    assert median != float(f"{median:.4g}")
    sc.pp.normalize_total(lmna)
    sc.pp.log1p(lmna)
    assert describe(lmna.X).total == pytest.approx(median, rel=1e-6)


def test_describe_a_single_cell(lmna):
    sc.pp.normalize_total(lmna, target_sum=1e4)
    sc.pp.log1p(lmna)
    state = describe(lmna.X[:1])
    assert (state.kind, state.total) == ("lognormalised", 1e4)
    assert describe(np.array([[0.5, 0.25, 3.1]])).kind == "other"  # any one cell agrees with itself


def test_describe_equal_rows_as_one_cell(array_type):
    X = np.tile(np.array([0.5, 0.25, 3.1]), (5, 1))
    X[2] = 0
    assert describe(array_type(X)).kind == "other"


def test_describe_equal_sums_of_logged_values_as_other(array_type):
    """Effects that add up to 0 leave the sum of a cell as it was."""
    rng = np.random.default_rng(0)
    X = rng.uniform(1, 9, 30) + rng.permuted(np.tile(np.linspace(-0.9, 0.9, 30), (40, 1)), axis=1)
    assert describe(array_type(X)).kind == "other"
    assert describe(array_type(100 * X)).kind == "normalised"  # no logarithm is so large
    assert describe(array_type(X / X.sum(axis=1, keepdims=True))).kind == "normalised"  # shares
    counts = rng.poisson(1.0, (40, 30)) + (np.arange(30) < 2)
    assert describe(array_type(counts / counts.sum(axis=1, keepdims=True) * 62.5)).kind == "normalised"


def test_describe_other_and_centred(lmna, array_type):
    sc.pp.normalize_total(lmna, target_sum=1e4)
    sc.pp.log1p(lmna)
    X = lmna.X.toarray()
    assert describe(array_type(X[:, ::3])).kind == "other"  # genes dropped since: no common total any more
    assert describe(array_type(np.sqrt(X))).kind == "other"
    assert describe(array_type(np.where(X > 7, -X, X))).kind == "centred"


def test_describe_sees_empty_cells_as_harmless(lmna, array_type):
    sc.pp.normalize_total(lmna, target_sum=1e4)
    X = lmna.X.toarray()
    X[::5] = 0
    assert describe(array_type(X)).kind == "normalised"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_describe_refuses_what_is_not_finite(array_type, bad):
    X = numbers()
    X[250, 3] = bad
    with pytest.raises(ValueError, match=r"layers\['a'\] has NaN or infinite values.*np.isfinite"):
        describe(array_type(X), name="layers['a']")


def test_describe_refuses_nothing_but_zeros(array_type):
    with pytest.raises(ValueError, match="All values of adata.X are zero"):
        describe(array_type(np.zeros((5, 4))))
    X = sparse.csr_matrix(np.ones((5, 4)))
    X.data[:] = 0
    with pytest.raises(ValueError, match="All values of adata.X are zero"):
        describe(X)


def test_get_matrix_says_what_is_supported(lmna):
    with pytest.raises(ValueError, match=r"layer='cooo' is not in adata.layers. It has no entries."):
        get_matrix(lmna, "cooo")
    lmna.layers["coo"] = lmna.X
    with pytest.raises(ValueError, match=r"layer='cooo' is not in adata.layers. Did you mean 'coo'"):
        get_matrix(lmna, "cooo")
    lmna.X = None
    with pytest.raises(ValueError, match="adata.X is None"):
        get_matrix(lmna)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array])
def test_nothing_is_made_dense(kind):
    X = kind(sparse.random(20_000, 1000, density=0.1, format="csr", dtype=np.float32, random_state=0))
    dense_size = X.shape[0] * X.shape[1] * 4
    mask = np.arange(X.shape[0]) % 3 > 0
    tracemalloc.start()
    try:
        moments(X, mask)
        describe(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.6 * dense_size


def damaged(fault, kind="csr", dtype=np.int32):
    """A matrix that scipy accepts when it is read from a file, because it does not check indices."""
    X = sparse.random(30, 8, density=0.4, format=kind, random_state=0, dtype=np.float32)
    X.indices, X.indptr = X.indices.astype(dtype), X.indptr.astype(dtype)
    where, position, value = fault
    getattr(X, where)[position] = value
    return X


FAULTS = {
    "index too high": ("indices", 3, 10**6),
    "index below zero": ("indices", 3, -1),
    "pointers decrease": ("indptr", 2, 10**5),
    "first pointer": ("indptr", 0, 4),
    "last pointer": ("indptr", -1, 10**6),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("kind", ["csr", "csc"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_indices_outside_the_matrix_are_refused_before_use(fault, kind, dtype):
    adata = AnnData(np.ones((30, 8), dtype=np.float32))
    adata.layers["foreign"] = damaged(fault, kind, dtype)
    with pytest.raises(ValueError, match=r"adata\.layers\['foreign'\] is not a valid sparse matrix.*Read or download"):
        get_matrix(adata, "foreign")


def test_an_index_beyond_32_bits_does_not_wrap_around():
    adata = AnnData(np.ones((30, 8), dtype=np.float32))
    adata.layers["foreign"] = damaged(("indices", 3, 2**32), "csr", np.int64)  # as a 32-bit integer it would be 0
    with pytest.raises(ValueError, match=f"'indices' has {2**32}"):
        get_matrix(adata, "foreign")


def test_a_block_of_a_dask_array_is_checked():
    block = damaged(FAULTS["index too high"])
    X = da.from_delayed(dask.delayed(lambda: block)(), shape=block.shape, dtype=block.dtype, meta=block[:0])
    with pytest.raises(ValueError, match="A block of the dask array is not a valid sparse matrix"):
        moments(X)


def test_a_file_with_a_wrong_index_ends_in_an_error_and_not_the_process(tmp_path):
    adata = AnnData(sparse.random(60, 20, density=0.4, format="csr", random_state=0, dtype=np.float32))
    adata.obs["donor"] = [f"D{i % 6}" for i in range(60)]
    adata.obs["label"] = [f"{i % 2}" for i in range(60)]
    adata.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        file["X/indices"][5] = 2**30
    read = ad.read_h5ad(tmp_path / "a.h5ad")
    ho.pp.split_groups(read, "donor", "label", val=0, test=0.4)
    for call in (
        lambda: ho.tl.genotype(read, "label", group_key="donor"),
        lambda: ho.pp.pca(read),
        lambda: ho.pp.scale(read),
        lambda: ho.pp.highly_variable_genes(read, 5),
    ):
        with pytest.raises(ValueError, match="adata.X is not a valid sparse matrix"):
            call()
    table = ho.tl.audit(read, items=["duplicates", "nuisance"]).set_index("item")
    for item in ("duplicates", "nuisance"):
        assert table.loc[item, "status"] == "not run"
        assert "not a valid sparse matrix" in table.loc[item, "finding"]
