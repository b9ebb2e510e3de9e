"""Files as people really have them: sheets from spreadsheets, ids in different forms, older layouts, quoted names."""

from __future__ import annotations

import gzip
import logging

import numpy as np
import pandas as pd
import pytest

import heldout as ho
from tests.helpers.libraries_on_disk import IDS, N_GENES, SYMBOLS, barcodes, counts, mtx, write, write_folder

OPEN = {"min_genes": None, "max_genes": None, "max_pct_mito": None, "n_cells": None}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_values_of_a_sheet_stay_what_they_say(encoding, tmp_path):
    for i, name in enumerate("ab"):
        write_folder(tmp_path / name, i)
    lines = ["library;path;treatment;donor;dose;clinic", "001;a;drug;001;0,5;Zürich", "NA;b;None;010;;Åbo"]
    (tmp_path / "sheet.csv").write_bytes("\r\n".join(lines).encode(encoding))
    adata = ho.pp.read_libraries(tmp_path / "sheet.csv", tmp_path / "o.zarr", **OPEN)
    found = adata.obs.groupby("library", observed=True).first()
    assert found.index.tolist() == ["001", "NA"]
    assert found["treatment"].tolist() == ["drug", "None"]
    assert found["donor"].tolist() == ["001", "010"]
    assert found["clinic"].tolist() == ["Zürich", "Åbo"]
    np.testing.assert_array_equal(found["dose"], [0.5, np.nan])
    again = ho.pp.read_libraries(tmp_path / "sheet.csv", tmp_path / "o.zarr", **OPEN)
    pd.testing.assert_frame_equal(again.obs, adata.obs)


def same_as(folder, tmp_path, **arguments):
    """The library has the counts, genes and barcodes of library 0."""
    adata = ho.pp.read_libraries({"a": folder}, tmp_path / "o.zarr", overwrite=True, **{**OPEN, **arguments})
    np.testing.assert_array_equal(adata.X.compute().toarray(), counts(0).toarray())
    assert adata.obs_names.tolist() == [f"a_{barcode}" for barcode in barcodes(0)]
    assert adata.var["gene_ids"].tolist() == IDS.tolist()
    assert adata.var["gene_symbols"].tolist() == SYMBOLS.tolist()
    assert adata.var["mt"].sum() == 4
    return adata


def names_file(rows, *, quote='"', sep="\t", numbers=False, end="\n"):
    numbered = [[str(i + 1), *row] if numbers else row for i, row in enumerate(rows)]
    return "".join(sep.join(f"{quote}{cell}{quote}" for cell in row) + end for row in numbered).encode()


@pytest.mark.parametrize("sep", ["\t", " ", ","])
@pytest.mark.parametrize("numbers", [False, True])
def test_names_as_r_writes_them(sep, numbers, tmp_path):
    gz = numbers
    folder = write_folder(tmp_path / "a", 0, version=2, gz=gz)
    genes = names_file(np.stack([IDS, SYMBOLS], axis=1).tolist(), sep=sep, numbers=numbers)
    write(folder / "genes.tsv", genes, gz=gz)
    write(folder / "barcodes.tsv", names_file([[b] for b in barcodes(0)], sep=sep, numbers=numbers), gz=gz)
    same_as(folder, tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_names_from_a_spreadsheet(encoding, tmp_path):
    folder = write_folder(tmp_path / "a", 0, version=2, gz=False)
    for path in folder.glob("*.tsv"):
        path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))
    same_as(folder, tmp_path)


def test_one_gene_in_a_cell_of_its_own_with_quotation_marks_inside(tmp_path):
    symbols = SYMBOLS.copy()
    symbols[0], symbols[1] = "3'", 'a"b'
    adata = ho.pp.read_libraries({"a": write_folder(tmp_path / "a", 0, symbols=symbols)}, tmp_path / "o.zarr", **OPEN)
    assert adata.var["gene_symbols"].tolist()[:2] == ["3'", 'a"b']


@pytest.mark.parametrize(
    ("matrix", "names"),
    [
        ("UniqueAndMult-Uniform.mtx", "{}.tsv"),
        ("GSM1_raw_counts.mtx", "GSM1_{}.tsv"),
        ("cells.mtx", "cells.{}.txt"),
        ("x_count_matrix.mtx", "x_count_{}.tsv"),
    ],
)
@pytest.mark.parametrize("how", ["file", "folder"])
def test_a_matrix_of_any_name(how, matrix, names, tmp_path):
    folder, gz = tmp_path / "a", how == "file"
    end = ".gz" if gz else ""
    write_folder(folder, 0, gz=gz)
    (folder / f"matrix.mtx{end}").rename(folder / f"{matrix}{end}")
    for kind in ("barcodes", "features"):
        (folder / f"{kind}.tsv{end}").rename(folder / f"{names.format(kind)}{end}")
    same_as(folder / f"{matrix}{end}" if how == "file" else folder, tmp_path)


def test_the_named_matrix_of_several(tmp_path):
    folder = write_folder(tmp_path / "a", 0, gz=False)
    (folder / "UniqueAndMult-EM.mtx").write_bytes(mtx(counts(0) * 0.996, "real").replace(b" real ", b" float "))
    same_as(folder, tmp_path)  # matrix.mtx comes first
    with pytest.raises(ValueError, match=r"UniqueAndMult-EM.mtx: .* '0.996'.*matrix of unique reads"):
        same_as(folder / "UniqueAndMult-EM.mtx", tmp_path)


def test_whole_numbers_that_are_declared_float(tmp_path):
    text = mtx(counts(0), "real").replace(b" real ", b" float ")
    same_as(write_folder(tmp_path / "a", 0, matrix=text), tmp_path)


