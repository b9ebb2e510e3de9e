"""Layouts of h5 and h5ad files: counts beside normalised values, Ensembl names, old files, several genomes."""

from __future__ import annotations

import logging

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

import heldout as ho
from tests.helpers.libraries_on_disk import IDS, N_GENES, SYMBOLS, as_anndata, barcodes, counts, write_h5

OPEN = {"min_genes": None, "max_genes": None, "max_pct_mito": None, "n_cells": None}
ENSEMBL = np.array([f"ENSG{i:011d}" for i in range(N_GENES)], dtype=object)


def read(path, tmp_path, **arguments):
    return ho.pp.read_libraries({"a": path}, tmp_path / "o.zarr", **{**OPEN, **arguments})


def same(adata, symbols=SYMBOLS, ids=IDS):
    np.testing.assert_array_equal(adata.X.compute().toarray(), counts(0).toarray())
    assert adata.var["gene_symbols"].tolist() == list(symbols)
    assert adata.var["gene_ids"].tolist() == list(ids)
    assert adata.var["mt"].sum() == 4


def normalised(place):
    adata = as_anndata(0)
    adata.var["gene_symbols"] = SYMBOLS
    if place == "layers/counts":
        adata.layers["counts"] = adata.X.copy()
    else:
        adata.raw = adata.copy()
    adata.X.data = np.log1p(adata.X.data)
    return adata


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
@pytest.mark.parametrize("place", ["layers/counts", "raw/X"])
@pytest.mark.parametrize("dense", [False, True])
def test_counts_beside_normalised_values(place, kind, dense, tmp_path, caplog):
    adata = normalised(place)
    adata.X = adata.X.toarray() if dense else adata.X
    getattr(adata, f"write_{kind}")(tmp_path / f"a.{kind}")
    with caplog.at_level(logging.INFO, "heldout"):
        found = read(tmp_path / f"a.{kind}", tmp_path)
    np.testing.assert_array_equal(found.X.compute().toarray(), counts(0).toarray())
    assert found.var["gene_ids"].tolist() == IDS.tolist()
    assert f"counts are read from {place}" in caplog.text


def test_raw_has_more_genes_than_x(tmp_path):
    normalised("raw/X")[:, 5:9].copy().write_h5ad(tmp_path / "a.h5ad")
    assert read(tmp_path / "a.h5ad", tmp_path).var["gene_ids"].tolist() == IDS.tolist()


def test_no_counts_anywhere(tmp_path):
    adata = normalised("raw/X")
    del adata.raw
    adata.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(ValueError, match="not counts"):
        read(tmp_path / "a.h5ad", tmp_path)


@pytest.mark.parametrize("column", ["feature_name", "gene_symbols", "gene_short_name"])
def test_symbols_of_genes_named_by_ensembl_ids(column, tmp_path):
    """The mitochondrial filter would find no gene."""
    var = pd.DataFrame({column: pd.Categorical(SYMBOLS)}, index=ENSEMBL)
    obs = pd.DataFrame(index=barcodes(0))
    ad.AnnData(counts(0).astype(np.float32), obs=obs, var=var).write_h5ad(tmp_path / "a.h5ad")
    same(read(tmp_path / "a.h5ad", tmp_path), ids=ENSEMBL)


def test_ensembl_ids_in_another_column_and_a_missing_symbol(tmp_path):
    adata = as_anndata(0)
    adata.var = adata.var.drop(columns="gene_ids").assign(ensembl_id=ENSEMBL)
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert read(tmp_path / "a.h5ad", tmp_path).var["gene_ids"].tolist() == ENSEMBL.tolist()
    adata.var = pd.DataFrame({"feature_name": [None, *SYMBOLS[1:]]}, index=ENSEMBL)
    adata.write_h5ad(tmp_path / "b.h5ad")
    found = read(tmp_path / "b.h5ad", tmp_path, overwrite=True)
    assert found.var["gene_symbols"].tolist() == [ENSEMBL[0], *SYMBOLS[1:]]


