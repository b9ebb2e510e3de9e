"""Moments of groups of cells, against numpy group by group."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from heldout._core import grouped
from heldout._core.arrays import is_dask
from heldout._core.grouped import group_moments
from tests.helpers.properties import properties


def by_hand(X, codes, k):
    """Mean and variance of each group, by numpy's own."""
    mean, var = (np.full((k, X.shape[1]), np.nan) for _ in range(2))
    for g in range(k):
        rows = X[codes == g].astype(np.float64)
        if len(rows):
            mean[g] = rows.mean(axis=0)
        if len(rows) > 1:
            var[g] = rows.var(axis=0, ddof=1)
    return mean, var


def counts(n=200, p=15, seed=0):
    rng = np.random.default_rng(seed)
    return rng.poisson(0.7, (n, p)).astype(np.float32), rng.integers(-1, 6, n)


def check(found, X, codes, k, columns=None):
    mean, var = by_hand(X if columns is None else X[:, columns], codes, k)
    np.testing.assert_array_equal(found.n, np.bincount(codes[codes >= 0], minlength=k))
    np.testing.assert_allclose(found.mean, mean, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(found.var, var, rtol=1e-10, atol=1e-13)


def to_dask(X, array_type, rows):
    """Dask array with these numbers of rows in its blocks, each of the given kind."""
    bounds = np.cumsum([0, *rows])
    blocks = [array_type(X[a:b]) for a, b in zip(bounds, bounds[1:], strict=False)]
    return da.concatenate([da.from_array(block, chunks=block.shape, asarray=False) for block in blocks])


@pytest.mark.parametrize("columns", [None, [3, 0, 11], []])
def test_equals_numpy(array_type, columns):
    X, codes = counts()
    columns = None if columns is None else np.array(columns, dtype=int)
    check(group_moments(array_type(X), codes, 8, columns=columns), X, codes, 8, columns)


@pytest.mark.parametrize("columns", [None, [3, 0, 11]])
@pytest.mark.parametrize("rows", [[200], [1, 99, 100], [50, 50, 50, 50]])
def test_dask_equals_numpy(array_type, rows, columns):
    X, codes = counts()
    columns = None if columns is None else np.array(columns)
    check(group_moments(to_dask(X, array_type, rows), codes, 8, columns=columns), X, codes, 8, columns)


def test_dask_in_stripes_of_columns():
    X, codes = counts()
    lazy = da.from_array(X, chunks=(70, 4))
    check(group_moments(lazy, codes, 8), X, codes, 8)
    columns = np.array([14, 2, 3])
    check(group_moments(lazy, codes, 8, columns=columns), X, codes, 8, columns)


def test_dask_of_unknown_chunks():
    X, codes = counts()
    lazy = da.from_array(X, chunks=(70, 15))
    unknown = lazy[da.from_array(codes, chunks=70) >= 0]
    assert np.isnan(unknown.chunks[0]).all()
    check(group_moments(unknown, codes[codes >= 0], 8), X[codes >= 0], codes[codes >= 0], 8)
    with pytest.raises(ValueError, match="codes has 200 entries, but X has .* rows"):
        group_moments(unknown, codes, 8)


def test_dask_blocks_are_computed_one_at_a_time_and_only_where_wanted():
    X, codes = counts()
    codes[70:140] = -1
    seen = []

    def spy(block, block_info=None):
        seen.append(block_info[0]["array-location"][0])
        return block

    lazy = da.from_array(X, chunks=(70, 15)).map_blocks(spy, dtype=X.dtype, meta=X[:0])
    seen.clear()
    check(group_moments(lazy, codes, 8), X, codes, 8)
    assert seen == [(0, 70), (140, 200)]


def test_without_variance(array_type):
    X, codes = counts()
    for matrix in (array_type(X), to_dask(X, array_type, [80, 120])):
        found = group_moments(matrix, codes, 8, var=False)
        assert found.var is None
        np.testing.assert_allclose(found.mean, by_hand(X, codes, 8)[0], rtol=1e-12)


@pytest.mark.parametrize("kind", ["dense", "csr", "csc", "dask"])
def test_small_variance_on_a_large_offset(kind, monkeypatch):
    monkeypatch.setattr(grouped, "_ROWS", 64)  # groups in several parts
    monkeypatch.setattr(grouped, "_ENTRIES", 64 * 5)
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 3, 3000)
    X = rng.standard_normal((3000, 5)) + np.array([0, 1e4, 1e8])[codes][:, None]
    make = {
        "dense": np.array,
        "csr": sparse.csr_array,
        "csc": sparse.csc_array,
        "dask": lambda X: to_dask(X, sparse.csr_array, [1000, 17, 1983]),
    }[kind]
    mean, var = by_hand(X, codes, 3)
    found = group_moments(make(X), codes, 3)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.var[:2], var[:2], rtol=1e-10)
    np.testing.assert_allclose(found.var[2], var[2], rtol=1e-6)  # E[x²] − E[x]² has no digit right here


