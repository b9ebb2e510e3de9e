"""Libraries as files, in every form that is read."""

from __future__ import annotations

import gzip
import io
from typing import TYPE_CHECKING

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from anndata.utils import make_index_unique
from scipy import sparse
from scipy.io import mmwrite

if TYPE_CHECKING:
    from pathlib import Path

N_GENES, N_MITO = 60, 4
IDS = np.array([f"ENSG{i:05d}" for i in range(N_GENES)], dtype=object)
SYMBOLS = np.array([f"GENE{i}" for i in range(N_GENES - N_MITO)] + [f"MT-{i}" for i in range(N_MITO)], dtype=object)
SYMBOLS[7] = "GENE6"  # one symbol of two genes

LIMITS = {"min_genes": 10, "max_genes": 45, "max_pct_mito": 20.0, "n_cells": 20}
"""Limits that drop some of these small cells for each reason."""


def counts(number: int, n_cells: int = 40, n_genes: int = N_GENES) -> sparse.csr_matrix:
    """Counts of one library (n_cells × n_genes), with cells that are poor, rich, and full of mitochondrial counts."""
    rng = np.random.default_rng(number)
    rate = rng.gamma(0.6, 1, n_genes) * np.where(np.arange(n_genes) >= n_genes - N_MITO, 0.5, 1)
    X = rng.poisson(rate * rng.lognormal(0, 0.3, (n_cells, 1)))
    X[0, 8:] = 0
    X[1] = 1
    X[2, -N_MITO:] += 20
    return sparse.csr_matrix(X.astype(np.int32))


def barcodes(number: int, n_cells: int = 40) -> np.ndarray:
    rng = np.random.default_rng(100 + number)
    return np.array(["".join(rng.choice(list("ACGT"), 16)) + "-1" for _ in range(n_cells)], dtype=object)


def mtx(X: sparse.csr_matrix, field: str = "integer") -> bytes:
    """Genes × cells in Matrix Market form."""
    stream = io.BytesIO()
    mmwrite(stream, X.T.tocsc().astype(np.int32 if field == "integer" else np.float64), field=field)
    return stream.getvalue()


def write(path: Path, content: bytes, *, gz: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(content)) if gz else path.write_bytes(content)


def write_folder(
    folder: Path,
    number: int,
    *,
    X: sparse.csr_matrix | None = None,
    matrix: bytes | None = None,
    ids: np.ndarray = IDS,
    symbols: np.ndarray = SYMBOLS,
    types: list[str] | None = None,
    names: np.ndarray | None = None,
    version: int = 3,
    gz: bool = True,
    prefix: str = "",
) -> Path:
    """A 10x folder; ``matrix`` replaces the text of the matrix."""
    X = counts(number, n_genes=len(ids)) if X is None else X
    names = barcodes(number, X.shape[0]) if names is None else names
    write(folder / f"{prefix}matrix.mtx", mtx(X) if matrix is None else matrix, gz=gz)
    write(folder / f"{prefix}barcodes.tsv", ("\n".join(names) + "\n").encode(), gz=gz)
    rows = [[a, b] for a, b in zip(ids, symbols, strict=True)]
    if version == 3:
        rows = [[*row, kind] for row, kind in zip(rows, types or ["Gene Expression"] * len(ids), strict=True)]
    text = "".join("\t".join(row) + "\n" for row in rows)
    write(folder / f"{prefix}{'features' if version == 3 else 'genes'}.tsv", text.encode(), gz=gz)
    return folder / prefix if prefix else folder


def write_h5(path: Path, number: int, version: int = 3) -> Path:
    """A 10x h5 file."""
    X = counts(number)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix" if version == 3 else "GRCh38")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(X, name)
        group["shape"] = np.array(X.shape[::-1])
        group["barcodes"] = barcodes(number).astype("S")
        if version == 3:
            features = group.create_group("features")
            features["id"], features["name"] = IDS.astype("S"), SYMBOLS.astype("S")
            features["feature_type"] = np.array(["Gene Expression"] * N_GENES, dtype="S")
            features["genome"] = np.array(["GRCh38"] * N_GENES, dtype="S")
        else:
            group["genes"], group["gene_names"] = IDS.astype("S"), SYMBOLS.astype("S")
    return path


def as_anndata(number: int) -> ad.AnnData:
    """The same library in memory."""
    unique = make_index_unique(pd.Index(SYMBOLS))
    obs, var = pd.DataFrame(index=barcodes(number)), pd.DataFrame({"gene_ids": IDS}, index=unique)
    return ad.AnnData(counts(number).astype(np.float32), obs=obs, var=var)


FORMS = {
    "v3": lambda folder, i: write_folder(folder / f"v3_{i}", i),
    "v2": lambda folder, i: write_folder(folder / f"v2_{i}", i, version=2, gz=False),
    "geo": lambda folder, i: write_folder(folder / "raw", i, prefix=f"GSM{i}_"),
    "h5": lambda folder, i: write_h5(folder / f"{i}.h5", i),
    "h5_v2": lambda folder, i: write_h5(folder / f"{i}_v2.h5", i, version=2),
    "h5ad": lambda folder, i: _written(as_anndata(i), folder / f"{i}.h5ad"),
    "zarr": lambda folder, i: _written(as_anndata(i), folder / f"{i}.zarr"),
    "dense": lambda folder, i: _written(_dense(as_anndata(i)), folder / f"{i}_dense.h5ad"),
}


def _dense(adata: ad.AnnData) -> ad.AnnData:
    adata.X = adata.X.toarray()
    return adata


def _written(adata: ad.AnnData, path: Path) -> Path:
    adata.write_zarr(path) if path.suffix == ".zarr" else adata.write_h5ad(path)
    return path