def old_h5ad(path, *, raw):
    """A file as before anndata 0.7: arrays of records, categories in uns, sparse matrices with h5sparse_format."""

    def matrix(name, X):
        group = file.create_group(name)
        group.attrs["h5sparse_format"], group.attrs["h5sparse_shape"] = "csr", X.shape
        for part in ("data", "indices", "indptr"):
            group[part] = getattr(X, part)

    def records(names, **columns):
        found = np.empty(len(names), dtype=[("index", "S32"), *((key, v.dtype) for key, v in columns.items())])
        found["index"] = [str(name).encode() for name in names]
        for key, values in columns.items():
            found[key] = values
        return found

    X = counts(0).astype(np.float32)
    var = records(
        pd.Index(ad.utils.make_index_unique(pd.Index(SYMBOLS))),
        gene_ids=IDS.astype("S16"),
        feature_types=np.zeros(N_GENES, np.int8),
    )
    with h5py.File(path, "w") as file:
        file["obs"], file["var"] = records(barcodes(0)), var
        file["uns/feature_types_categories"] = np.array(["Gene Expression"], dtype="S32")
        matrix("X", X.log1p() if raw else X)
        if raw:
            matrix("raw.X", X)
            file["raw.var"] = var


@pytest.mark.parametrize("raw", [False, True])
def test_files_from_before_anndata_7(raw, tmp_path):
    old_h5ad(tmp_path / "a.h5ad", raw=raw)
    found = read(tmp_path / "a.h5ad", tmp_path)
    np.testing.assert_array_equal(found.X.compute().toarray(), counts(0).toarray())
    assert found.var["gene_ids"].tolist() == IDS.tolist()
    assert found.obs_names.tolist() == [f"a_{barcode}" for barcode in barcodes(0)]
    assert found.var["mt"].sum() == 4


def test_an_h5ad_that_is_named_h5(tmp_path):
    as_anndata(0).write_h5ad(tmp_path / "a.h5")
    assert read(tmp_path / "a.h5", tmp_path).shape == (40, N_GENES)


def test_one_of_two_genomes_in_two_groups(tmp_path):
    path = write_h5(tmp_path / "a.h5", 0, version=2)
    with h5py.File(path, "a") as file:
        file.copy("GRCh38", "mm10")
        file["mm10/data"][:] += 1
    with pytest.raises(ValueError, match=r"2 genomes \('GRCh38', 'mm10'\). Pass genome='GRCh38'"):
        read(path, tmp_path)
    with pytest.raises(ValueError, match=r"genome='hg19' is not in it. It has 'GRCh38', 'mm10'"):
        read(path, tmp_path, genome="hg19")
    same(read(path, tmp_path, genome="GRCh38"))
    with pytest.raises(ValueError, match="begun with other arguments|other arguments"):
        read(path, tmp_path, genome="mm10")
    mouse = read(path, tmp_path, genome="mm10", overwrite=True)
    assert mouse.X.compute().sum() == counts(0).sum() + counts(0).nnz


def test_one_of_two_genomes_in_one_matrix(tmp_path):
    path = write_h5(tmp_path / "a.h5", 0)
    with h5py.File(path, "a") as file:
        file["matrix/features/genome"][:20] = b"mm10"
    assert read(path, tmp_path).n_vars == N_GENES
    found = read(path, tmp_path, genome="GRCh38", overwrite=True)
    assert found.var["gene_ids"].tolist() == IDS[20:].tolist()
    np.testing.assert_array_equal(found.X.compute().toarray(), counts(0).toarray()[:, 20:])
    with pytest.raises(ValueError, match=r"genome='hg19' is not in it. It has 'GRCh38', 'mm10'"):
        read(path, tmp_path, genome="hg19", overwrite=True)


def test_an_h5_without_counts(tmp_path):
    with h5py.File(tmp_path / "molecule_info.h5", "w") as file:
        file["barcode_idx"] = np.arange(3)
    with pytest.raises(ValueError, match="no counts of 10x, only 'barcode_idx'"):
        read(tmp_path / "molecule_info.h5", tmp_path)


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_sums_of_the_stored_counts(axis, keepdims, tmp_path):
    from heldout.reading._store import open_lazily

    read(write_h5(tmp_path / "a.h5", 0), tmp_path)
    X = open_lazily(tmp_path / "o.zarr", rows=7).X
    expected = counts(0).toarray().sum(axis=axis, keepdims=keepdims)
    found = X.sum(axis=axis, keepdims=keepdims).compute()
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)
