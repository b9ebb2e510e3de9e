"""Bad input, and what is left of a store after it: whole libraries, and nothing under the name of the store."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata import AnnData
from anndata.io import write_elem
from scipy import sparse

import heldout as ho
from heldout.reading import _store
from tests.helpers.libraries_on_disk import IDS, LIMITS, as_anndata, barcodes, counts, mtx, write_folder


@pytest.fixture
def good(tmp_path):
    """Two libraries that are read without trouble."""
    return {name: write_folder(tmp_path / name, i) for i, name in enumerate("ab")}


def refused(sheet, out, *words, error=ValueError, **arguments):
    """The call fails with all these words, and no store is there."""
    with pytest.raises(error) as caught:
        ho.pp.read_libraries(sheet, out, **{**LIMITS, **arguments})
    for word in words:
        assert word in str(caught.value)
    assert not out.exists()
    return str(caught.value)


def text(content: bytes, old: bytes, new: bytes) -> bytes:
    assert old in content
    return content.replace(old, new, 1)


def last_line(content: bytes, new: bytes) -> bytes:
    return b"\n".join([*content.strip().split(b"\n")[:-1], new]) + b"\n"


MATRIX = mtx(counts(2))
SIZE = f"60 40 {counts(2).nnz}".encode()
N = counts(2).nnz

BROKEN_MATRICES = {
    "more genes": (text(MATRIX, SIZE, f"61 40 {N}".encode()), ["61 genes", "features.tsv.gz has 60"]),
    "transposed": (text(MATRIX, SIZE, f"40 60 {N}".encode()), ["40 genes and 60 cells", "Transpose"]),
    "fewer entries than said": (text(MATRIX, SIZE, f"60 40 {N + 1}".encode()), [f"has {N + 1} entries", "truncated"]),
    "more entries than said": (text(MATRIX, SIZE, f"60 40 {N - 1}".encode()), [f"has {N - 1} entries", "more"]),
    "more entries than pairs": (text(MATRIX, SIZE, b"60 40 9999999"), ["9999999 entries"]),
    "negative size": (text(MATRIX, SIZE, b"60 40 -1"), ["60 40 -1", "must be >= 0"]),
    "no header": (MATRIX.split(b"\n", 1)[1], ["first line"]),
    "empty": (b"", ["first line"]),
    "no size": (text(MATRIX, SIZE, b"60 forty 3"), ["line 3", "forty"]),
    "symmetric": (text(MATRIX, b"general", b"symmetric"), ["symmetric"]),
    "complex": (text(MATRIX, b"integer", b"complex"), ["'complex'"]),
    "gene beyond": (last_line(MATRIX, b"61 1 3"), ["61 1 3", "beyond", f"line {N + 3}"]),
    "cell beyond": (last_line(MATRIX, b"1 41 3"), ["1 41 3", "beyond"]),
    "zero based": (last_line(MATRIX, b"0 40 3"), ["0 40 3", "beyond"]),
    "fraction": (last_line(MATRIX, b"60 40 1.5"), ["60 40 1.5", "integers"]),
    "negative": (last_line(MATRIX, b"60 40 -1"), ["60 40 -1", "integers"]),
    "two numbers": (last_line(MATRIX, b"60 40"), ["60 40", "three numbers"]),
    "four numbers": (last_line(MATRIX, b"60 40 1 1"), ["60 40 1 1", "three numbers"]),
    "too large": (last_line(MATRIX, b"60 40 99999999999"), ["above 16,777,216"]),
    "twice the same": (last_line(MATRIX, MATRIX.split(b"\n")[3]), ["two entries for one gene of one cell"]),
    "real fractions": (mtx(counts(2) * 0.5, "real"), ["not counts", "0.5"]),
}


@pytest.mark.parametrize("order", ["cell by cell", "any"])
@pytest.mark.parametrize("case", BROKEN_MATRICES)
def test_a_broken_matrix(case, order, good, tmp_path):
    """Also where the entries come in another order, here the first one last but one."""
    matrix, words = BROKEN_MATRICES[case]
    if order == "any" and matrix:
        lines = matrix.split(b"\n")
        matrix = b"\n".join([*lines[:3], *lines[4:-2], lines[3], *lines[-2:]])
    bad = write_folder(tmp_path / "bad", 2, matrix=matrix)
    refused({**good, "bad": bad}, tmp_path / "o.zarr", "library 'bad'", "matrix.mtx.gz", *words)


def test_a_truncated_file(good, tmp_path):
    sheet = {**good, "bad": write_folder(tmp_path / "bad", 2)}
    for name in ("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz"):
        path = tmp_path / "bad" / name
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        refused(sheet, tmp_path / "o.zarr", "library 'bad'", name, "ends in the middle")
        garbled = bytearray(whole)
        garbled[len(whole) // 2 : len(whole) // 2 + 40] = bytes(40)
        path.write_bytes(garbled)
        refused(sheet, tmp_path / "o.zarr", "library 'bad'", name, "cannot be read")
        path.write_bytes(b"no gzip at all")  # it is read as plain text
        refused(sheet, tmp_path / "o.zarr", "library 'bad'", name)
        path.write_bytes(whole)
    assert ho.pp.read_libraries(sheet, tmp_path / "o.zarr", **LIMITS).n_obs == 60


def test_missing_and_repeated_names(good, tmp_path):
    out = tmp_path / "o.zarr"
    cases = {
        "barcodes occur more than once": {"names": np.repeat(barcodes(2)[:20], 2)},
        "gene ids occur more than once": {"ids": np.repeat(IDS[:30], 2)},
        "shares no gene id with 'a'": {"ids": np.char.add("MUS", IDS.astype(str))},
        "39 barcodes": {"X": counts(2), "names": barcodes(2)[:39]},
        "no 'Gene Expression' features": {"types": ["Antibody Capture"] * 60},
    }
    for number, (words, arguments) in enumerate(cases.items()):
        bad = write_folder(tmp_path / f"bad{number}", 2, **arguments)
        refused({**good, "bad": bad}, out, "library 'bad'", words)
    for name in ("features", "barcodes", "matrix"):
        bad = write_folder(tmp_path / f"no_{name}", 2)
        next(bad.glob(f"{name}.*")).unlink()
        refused({**good, "bad": bad}, out, "library 'bad'", name)
    refused({**good, "bad": tmp_path / "nowhere"}, out, "library 'bad'", "does not exist")
    for i in range(2):
        write_folder(tmp_path / "many", i, prefix=f"GSM{i}_")
    refused({"both": tmp_path / "many"}, out, "2 matrices match", "GSM0_")
    other = np.append(IDS[:1], IDS[1:] + "x")
    apart = {"a": good["a"], "b": write_folder(tmp_path / "apart", 1, ids=other, symbols=other)}
    assert ho.pp.read_libraries(apart, tmp_path / "one.zarr", genes="intersection", min_genes=0).n_vars == 1


def test_all_that_is_wrong_is_said_at_once(good, tmp_path):
    bad = write_folder(tmp_path / "bad", 2, names=np.repeat(barcodes(2)[:20], 2))
    said = refused({**good, "bad": bad, "worse": tmp_path / "nowhere"}, tmp_path / "o.zarr", "2 of 4 libraries")
    assert "'bad'" in said
    assert "'worse'" in said
    assert not (tmp_path / "o.zarr.partial").exists()


def test_files_that_are_no_counts(tmp_path):
    adata = as_anndata(0)
    adata.X = adata.X * 0.5
    adata.write_h5ad(tmp_path / "half.h5ad")
    refused({"half": tmp_path / "half.h5ad"}, tmp_path / "o.zarr", "half.h5ad", "not counts", "before normalisation")
    adata.X = sparse.csr_matrix(np.where(adata.X.toarray() > 2, np.nan, 1).astype(np.float32))
    adata.write_h5ad(tmp_path / "nan.h5ad")
    refused({"nan": tmp_path / "nan.h5ad"}, tmp_path / "o.zarr", "nan.h5ad", "NaN")
    twice = counts(0).astype(np.int64)
    twice.indices[1] = twice.indices[0]
    adata.X = twice
    adata.write_h5ad(tmp_path / "twice.h5ad")
    refused({"twice": tmp_path / "twice.h5ad"}, tmp_path / "o.zarr", "twice.h5ad", "two entries for one gene")
    AnnData(obs=adata.obs, var=adata.var).write_h5ad(tmp_path / "none.h5ad")
    refused({"none": tmp_path / "none.h5ad"}, tmp_path / "o.zarr", "none.h5ad", "no X")
    with h5py.File(tmp_path / "none.h5ad", "a") as root:
        root.pop("X", None)
        write_elem(root, "X", None)
    refused({"none": tmp_path / "none.h5ad"}, tmp_path / "o.zarr", "none.h5ad", "no X")
    for name in ("text.h5", "text.h5ad"):
        (tmp_path / name).write_text("not hdf5")
        refused({"text": tmp_path / name}, tmp_path / "o.zarr", "library 'text'", name, "cannot be read")


def test_no_cell_left(good, tmp_path):
    poor = write_folder(tmp_path / "poor", 2, X=sparse.csr_matrix(np.eye(40, 60, dtype=np.int32)))
    refused(
        {**good, "poor": poor}, tmp_path / "o.zarr", "library 'poor'", "no cell is left", "40 few_genes", "min_genes=10"
    )
    empty = write_folder(tmp_path / "empty", 2, X=sparse.csr_matrix((40, 60), dtype=np.int32))
    refused({**good, "empty": empty}, tmp_path / "o.zarr", "library 'empty'", "no cell is left", overwrite=True)


def test_sheets_that_are_unclear(good, tmp_path):
    out = tmp_path / "o.zarr"
    table = pd.DataFrame({"library": list(good), "path": list(good.values())})
    refused(table.drop(columns="path"), out, "no column 'path'")
    refused(table.rename(columns={"library": "Library"}), out, "no column 'library'")
    refused(table[:0], out, "no rows")
    refused(table.assign(library="a"), out, "same library", "'a'")
    refused(table.assign(path=table["path"].iloc[0]), out, "same path")
    refused(table.assign(library=["a", None]), out, "1 of 2 rows")
    refused(table.assign(total_counts=1), out, "'total_counts'", "Rename")
    refused({"library": ["a"]}, out, "mapping")
    refused(tmp_path / "no.csv", out, "no.csv", error=FileNotFoundError)
    refused(3, out, "sheet must be", error=TypeError)
    for wrong in ({"min_genes": -1}, {"max_pct_mito": 120}, {"n_cells": 0}, {"genes": "all"}, {"n_jobs": 0}):
        refused(table, out, next(iter(wrong)), **wrong)
    refused(table, out, "no cell can be kept", min_genes=50, max_genes=40)


def test_a_target_that_cannot_be_written(good, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot be written"):
        ho.pp.read_libraries(good, tmp_path / "file" / "o.zarr", **LIMITS)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="not a zarr store"):
        ho.pp.read_libraries(good, tmp_path / "folder", overwrite=True, **LIMITS)
    as_anndata(0).write_zarr(tmp_path / "other.zarr")
    with pytest.raises(ValueError, match="has not made it"):
        ho.pp.read_libraries(good, tmp_path / "other.zarr", **LIMITS)
    zarr.open_group(tmp_path / "empty.zarr", mode="w")
    with pytest.raises(ValueError, match="has not made it"):
        ho.pp.read_libraries(good, tmp_path / "empty.zarr", **LIMITS)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(_store, "CHUNK", 256)


def test_after_a_broken_library_was_mended(good, tmp_path, small_chunks, monkeypatch):
    """The same call goes on behind the libraries that are whole, and gives what it would have given at once."""
    out = tmp_path / "o.zarr"
    sheet = {**good, "bad": write_folder(tmp_path / "bad", 2, matrix=BROKEN_MATRICES["fraction"][0])}
    said = refused(sheet, out, "2 libraries are complete")
    assert str(tmp_path / "o.zarr.partial") in said
    assert [done["library"] for done in journal(out)] == ["a", "b"]
    n_entries = sum(done["n_entries"] for done in journal(out))
    stored = _store.Building.resume(out)._arrays()["data"].shape[0]
    assert n_entries - 256 < stored <= n_entries
    refused(sheet, out, "begun with other arguments", "n_cells=20", n_cells=30)
    refused({"b": good["b"], **sheet}, out, "library 'a'", "not in this place")

    write_folder(tmp_path / "bad", 2)
    read = []
    from heldout.reading import _libraries as module

    real = module.read_counts
    monkeypatch.setattr(module, "read_counts", lambda source: (read.append(source.library), real(source))[1])
    adata = ho.pp.read_libraries(sheet, out, **LIMITS)
    assert read == ["bad"]
    at_once = ho.pp.read_libraries(sheet, tmp_path / "at_once.zarr", **LIMITS)
    pd.testing.assert_frame_equal(adata.obs, at_once.obs)
    np.testing.assert_array_equal(adata.X.compute().toarray(), at_once.X.compute().toarray())
    assert not (tmp_path / "o.zarr.partial").exists()


def journal(out):
    return json.loads((_store.partial_of(out) / "journal.json").read_text())["done"]


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_full_disk_and_interruption(problem, good, tmp_path, small_chunks, monkeypatch):
    """Whatever write fails, first to last: the call says so, the next one finishes, and the result is the same."""
    whole = ho.pp.read_libraries(good, tmp_path / "whole.zarr", **LIMITS)
    for number, fails_at in enumerate([1, 3, 4, 5, 6, 7]):
        out = tmp_path / f"o{number}.zarr"
        calls = iter(range(1000))
        with monkeypatch.context() as patch:
            for where, name in ((zarr.Array, "__setitem__"), (_store, "_replace")):
                real = getattr(where, name)

                def failing(*arguments, real=real, calls=calls, fails_at=fails_at):
                    if next(calls) == fails_at:
                        raise problem
                    return real(*arguments)

                patch.setattr(where, name, failing)
            with pytest.raises(type(problem)) as caught:
                ho.pp.read_libraries(good, out, **LIMITS)
        if isinstance(problem, OSError):
            assert "No space left on device" in str(caught.value)
        assert not out.exists()
        adata = ho.pp.read_libraries(good, out, **LIMITS)
        pd.testing.assert_frame_equal(adata.obs, whole.obs)
        np.testing.assert_array_equal(adata.X.compute().toarray(), whole.X.compute().toarray())


def test_a_file_that_the_system_will_not_take(tmp_path, monkeypatch):
    """A limit on the size of files stands for a full disk: nothing is simulated but the reason."""
    resource = pytest.importorskip("resource", reason="needs limits of Unix")
    monkeypatch.setattr(_store, "CHUNK", 4096)
    values = np.random.default_rng(0).integers(1, 2**24, 2 * 4096).astype(np.float32)
    X = sparse.csr_matrix((values, np.arange(2 * 4096, dtype=np.int32) % 64, np.arange(0, 2 * 4096 + 1, 64)))
    building = _store.Building.start(tmp_path / "o.zarr", {})
    columns, record = {"names": np.arange(X.shape[0]).astype(str)}, {"library": "a"}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, before[1]))
    try:
        with pytest.raises(OSError, match="os error 27") as caught:
            building.add(X, columns, record)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == 27
    assert journal(tmp_path / "o.zarr") == []
    building.add(X, columns, record)
    assert [done["n_entries"] for done in journal(tmp_path / "o.zarr")] == [2 * 4096]


def test_what_is_no_journal(good, tmp_path):
    folder = tmp_path / "o.zarr.partial"
    folder.mkdir()
    refused(good, tmp_path / "o.zarr", "not what an interrupted read_libraries leaves", "overwrite=True")
    assert ho.pp.read_libraries(good, tmp_path / "o.zarr", overwrite=True, **LIMITS).n_obs == 40
