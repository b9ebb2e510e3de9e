"""The described side of scipy and dask is what their classes have, and the guards tell matrices apart."""

from __future__ import annotations

from inspect import isfunction

import dask.array as da
import numpy as np
import pytest
from scipy import sparse

from heldout._core.types import DaskArray, Sparse, is_dask, is_sparse

VALUES = np.eye(4, 3, dtype=np.float32)


def described(protocol: type) -> set[str]:
    """Names of the attributes and methods that a protocol asks for."""
    return set(protocol.__annotations__) | {name for name, value in vars(protocol).items() if isfunction(value)} - {
        "__init__",
        "__subclasshook__",
    }


@pytest.mark.parametrize("kind", ["csr_matrix", "csr_array", "csc_matrix", "csc_array"])
def test_sparse(kind):
    X = getattr(sparse, kind)(VALUES)
    assert is_sparse(X)
    assert not is_dask(X)
    assert {"indptr", "tocsr", "shape", "__matmul__"} <= described(Sparse)
    assert [name for name in described(Sparse) if not hasattr(X, name)] == []


@pytest.mark.parametrize("convert", [np.array, sparse.csr_matrix, sparse.csr_array])
def test_dask(convert):
    X = da.from_array(convert(VALUES), chunks=(2, 3))
    assert is_dask(X)
    assert not is_sparse(X)
    assert {"chunks", "_meta", "to_delayed"} <= described(DaskArray)
    assert [name for name in described(DaskArray) if not hasattr(X, name)] == []


@pytest.mark.parametrize("other", [VALUES, VALUES.tolist(), None, "csr"])
def test_neither(other):
    assert not is_sparse(other)
    assert not is_dask(other)
