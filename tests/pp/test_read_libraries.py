"""Libraries into a store: the same cells, genes and counts as read with scanpy, from every form of file."""

from __future__ import annotations

import os
import subprocess
import sys

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import heldout as ho
from heldout.reading import _store
from tests.helpers.libraries_on_disk import FORMS, IDS, LIMITS, SYMBOLS, barcodes, counts, mtx, write_folder, write_h5

OPEN = {"min_genes": None, "max_genes": None, "max_pct_mito": None, "n_cells": None}


@pytest.fixture
def sheet(tmp_path):
    """Three 10x folders with metadata."""
    paths = [write_folder(tmp_path / f"lib{i}", i) for i in range(3)]
    return pd.DataFrame({"library": ["a", "b", "c"], "path": paths, "day": [0, 2, 2], "genotype": ["x", "y", "x"]})


def read(sheet, tmp_path, **arguments):
    return ho.pp.read_libraries(sheet, tmp_path / "out.zarr", **{**LIMITS, **arguments})


def by_hand(sheet: pd.DataFrame) -> ad.AnnData:
    """What scanpy users write, without the draw of cells."""
    parts = {}
    for library, path in zip(sheet["library"], sheet["path"], strict=True):
        part = sc.read_10x_mtx(path)
        part.var["mt"] = part.var_names.str.startswith("MT-")
        sc.pp.calculate_qc_metrics(part, qc_vars=["mt"], percent_top=None, log1p=False, inplace=True)
        fine = part.obs["n_genes_by_counts"].between(10, 45) & (part.obs["pct_counts_mt"] <= 20)
        parts[library] = part[fine].copy()
        parts[library].obs_names = library + "_" + parts[library].obs_names
    return ad.concat(parts, label="library", merge="same")


def test_the_same_as_scanpy_in_memory(sheet, tmp_path):
    adata, expected = read(sheet, tmp_path, n_cells=None), by_hand(sheet)
    assert list(adata.obs_names) == list(expected.obs_names)
    assert list(adata.var_names) == list(expected.var_names)
    X = adata.X.compute()
    assert isinstance(X, sparse.csr_matrix)
    assert X.dtype == np.float32
    np.testing.assert_array_equal(X.toarray(), expected.X.toarray())
    for name in ("n_genes_by_counts", "total_counts", "pct_counts_mt"):
        np.testing.assert_allclose(adata.obs[name], expected.obs[name], rtol=1e-6)
    assert adata.obs["library"].tolist() == expected.obs["library"].tolist()
    of_library = sheet.set_index("library")
    assert adata.obs["day"].tolist() == of_library["day"][adata.obs["library"]].tolist()
    assert adata.obs["genotype"].tolist() == of_library["genotype"][adata.obs["library"]].tolist()
    assert adata.var["gene_ids"].tolist() == IDS.tolist()
    assert adata.var["gene_symbols"].tolist() == SYMBOLS.tolist()
    assert adata.var["mt"].sum() == 4


def test_cells_that_are_not_drawn_are_said(sheet, tmp_path, caplog):
    adata = read(sheet, tmp_path, n_cells=5)
    counts = ho.get.libraries(adata)
    lost = counts["not_drawn"].sum()
    assert lost > 0
    assert f"{lost} of {lost + counts['kept'].sum()} cells that passed quality control were not drawn" in caplog.text
    caplog.clear()
    ho.pp.read_libraries(sheet, tmp_path / "all.zarr", **{**LIMITS, "n_cells": None})
    assert "not drawn" not in caplog.text


def test_any_anndata_reads_the_store(sheet, tmp_path):
    adata = read(sheet, tmp_path)
    whole = ad.io.read_zarr(tmp_path / "out.zarr")
    np.testing.assert_array_equal(whole.X.toarray(), adata.X.compute().toarray())
    pd.testing.assert_frame_equal(whole.obs, adata.obs)
    assert ho.get.libraries(whole).equals(ho.get.libraries(adata))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_file_gives_the_same(form, tmp_path):
    sheet = {f"l{i}": FORMS[form](tmp_path, i) for i in range(2)}
    adata = read(sheet, tmp_path, **OPEN)
    np.testing.assert_array_equal(adata.X.compute().toarray(), sparse.vstack([counts(0), counts(1)]).toarray())
    assert list(adata.obs_names) == [f"l{i}_{barcode}" for i in range(2) for barcode in barcodes(i)]
    assert adata.var["gene_ids"].tolist() == IDS.tolist()


def test_the_order_of_entries_does_not_matter(tmp_path):
    """Cell Ranger 2 lists genes downwards; others list gene by gene; R declares whole numbers as real."""
    header, *lines = mtx(counts(0)).decode().split("\n%\n")[1].strip().split("\n")
    shuffled = list(np.random.default_rng(0).permutation(lines))
    top = "%%MatrixMarket matrix coordinate integer general\n%\n"
    texts = {
        "down": top + "\n".join([header, *lines[::-1]]),  # without a line end at the end
        "shuffled": top + "\r\n".join([header, *shuffled]) + "\n\n",
        "real": top.replace("integer", "real") + "\n".join([header, *(line + ".0" for line in shuffled)]) + "\n",
    }
    for name, text in texts.items():
        folder = write_folder(tmp_path / name, 0, matrix=text.encode())
        adata = ho.pp.read_libraries({"a": folder}, tmp_path / f"{name}.zarr", **OPEN)
        np.testing.assert_array_equal(adata.X.compute().toarray(), counts(0).toarray())


