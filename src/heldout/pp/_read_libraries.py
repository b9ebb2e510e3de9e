"""Read libraries one by one into a store that may be larger than memory."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from heldout._core.checks import check_choice, check_integer
from heldout._core.rng import Rng, seed_of
from heldout.reading._genes import Join, join_genes
from heldout.reading._libraries import Plan, begin, check_out, fill, find_all, finish, mitochondrial_genes, open_same
from heldout.reading._quality import Limits
from heldout.reading._sheet import read_sheet
from heldout.reading._store import is_zarr, open_lazily

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from anndata import AnnData


def read_libraries(
    sheet: str | Path | pd.DataFrame | Mapping[str, Any],
    out: str | Path,
    *,
    min_genes: int | None = 200,
    max_genes: int | None = 6000,
    max_pct_mito: float | None = 20.0,
    mito_prefix: str = "MT-",
    n_cells: int | None = 3000,
    genes: Literal["union", "intersection"] = "union",
    var_names: Literal["gene_symbols", "gene_ids"] = "gene_symbols",
    gex_only: bool = True,
    genome: str | None = None,
    n_jobs: int = 2,
    overwrite: bool = False,
    rng: Rng = 0,
) -> AnnData:
    """Read count matrices library by library into one zarr store, and open the store without loading it.

    In each library, cells with too few or too many genes or too many mitochondrial counts are dropped. Then at most
    ``n_cells`` cells are drawn. The defaults are those of the LMNA classifier study. At most ``n_jobs + 1`` libraries
    are in memory at the same time.

    The store is built in the folder ``out + ".partial"``, and gets its name when it is complete. After an interruption,
    or after you repaired a broken library, the same call continues after the last complete library. If the store of the
    same call exists, it is opened.

    Parameters
    ----------
    sheet
        Table with one row per library. It has the columns ``library`` (the name), ``path``, and any metadata, which
        become columns of ``obs``. It is a csv file (paths are relative to it), a DataFrame, a mapping of column names
        to columns, or a mapping of libraries to paths. A csv file may be as a spreadsheet program saves it (UTF-8,
        UTF-16 or Windows-1252; commas, semicolons or tabs). Its columns of plain numbers become numbers. All other
        values stay as they are written: ``None``, ``NA`` and ``001`` are text, and only an empty cell is missing.
        A path is a 10x folder (versions 2 and 3), the prefix of such files in a shared folder (as in GEO,
        ``raw/GSM8325046``), one ``.mtx`` file next to its barcodes and genes, a 10x ``.h5``, an ``.h5ad`` or a
        ``.zarr``. Counts of an AnnData are read from ``X``, or from ``layers["counts"]`` or ``raw.X`` if ``X`` is
        normalised. If its genes are named by Ensembl ids, symbols are taken from a column such as ``feature_name``.
    out
        Path of the store to write, for example ``"lmna.zarr"``.
    min_genes, max_genes
        Smallest and largest number of genes of a kept cell. None sets no limit.
    max_pct_mito
        Largest percentage of the counts of a kept cell in mitochondrial genes. None sets no limit.
    mito_prefix
        Prefix of the symbols of mitochondrial genes, in upper or lower case.
    n_cells
        Largest number of cells to keep of each library, drawn as in :func:`subsample`. None keeps all.
    genes
        ``union``: all genes that occur. A gene that a library does not list is zero there. ``intersection``: the genes
        that all libraries list. Genes are joined by gene id. If Ensembl ids have other versions in some libraries
        (``ENSG00000111640.15``), they are joined without versions, with a warning. A library that shares few ids with
        the first library is refused if the reason is known, for example ids against symbols.
    var_names
        Names of the genes: symbols, made unique, or ids. Both are stored in ``var``.
    gex_only
        Keep only features of the type Gene Expression. If False, all features are kept, but the quality of cells is
        still computed from gene expression.
    genome
        Genome to keep of a 10x ``.h5`` with several genomes, for example ``"GRCh38"``. Other files have one genome, and
        are read completely.
    n_jobs
        Number of libraries to read at the same time, in threads.
    overwrite
        Replace a complete or partial store of another call. Only what this function has made is replaced. Anything
        else with the name ``out`` or ``out + ".partial"`` is an error.
    rng
        Seed or Generator of the draw.

    Returns
    -------
    AnnData (n_obs × n_vars). ``X`` is a dask array of csr blocks of the store, with counts as float32. The name of
    a cell is ``<library>_<barcode>``. It has:

    ``obs``
        ``library``, the other columns of the sheet, ``n_genes_by_counts``, ``total_counts`` and ``pct_counts_mt``.
    ``var``
        ``gene_ids``, ``gene_symbols``, ``feature_types``, ``mt``, and ``n_libraries``, the number of libraries that
        list the gene.
    ``uns["heldout"]["libraries"]``
        For each library, the number of cells that were found, dropped for each reason, and kept. See
        :func:`heldout.get.libraries`.

    Raises
    ------
    ValueError
        If the sheet is not valid, or differs from the sheet of the store; if ``out`` is something else, or has a file
        of the sheet; or if a library is broken, keeps no cell, or shares no gene with the others. The message names the
        library, its file and the problem.
    TypeError
        If ``sheet`` is not a path, a DataFrame or a mapping.
    FileNotFoundError
        If the csv file of the sheet does not exist.
    OSError
        If the store cannot be written, for example because the disk is full. Complete libraries are kept for the next
        call.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import heldout as ho
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> simulated = ho.datasets.lmna_simulated(n_cells=30, n_genes=400)
    >>> for library, cells in simulated.obs.groupby("library", observed=True):
    ...     simulated[cells.index].write_h5ad(folder / f"{library}.h5ad")
    >>> sheet = {library: folder / f"{library}.h5ad" for library in simulated.obs["library"].cat.categories}
    >>> adata = ho.pp.read_libraries(sheet, folder / "lmna.zarr", min_genes=20, max_pct_mito=None, n_cells=20)
    >>> adata.shape, type(adata.X).__module__
    ((240, 400), 'dask.array.core')
    """
    limits = Limits(min_genes, max_genes, max_pct_mito)
    _check_arguments(limits, genes=genes, var_names=var_names, n_cells=n_cells, n_jobs=n_jobs)
    table, out = read_sheet(sheet), Path(out)
    sources = find_all(table, genome)
    joined = join_genes(sources, genes, gex_only=gex_only)
    config = {
        **asdict(limits),
        "mito_prefix": mito_prefix,
        "n_cells": n_cells,
        "genes": genes,
        "var_names": var_names,
        "gex_only": gex_only,
        "genome": genome,
        "seed": seed_of(rng),
        "genes_hash": joined.digest,
    }
    check_out(out, sources, overwrite=overwrite)
    if is_zarr(out) and not overwrite:
        return open_same(out, config, sources, table)
    building = begin(out, config, sources, overwrite=overwrite)
    plan = Plan(limits, joined, mitochondrial_genes(joined.genes, mito_prefix, max_pct_mito), n_cells, config["seed"])
    fill(building, plan, sources, n_jobs)
    finish(building, table, plan, var_names)
    return open_lazily(out)


def _check_arguments(limits: Limits, *, genes: str, var_names: str, n_cells: int | None, n_jobs: int) -> None:
    limits.check()
    check_choice(genes, "genes", get_args(Join))
    check_choice(var_names, "var_names", ("gene_symbols", "gene_ids"))
    if n_cells is not None:
        check_integer(n_cells, "n_cells", least=1, or_else="None")
    check_integer(n_jobs, "n_jobs", least=1)
