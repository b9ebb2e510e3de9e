"""The twelve libraries of GSE269705 as they are published."""

from __future__ import annotations

import gzip
import re
import tarfile
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from heldout.datasets._download import DELETE, sha256_of
from heldout.datasets._lmna import LIBRARIES
from heldout.datasets._resume import resumed

if TYPE_CHECKING:
    import os
    from pathlib import Path

URL = "https://ftp.ncbi.nlm.nih.gov/geo/series/GSE269nnn/GSE269705/suppl/GSE269705_RAW.tar"

_MEMBER = re.compile(r"(?:.*/)?(GSM\d+)_.*?(matrix\.mtx|barcodes\.tsv|features\.tsv|genes\.tsv)\.gz")


def lmna(*, folder: str | os.PathLike[str] | None = None, min_genes: int = 200) -> AnnData:
    """Load cells of a patient with an *LMNA* mutation and of her sister, on seven days of differentiation: GSE269705.

    The archive of the series :cite:p:`gse269705` is downloaded once and kept. An interrupted download continues where
    it stopped. No checksum is published for the archive. The function checks that it has the twelve libraries, and
    stores its checksum in ``uns``.

    Parameters
    ----------
    folder
        Folder that contains the archive, or to which it is downloaded. If None, ``HELDOUT_CACHE_DIR`` or else
        ``~/.cache/heldout``.
    min_genes
        Barcodes with fewer genes are left out during reading.

    Returns
    -------
    A new :class:`~anndata.AnnData` with

    `X` : :class:`scipy.sparse.csr_matrix` (dtype `float32`)
        Counts.
    `obs['library']`, `obs['genotype']`, `obs['donor']` : :class:`pandas.Series` (dtype `category`)
        The accession; `control` or `patient`; and the person, `sister` or `patient`.
    `obs['day']` : :class:`pandas.Series` (dtype `int64`)
        The day of differentiation.
    `obs['total_counts']`, `obs['n_genes_by_counts']`, `obs['pct_counts_mt']`
        Quality measures, with the names that scanpy uses.
    `var['gene_ids']` : :class:`pandas.Series`
        The first column of the features. `var_names` are the second column, made unique.
    `uns['lmna']` : :class:`dict`
        ``url`` and ``sha256`` of the archive.

    Raises
    ------
    OSError
        If the archive is not in ``folder`` and cannot be downloaded. The message names the path to copy it to.
    ValueError
        If the archive does not have the content described above.

    Notes
    -----
    There are one patient and one sister. A difference between their cells can be a difference between the persons. No
    analysis of these libraries can show that the mutation causes it. Libraries and days are those of the study that
    classified them; see :func:`lmna_simulated`.

    Examples
    --------
    >>> import heldout as ho
    >>> adata = ho.datasets.lmna()  # doctest: +SKIP
    >>> ho.pp.split_matched(adata, "library", "day", label_key="genotype", test=19, val=0)  # doctest: +SKIP
    """
    path = resumed(URL, folder)
    adata = read_archive(path, min_genes=min_genes)
    adata.uns["lmna"] = {"url": URL, "sha256": sha256_of(path)}
    return adata


def read_archive(path: Path, *, min_genes: int) -> AnnData:
    """Read the archive of a series with one matrix, barcode list and feature list for each library.

    Raises
    ------
    ValueError
        If it is not a tar archive, a file is missing or broken, or the libraries have different genes.
    """
    try:
        with tarfile.open(path) as archive:
            members = _members(archive)
            missing = [library for library, _, _ in LIBRARIES if len(members.get(library, {})) < 3]
            if missing:
                msg = (
                    f"{path} has no matrix, barcodes and features of {len(missing)} of 12 libraries (e.g. "
                    f"{missing[0]}); it has {', '.join(archive.getnames()[:3])}. {DELETE}"
                )
                raise ValueError(msg)
            parts = [_library(archive, members[library], min_genes) for library, _, _ in LIBRARIES]
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as problem:
        msg = f"{path} cannot be read ({problem}). The download may be incomplete. {DELETE}"
        raise ValueError(msg) from problem
    first = parts[0][2]
    if not all(genes.equals(first) for _, _, genes in parts):
        msg = f"{path} has libraries that do not list the same genes in the same order. {DELETE}"
        raise ValueError(msg)
    return _joined(parts, first)