def test_a_line_may_be_cut_by_the_window(tmp_path, monkeypatch):
    from heldout.reading import _tenx

    monkeypatch.setattr(_tenx, "_WINDOW", 7)
    adata = ho.pp.read_libraries({"a": write_folder(tmp_path / "a", 0)}, tmp_path / "a.zarr", **OPEN)
    np.testing.assert_array_equal(adata.X.compute().toarray(), counts(0).toarray())


@pytest.mark.parametrize("chunk", [97, 1000])
def test_libraries_end_anywhere_in_a_chunk(chunk, sheet, tmp_path, monkeypatch):
    monkeypatch.setattr(_store, "CHUNK", chunk)
    adata = read(sheet, tmp_path, **OPEN, n_jobs=1)
    expected = sparse.vstack([counts(i) for i in range(len(sheet))]).toarray()
    np.testing.assert_array_equal(adata.X.compute().toarray(), expected)


def test_counts_of_what_was_dropped_and_why(sheet, tmp_path):
    table = ho.get.libraries(read(sheet, tmp_path))
    assert table["library"].tolist() == ["a", "b", "c"]
    assert (table["n_found"] == 40).all()
    for i, row in table.iterrows():
        X = counts(i).toarray()
        genes, mito = (X > 0).sum(axis=1), 100 * X[:, -4:].sum(axis=1) / X.sum(axis=1)
        few, many = genes < 10, genes > 45
        assert row["few_genes"] == few.sum() > 0
        assert row["many_genes"] == many.sum() > 0
        assert row["high_mito"] == ((mito > 20) & ~few & ~many).sum() > 0
        assert row["not_drawn"] == 40 - row[["few_genes", "many_genes", "high_mito"]].sum() - 20 > 0
        assert row["kept"] == 20


def test_the_draw_is_that_of_subsample(sheet, tmp_path):
    drawn = read(sheet, tmp_path, rng=3)
    every = ho.pp.read_libraries(sheet, tmp_path / "every.zarr", **{**LIMITS, "n_cells": None})
    every = ad.AnnData(every.X.compute(), obs=every.obs, var=every.var)
    ho.pp.subsample(every, "library", 20, rng=3)
    assert list(drawn.obs_names) == list(every.obs_names)
    np.testing.assert_array_equal(drawn.X.compute().toarray(), every.X.toarray())
    other = ho.pp.read_libraries(sheet, tmp_path / "other.zarr", **LIMITS, rng=4)
    assert list(drawn.obs_names) != list(other.obs_names)


def test_union_and_intersection_of_genes(tmp_path):
    """Library b lacks five genes, has them in another order, and two of its own."""
    order = np.random.default_rng(0).permutation(55)
    ids = np.concatenate([IDS[5:][order], ["ENSG1x", "ENSG2x"]])
    symbols = np.concatenate([SYMBOLS[5:][order], ["NEW", "MT-NEW"]])
    sheet = {"a": write_folder(tmp_path / "a", 0), "b": write_folder(tmp_path / "b", 1, ids=ids, symbols=symbols)}
    tables = {
        "a": pd.DataFrame(counts(0).toarray(), columns=IDS),
        "b": pd.DataFrame(counts(1, n_genes=57).toarray(), columns=ids),
    }
    for genes, join in (("union", "outer"), ("intersection", "inner")):
        adata = ho.pp.read_libraries(sheet, tmp_path / f"{genes}.zarr", genes=genes, var_names="gene_ids", **OPEN)
        expected = pd.concat(tables.values(), join=join).fillna(0)
        assert set(adata.var_names) == set(expected.columns)
        np.testing.assert_array_equal(adata.X.compute().toarray(), expected[adata.var_names])
    assert adata.n_vars == 55
    assert (adata.var["n_libraries"] == 2).all()
    union = ho.pp.read_libraries(sheet, tmp_path / "union.zarr", genes="union", var_names="gene_ids", **OPEN)
    assert union.var.loc["ENSG2x", ["n_libraries", "mt", "gene_symbols"]].tolist() == [1, True, "MT-NEW"]


def test_other_feature_types(tmp_path, caplog):
    types = ["Gene Expression"] * 58 + ["CRISPR Guide Capture"] * 2
    path = write_folder(tmp_path / "a", 0, types=types)
    adata = ho.pp.read_libraries({"a": path}, tmp_path / "gex.zarr", **OPEN)
    np.testing.assert_array_equal(adata.X.compute().toarray(), counts(0)[:, :58].toarray())
    every = ho.pp.read_libraries({"a": path}, tmp_path / "all.zarr", gex_only=False, **OPEN)
    np.testing.assert_array_equal(every.X.compute().toarray(), counts(0).toarray())
    assert every.var["feature_types"].tolist() == types
    pd.testing.assert_frame_equal(every.obs, adata.obs)  # quality is that of the genes


