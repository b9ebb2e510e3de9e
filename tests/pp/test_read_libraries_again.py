"""The second call with the same ``out``: what changed is seen, and nothing that the function has not made is lost."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pytest
import zarr
from anndata import read_zarr

import heldout as ho
from tests.helpers.libraries_on_disk import FORMS, LIMITS, as_anndata, barcodes, counts, mtx, write_folder


@pytest.fixture
def sheet(tmp_path):
    paths = [write_folder(tmp_path / name, i) for i, name in enumerate("ab")]
    return pd.DataFrame({"library": list("ab"), "path": paths, "genotype": ["control", "patient"], "day": [1, 2]})


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(sheet, out, *words, **arguments):
    """The call fails with all these words, and every file below the folder of ``out`` is as before."""
    before = contents(out.parent)
    with pytest.raises(ValueError, match=words[0]) as caught:
        ho.pp.read_libraries(sheet, out, **LIMITS, **arguments)
    for word in words:
        assert word in str(caught.value)
    assert contents(out.parent) == before


def interrupted(sheet, out):
    """Leave a partial store with the first library, because the second has a fraction."""
    write_folder(out.parent / "b", 1, matrix=b"\n".join([*mtx(counts(1)).strip().split(b"\n")[:-1], b"60 40 1.5\n"]))
    with pytest.raises(ValueError, match="1 libraries are complete"):
        ho.pp.read_libraries(sheet, out, **LIMITS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"genotype": ["patient", "control"]}, ["'genotype'", "'control' for library 'a', now 'patient'"]),
        ({"day": [1, 3]}, ["'day'", "'2' for library 'b', now '3'"]),
        ({"day": [1, np.nan]}, ["'day'", "now 'nan'"]),
        ({"batch": ["x", "x"]}, ["columns", "'batch'"]),
        ({"genotype": None}, ["columns", "'genotype'"]),
    ],
)
def test_a_changed_sheet_is_seen(change, words, sheet, tmp_path):
    out = tmp_path / "o.zarr"
    ho.pp.read_libraries(sheet, out, **LIMITS)
    assert ho.pp.read_libraries(sheet, out, **LIMITS).n_obs == 40
    changed = sheet.assign(**change).dropna(axis=1, how="all")
    refused(changed, out, *words, "overwrite=True")
    again = ho.pp.read_libraries(changed, out, overwrite=True, **LIMITS)
    assert set(again.obs.columns) >= set(changed.columns) - {"path"}


def test_a_sheet_with_missing_values_opens_its_store(sheet, tmp_path):
    sheet = sheet.assign(genotype=["control", None], day=[0.5, np.nan], used=[True, False])
    for _ in range(2):
        assert ho.pp.read_libraries(sheet, tmp_path / "o.zarr", **LIMITS).n_obs == 40


@pytest.mark.parametrize("complete", [True, False])
def test_changed_barcodes_and_features_are_seen(complete, sheet, tmp_path):
    """Also where the matrix is the same file."""
    out = tmp_path / "o.zarr"
    if not complete:
        interrupted(sheet, out)
        write_folder(tmp_path / "b", 1)
    else:
        ho.pp.read_libraries(sheet, out, **LIMITS)
    for name, old, new in (("barcodes", barcodes(0)[3], "ACGT-1"), ("features", "GENE3\t", "OTHER\t")):
        path = tmp_path / "a" / f"{name}.tsv.gz"
        before = path.read_bytes()
        path.write_bytes(gzip.compress(gzip.decompress(before).replace(old.encode(), new.encode())))
        refused(sheet, out, "library 'a'", "counts, barcodes or features have changed", "overwrite=True")
        path.write_bytes(before)
    assert ho.pp.read_libraries(sheet, out, **LIMITS).n_obs == 40


def test_overwrite_replaces_only_what_the_function_has_made(sheet, tmp_path):
    group = zarr.open_group(tmp_path / "mine" / "o.zarr", mode="w")
    group.create_array("precious", shape=(3,), dtype="f4")[:] = 1
    as_anndata(0).write_zarr(tmp_path / "other" / "o.zarr")
    processed = ho.pp.read_libraries(sheet, tmp_path / "store.zarr", **LIMITS)
    processed.layers["raw"] = processed.X
    processed.write_zarr(tmp_path / "processed" / "o.zarr")  # uns has the record of the store
    ho.pp.read_libraries(sheet, tmp_path / "noted" / "o.zarr", **LIMITS)
    (tmp_path / "noted" / "o.zarr" / "notes.txt").write_text("mine")
    for name in ("mine", "other", "processed", "noted"):
        refused(sheet, tmp_path / name / "o.zarr", "has not made it", "Choose another name", overwrite=True)


def test_a_source_is_not_replaced(tmp_path):
    path = FORMS["zarr"](tmp_path / "raw", 0)
    store = ho.pp.read_libraries({"a": path}, tmp_path / "raw" / "store.zarr", **LIMITS)
    for source, out in (
        (path, path),
        (path, path / "obs" / "o.zarr"),
        (tmp_path / "raw" / "store.zarr", tmp_path / "raw" / "store.zarr"),
    ):
        refused({"a": source}, out, "would replace or change a file of library 'a'", overwrite=True)
    (tmp_path / "link.zarr").symlink_to(path)
    refused({"a": path}, tmp_path / "link.zarr", "would replace or change", overwrite=True)
    partial = write_folder(tmp_path / "out" / "o.zarr.partial", 1)
    refused({"a": partial}, tmp_path / "out" / "o.zarr", "would replace or change", overwrite=True)
    assert read_zarr(tmp_path / "raw" / "store.zarr").n_obs == store.n_obs


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize(
    "files",
    [
        {"thesis.txt": "mine"},
        {"journal.json": json.dumps({"day": 1})},
        {"journal.json": "not JSON"},
        {"library_00000.npz": "mine"},
        {"journal.json": json.dumps({"config": {}, "done": []}), "thesis.txt": "mine"},
        {"journal.json": json.dumps({"config": {}, "done": []}), "store/thesis.txt": "mine"},
    ],
)
def test_a_folder_with_the_name_of_a_partial_store_is_not_removed(files, overwrite, sheet, tmp_path):
    for name, text in files.items():
        path = tmp_path / "out" / "o.zarr.partial" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    words = ["not what an interrupted read_libraries leaves", "Move or remove it"]
    refused(sheet, tmp_path / "out" / "o.zarr", *words, overwrite=overwrite)


def test_a_partial_store_is_replaced(sheet, tmp_path):
    interrupted(sheet, tmp_path / "o.zarr")
    store = ho.pp.read_libraries(sheet[:1], tmp_path / "o.zarr", overwrite=True, **LIMITS)
    assert store.n_obs == 20
    assert not (tmp_path / "o.zarr.partial").exists()