def _members(archive: tarfile.TarFile) -> dict[str, dict[str, tarfile.TarInfo]]:
    found: dict[str, dict[str, tarfile.TarInfo]] = {}
    for member in archive:
        match = _MEMBER.fullmatch(member.name)
        if match:
            kind = {"genes.tsv": "features.tsv"}.get(match[2], match[2])
            found.setdefault(match[1], {})[kind] = member
    return found


def _library(
    archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], min_genes: int
) -> tuple[sparse.csr_matrix, np.ndarray, pd.DataFrame]:
    """Read counts (cells × genes), barcodes and genes of one library, without barcodes that have few genes."""
    from scipy.io import mmread

    def opened(kind: str) -> gzip.GzipFile:
        raw = archive.extractfile(members[kind])
        assert raw is not None
        return gzip.GzipFile(fileobj=raw)

    X = sparse.csr_matrix(mmread(opened("matrix.mtx")).T, dtype=np.float32)
    barcodes = pd.read_csv(opened("barcodes.tsv"), header=None, sep="\t")[0].to_numpy(dtype=object)
    genes = pd.read_csv(opened("features.tsv"), header=None, sep="\t").iloc[:, :2].astype(str)
    if X.shape != (len(barcodes), len(genes)):
        msg = (
            f"{members['matrix.mtx'].name} has {X.shape[1]} genes and {X.shape[0]} cells, "
            f"but its lists have {len(genes)} genes and {len(barcodes)} cells."
        )
        raise ValueError(msg)
    kept = np.diff(X.indptr) >= min_genes
    return X[kept], barcodes[kept], genes


def _joined(parts: list[tuple[sparse.csr_matrix, np.ndarray, pd.DataFrame]], genes: pd.DataFrame) -> AnnData:
    X = sparse.vstack([counts for counts, _, _ in parts], format="csr")
    sizes = [len(barcodes) for _, barcodes, _ in parts]
    library, genotype, day = (np.repeat(np.array(column), sizes) for column in zip(*LIBRARIES, strict=True))
    names = [f"{lib}_{code}" for (lib, _, _), (_, codes, _) in zip(LIBRARIES, parts, strict=True) for code in codes]
    obs = pd.DataFrame(
        {
            "library": pd.Categorical(library),
            "genotype": pd.Categorical(genotype),
            "donor": pd.Categorical(np.where(genotype == "patient", "patient", "sister")),
            "day": day.astype(np.int64),
        },
        index=names,
    )
    symbols = genes.iloc[:, min(1, genes.shape[1] - 1)]
    var = pd.DataFrame({"gene_ids": genes.iloc[:, 0].to_numpy()}, index=_unique(symbols.tolist()))
    var["mt"] = var.index.str.startswith("MT-")
    adata = AnnData(X, obs=obs, var=var)
    total = np.asarray(X.sum(axis=1)).ravel()
    adata.obs["total_counts"] = total
    adata.obs["n_genes_by_counts"] = np.diff(X.indptr)
    mt = np.asarray(X[:, var["mt"].to_numpy()].sum(axis=1)).ravel()
    adata.obs["pct_counts_mt"] = np.divide(100 * mt, total, out=np.zeros(len(total), np.float32), where=total > 0)
    return adata


def _unique(names: list[str]) -> list[str]:
    """Add a number to names that occur again, as anndata does."""
    taken, found = set(names), []
    seen: dict[str, int] = {}
    for name in names:
        if name not in seen:
            seen[name] = 0
            found.append(name)
            continue
        new = name
        while new in taken:
            seen[name] += 1
            new = f"{name}-{seen[name]}"
        taken.add(new)
        found.append(new)
    return found