def test_sheets(sheet, tmp_path):
    """A csv with paths relative to it, and mappings."""
    relative = sheet.assign(path=[path.name for path in sheet["path"]])
    relative.to_csv(tmp_path / "sheet.csv", index=False)
    first = read(tmp_path / "sheet.csv", tmp_path)
    for number, other in enumerate(
        [sheet, sheet.to_dict("list"), dict(zip(sheet["library"], sheet["path"], strict=True))]
    ):
        adata = ho.pp.read_libraries(other, tmp_path / f"{number}.zarr", **LIMITS)
        assert list(adata.obs_names) == list(first.obs_names)
    assert first.obs["genotype"].dtype == "category"
    assert first.obs["day"].dtype == np.int64


def test_the_same_call_opens_the_store(sheet, tmp_path, monkeypatch):
    first = read(sheet, tmp_path)
    monkeypatch.setattr("heldout.reading._libraries.read_counts", None)  # nothing is read again
    again = read(sheet, tmp_path)
    assert list(again.obs_names) == list(first.obs_names)
    np.testing.assert_array_equal(again.X.compute().toarray(), first.X.compute().toarray())
    for words, arguments in (("n_cells=20", {"n_cells": 5}), ("2 libraries", {})):
        if not arguments:
            monkeypatch.undo()
            read(sheet[:2], tmp_path, overwrite=True)
        with pytest.raises(ValueError, match=words):
            read(sheet, tmp_path, **arguments)


def test_qc_is_drawn(sheet, tmp_path):
    adata = read(sheet, tmp_path)
    ax = ho.pl.qc(adata)
    table = ho.get.libraries(adata)
    assert ax.get_title(loc="left") == "60 of 120 cells kept"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    assert sum(bar.get_width() for bar in ax.patches) == table["n_found"].sum()
    assert [text.get_text() for text in ax.get_legend().get_texts()][0] == "kept"
    plt.close("all")
    with pytest.raises(ValueError, match="read_libraries"):
        ho.pl.qc(ad.AnnData(np.ones((2, 2))))


def test_the_accessor_does_not_offer_what_needs_no_adata(lmna):
    assert not hasattr(lmna.ho.pp, "read_libraries")
    assert "read_libraries" not in repr(lmna.ho.pp)


def test_real_barcodes_stay_readable(sheet, tmp_path):
    """The audit finds the cell barcodes in the names of the cells."""
    adata = read(sheet, tmp_path)
    found = adata.obs_names.to_series().str.extract(r"(?<![A-Za-z])([ACGT]{12,18})(?![A-Za-z])", expand=False)
    assert found.notna().all()


def test_ten_x_h5_reads_as_scanpy_reads_it(tmp_path):
    path = write_h5(tmp_path / "a.h5", 0)
    adata = ho.pp.read_libraries({"a": path}, tmp_path / "a.zarr", **OPEN)
    with pytest.warns(UserWarning, match="not unique"):
        expected = sc.read_10x_h5(path)
    np.testing.assert_array_equal(adata.X.compute().toarray(), expected.X.toarray())
    assert adata.var["gene_ids"].tolist() == expected.var["gene_ids"].tolist()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_reads_many_chunks(tmp_path, monkeypatch):
    """The threads that take chunks are not copied by a fork; who waits for them waits for ever."""
    monkeypatch.setattr(_store, "CHUNK", 256)
    adata = ho.pp.read_libraries({"a": write_folder(tmp_path / "a", 0)}, tmp_path / "o.zarr", **LIMITS)
    total = adata.X.compute().sum()
    code = f"""
import os, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from heldout.reading._store import open_lazily
X = open_lazily(Path({str(tmp_path / "o.zarr")!r}), rows=10**6).X
assert X.compute(scheduler="synchronous").sum() == {total}
child = os.fork()
if not child:
    os._exit(0 if X.compute(scheduler="synchronous").sum() == {total} else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_damaged_chunk_is_named(tmp_path):
    adata = ho.pp.read_libraries({"a": write_folder(tmp_path / "a", 0)}, tmp_path / "o.zarr", **LIMITS)
    chunk = next((tmp_path / "o.zarr" / "X" / "data" / "c").iterdir())
    chunk.write_bytes(chunk.read_bytes()[:40] + bytes(40))
    with pytest.raises(OSError, match=r"Rows 0 to .* of .*o.zarr cannot be read .* damaged"):
        adata.X.compute()


def test_a_store_that_was_made_anew_is_read_anew(tmp_path):
    first = ho.pp.read_libraries({"a": write_folder(tmp_path / "a", 0)}, tmp_path / "o.zarr", **LIMITS)
    before = first.X.compute().sum()
    again = ho.pp.read_libraries({"b": write_folder(tmp_path / "b", 3)}, tmp_path / "o.zarr", overwrite=True, **LIMITS)
    assert again.X.compute().sum() == again.obs["total_counts"].sum() != before
    assert again.X.name != first.X.name
