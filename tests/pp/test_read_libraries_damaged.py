"""Files whose matrix is damaged inside: each ends in an error that names the library, and nothing is stored."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import zarr

import heldout as ho
from tests.helpers.libraries_on_disk import FORMS, LIMITS, as_anndata, counts, mtx, write_folder

N_CELLS, N_GENES, N_ENTRIES = 40, 60, counts(0).nnz


def put(name, at, value):
    def alter(group):
        group[name][at] = value

    return alter


def replace(name, values, **stored):
    def alter(group):
        del group[name]
        group.create_dataset(name, data=values, **stored)

    return alter


DAMAGES = {
    "index beyond": (put("indices", 3, 10**6), "'indices' has 1000000, but must be in [0, 59]"),
    "index negative": (put("indices", 3, -5), "'indices' has -5"),
    "pointer falls": (put("indptr", 5, 2**30), "'indptr' must increase from 0"),
    "pointer negative": (put("indptr", 5, -(2**30)), "'indptr' must increase from 0"),
    "first pointer": (put("indptr", 0, 7), "'indptr' must increase from 0"),
    "last pointer": (put("indptr", -1, N_ENTRIES - 1), "'indptr' must increase from 0"),
    "pointers missing": (replace("indptr", np.zeros(5, np.int32)), "'indptr' has 5 entries, but must have 41"),
    "indices missing": (replace("indices", np.zeros(5, np.int32)), "'indices' has 5"),
    "indices of fractions": (replace("indices", np.zeros(N_ENTRIES)), "'indices' has the type float64"),
    "data in two dimensions": (replace("data", np.ones((N_ENTRIES, 1))), "'data' is not an array with one dimension"),
    "data without end": (
        replace("data", None, shape=(10**14,), dtype=np.float64, chunks=(1000,)),
        "'data' has 100000000000000 entries",
    ),
}


NUMBERS = ("index beyond", "pointer falls")
CASES = [
    *((damage, form) for form in ("h5", "h5ad") for damage in DAMAGES),
    *((damage, form) for form in ("zarr", "csc") for damage in NUMBERS),
]


@pytest.mark.parametrize(("damage", "form"), CASES)
def test_a_damaged_matrix_is_refused(damage, form, tmp_path):
    alter, words = DAMAGES[damage]
    if form == "csc":
        adata = as_anndata(0)
        adata.X = adata.X.tocsc()
        adata.write_h5ad(path := tmp_path / "0.h5ad")
        words = words.replace("[0, 59]", "[0, 39]")
    else:
        path = FORMS[form](tmp_path, 0)
    if form == "zarr":
        alter(zarr.open_group(path, mode="r+")["X"])
    else:
        with h5py.File(path, "r+") as root:
            alter(root["matrix" if form == "h5" else "X"])
    with pytest.raises(ValueError, match="library 'a'") as caught:
        ho.pp.read_libraries({"a": path}, tmp_path / "o.zarr", **LIMITS)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "o.zarr").exists()


def test_a_csc_matrix_is_read(tmp_path):
    adata = as_anndata(0)
    rows = FORMS["h5ad"](tmp_path, 0)
    adata.X = adata.X.tocsc()
    adata.write_h5ad(tmp_path / "csc.h5ad")
    by_row, by_column = (
        ho.pp.read_libraries({"a": path}, tmp_path / f"{i}.zarr", **LIMITS)
        for i, path in enumerate([rows, tmp_path / "csc.h5ad"])
    )
    np.testing.assert_array_equal(by_row.X.compute().toarray(), by_column.X.compute().toarray())


@pytest.mark.parametrize("form", ["h5", "dense"])
def test_a_matrix_of_another_size_takes_no_memory(form, tmp_path):
    path = FORMS[form](tmp_path, 0)
    with h5py.File(path, "r+") as root:
        if form == "h5":
            root["matrix/shape"][:] = [N_GENES, 10**14]
        else:
            attributes = dict(root["X"].attrs)
            del root["X"]
            root.create_dataset("X", shape=(10**7, 10**7), dtype=np.float64, chunks=(10, 10)).attrs.update(attributes)
    with pytest.raises(ValueError, match=r"library 'a'.*its matrix has 10{7,14} cells"):
        ho.pp.read_libraries({"a": path}, tmp_path / "o.zarr", **LIMITS)


@pytest.mark.parametrize("field", ["integer", "real"])
def test_a_header_with_too_many_entries_takes_no_memory(field, tmp_path):
    """A text file cannot have more entries than a sixth of its bytes."""
    X = counts(0)
    for n, words in ((10**12, "only 2400 pairs"), (N_GENES * N_CELLS, "too short for them")):
        matrix = mtx(X, field).replace(f"60 40 {X.nnz}".encode(), f"60 40 {n}".encode())
        path = write_folder(tmp_path / str(n), 0, matrix=b"\n".join(matrix.split(b"\n")[:40]), gz=False)
        with pytest.raises(ValueError, match=words):
            ho.pp.read_libraries({"a": path}, tmp_path / "o.zarr", **LIMITS)


def test_a_store_that_was_damaged_later(tmp_path):
    """A gene number outside the matrix is found when the block is read, before it reaches a compiled loop."""
    adata = ho.pp.read_libraries({"a": FORMS["h5ad"](tmp_path, 0)}, tmp_path / "o.zarr", **LIMITS)
    indices = zarr.open_group(tmp_path / "o.zarr", mode="r+")["X"]["indices"]
    indices[:3] = 10**6
    with pytest.raises(OSError, match="'indices' has 1000000.*store may be damaged"):
        adata.X.compute()