def test_a_constant_gene_varies_by_nothing(array_type):
    X = np.full((300, 2), 0.1, dtype=np.float32)
    codes = np.arange(300) % 2
    assert (group_moments(array_type(X), codes, 2).var == 0).all()


def test_what_cannot_be_said_is_nan(array_type):
    found = group_moments(array_type(np.ones((3, 2))), np.array([0, 2, 2]), 4)
    assert found.n.tolist() == [1, 0, 2, 0]
    assert np.isnan(found.mean).all(axis=1).tolist() == [False, True, False, True]
    assert np.isnan(found.var).all(axis=1).tolist() == [True, True, False, True]


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_matrix])
def test_an_entry_stored_in_parts_is_one_value(make):
    row, column, data = np.array([0, 0, 1, 2]), np.array([1, 1, 0, 1]), np.array([1.0, 2.0, 5.0, 1.0])
    whole = sparse.coo_matrix((data, (row, column)), shape=(3, 2)).toarray()
    parts = make((3, 2))
    order = np.argsort(row if make is sparse.csr_matrix else column, kind="stable")
    parts.indices = (column if make is sparse.csr_matrix else row)[order].astype(np.int32)
    parts.data = data[order]
    counted = np.bincount(row if make is sparse.csr_matrix else column, minlength=3 if make is sparse.csr_matrix else 2)
    parts.indptr = np.append(0, np.cumsum(counted)).astype(np.int32)
    check(group_moments(parts, np.array([0, 0, 0]), 1), whole, np.zeros(3, int), 1)
    assert parts.nnz == 4


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, bool, np.float64])
def test_other_numbers(array_type, dtype):
    X, codes = counts()
    X = np.minimum(X, 1).astype(dtype)
    check(group_moments(array_type(X), codes, 6), X, codes, 6)


def test_the_matrix_is_left_alone(array_type):
    X, codes = counts()
    matrix = array_type(X)
    group_moments(matrix, codes, 6)
    np.testing.assert_array_equal(matrix.toarray() if sparse.issparse(matrix) else matrix, X)


def test_codes_are_checked():
    with pytest.raises(ValueError, match="codes must be < n_groups=2, got 2"):
        group_moments(np.ones((3, 2)), np.array([0, 1, 2]), 2)
    with pytest.raises(ValueError, match="codes has 2 entries, but X has 3 rows"):
        group_moments(np.ones((3, 2)), np.array([0, 1]), 2)


def test_more_groups_than_small_codes_can_count(array_type):
    X, codes = counts()
    check(group_moments(array_type(X), codes.astype(np.int8), 200), X, codes, 200)


def test_no_dask_array():
    assert not is_dask(np.ones(3))
    assert is_dask(da.ones(3))


@properties(60)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 40),
    k=st.integers(1, 6),
    density=st.sampled_from([0.0, 0.1, 1.0]),
    kind=st.sampled_from([np.array, sparse.csr_matrix, sparse.csc_array]),
    cut=st.floats(0, 1),
)
def test_any_groups(seed, n, k, density, kind, cut):
    rng = np.random.default_rng(seed)
    X = np.round(rng.gamma(1, 10, (n, 4)), 2) * (rng.random((n, 4)) < density)
    codes = rng.integers(-1, k, n)
    check(group_moments(kind(X), codes, k), X, codes, k)
    first = int(cut * n)
    check(group_moments(to_dask(X, kind, [r for r in (first, n - first) if r]), codes, k), X, codes, k)