def test_gzip_is_seen_in_the_file_and_not_in_its_name(tmp_path):
    folder = write_folder(tmp_path / "a", 0, gz=True)
    for path in list(folder.iterdir()):
        path.rename(path.with_suffix(""))
    same_as(folder, tmp_path)
    for path in list(folder.iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    same_as(folder, tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.tar.gz", "is an archive. Unpack it"),
        ("a.csv.gz", "is a table. Read it with pandas"),
        ("a.RDS", "is a file of R"),
        ("a.loom", "is a loom file"),
        ("a.bam", "has reads"),
        ("a.pdf", "is not a matrix of counts"),
    ],
)
def test_files_that_are_no_matrices(name, words, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=f"{name}: it {words}"):
        ho.pp.read_libraries({"a": tmp_path / name}, tmp_path / "o.zarr", **OPEN)


def test_a_folder_above_or_beside_the_matrix(tmp_path):
    write_folder(tmp_path / "outs" / "filtered_feature_bc_matrix", 0)
    write_folder(tmp_path / "outs" / "raw_feature_bc_matrix", 0)
    with pytest.raises(ValueError, match="folders in it have one.*filtered_feature_bc_matrix"):
        ho.pp.read_libraries({"a": tmp_path / "outs"}, tmp_path / "o.zarr", **OPEN)
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "counts.h5").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"has 'counts.h5'. Give the path of that file"):
        ho.pp.read_libraries({"a": tmp_path / "only"}, tmp_path / "o.zarr", **OPEN)
    with pytest.raises(ValueError, match="does not exist. Write / instead of"):
        ho.pp.read_libraries({"a": "raw\\L1"}, tmp_path / "o.zarr", **OPEN)


@pytest.mark.parametrize("name", ["features", "barcodes"])
def test_a_header_over_the_names(name, tmp_path):
    folder = write_folder(tmp_path / "a", 0, gz=False)
    path = folder / f"{name}.tsv"
    path.write_text("x\ty\tGene Expression\n" + path.read_text())
    with pytest.raises(ValueError, match=f"first line of {name}.tsv .'x'. may be a header"):
        ho.pp.read_libraries({"a": folder}, tmp_path / "o.zarr", **OPEN)


SYMBOLS_ONCE = [*SYMBOLS[:7], "GENE7", *SYMBOLS[8:]]
LONG = np.array([f"ENSG{i:011d}" for i in range(N_GENES)], dtype=object)


def two(tmp_path, ids, symbols=SYMBOLS, first=LONG, **arguments):
    """Two libraries: the first with the ids ``first``, the second with ``ids``."""
    sheet = {
        "a": write_folder(tmp_path / "a", 0, ids=first, gz=False),
        "b": write_folder(tmp_path / "b", 1, ids=np.array(ids, dtype=object), symbols=symbols, gz=False),
    }
    return ho.pp.read_libraries(sheet, tmp_path / "o.zarr", **{**OPEN, **arguments})


@pytest.mark.parametrize("join", ["union", "intersection"])
def test_versions_of_ids_are_joined_with_a_warning(join, tmp_path, caplog):
    """One shared transgene is enough to hide that all other ids differ."""
    ids = ["EGFP", *LONG[1:]]
    versioned = ["EGFP", *(f"{name}.{i % 3}" for i, name in enumerate(LONG[1:]))]
    with caplog.at_level(logging.WARNING, "heldout"):
        adata = two(tmp_path, versioned, first=np.array(ids, dtype=object), genes=join)
    assert adata.var["gene_ids"].tolist() == ids
    np.testing.assert_array_equal(adata.X.compute().toarray(), np.vstack([counts(0).toarray(), counts(1).toarray()]))
    assert "without its version, and 119 ids become 60" in caplog.text


def test_versions_that_all_libraries_share_stay(tmp_path, caplog):
    versioned = np.array([f"{name}.4" for name in LONG], dtype=object)
    adata = two(tmp_path, versioned, first=versioned)
    assert adata.var["gene_ids"].tolist() == versioned.tolist()
    assert not caplog.records


@pytest.mark.parametrize(
    ("ids", "symbols", "words"),
    [
        (SYMBOLS_ONCE, SYMBOLS_ONCE, "gene ids of this library are symbols"),
        ([f"hg19_{name}" for name in LONG], [f"hg19_{name}" for name in SYMBOLS], "genome prefix"),
        ([str(i) for i in range(N_GENES)], SYMBOLS, "Their symbols agree"),
        ([name.lower() for name in LONG], [f"x{i}" for i in range(N_GENES)], "upper and lower case"),
        (
            [f"ENSMUSG{i:011d}" for i in range(N_GENES)],
            [f"x{i}" for i in range(N_GENES)],
            "The ids are of two species",
        ),
    ],
)
def test_other_ids_are_refused_with_the_reason(ids, symbols, words, tmp_path):
    ids = ["EGFP", *ids[1:]]
    first = np.array(["EGFP", *LONG[1:]], dtype=object)
    with pytest.raises(ValueError, match=f"library 'b'.*shares only 1 of 60 gene ids with 'a'.*{words}"):
        two(tmp_path, ids, np.array(symbols, dtype=object), first=first)
    assert not (tmp_path / "o.zarr").exists()


def test_few_shared_ids_without_a_known_reason_are_said(tmp_path, caplog):
    ids = [*LONG[:10], *(f"probe{i}" for i in range(N_GENES - 10))]
    with caplog.at_level(logging.WARNING, "heldout"):
        two(tmp_path, ids, np.array(ids, dtype=object), genes="intersection")
    assert "shares only 10 of 60 gene ids with 'a'" in caplog.text
    assert "keeps only 10 of 110 genes" in caplog.text
