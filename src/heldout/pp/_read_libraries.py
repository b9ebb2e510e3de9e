"""Read libraries one at a time into a store that is larger than memory."""

from __future__ import annotations

import json
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from heldout._core import keys, store
from heldout._core.draws import draws, lowest_per_group
from heldout._core.memory import give_back
from heldout._core.progress import progress
from heldout._core.rng import Rng, seed_of
from heldout.reading._files import find, read_counts
from heldout.reading._genes import Join, Shared, join_genes, place
from heldout.reading._library import GENE_EXPRESSION, LibraryError, LibrarySource, as_counts
from heldout.reading._quality import REASONS, Limits, Quality, assess
from heldout.reading._sheet import read_sheet
from heldout.reading._store import Building, is_zarr, open_lazily, partial_of, record_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anndata import AnnData
    from scipy import sparse

    from heldout.reading._library import Genes

logger = logging.getLogger("heldout")


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
    n_jobs: int = 2,
    overwrite: bool = False,
    rng: Rng = 0,
) -> AnnData:
    """Read count matrices library by library into one zarr store, and open it without loading it.

    Of each library the cells with too few or too many genes or too many mitochondrial counts are dropped, then at most
    ``n_cells`` are drawn; the defaults are those of the LMNA classifier study. No more than ``n_jobs + 1`` libraries are
    in memory at a time.

    The store is built in the folder ``out + ".partial"`` and gets its name when it is complete. After an interruption, or
    after a broken library was mended, the same call goes on behind the last library that is whole; a call whose store is
    there already opens it.

    Parameters
    ----------
    sheet
        One row a library with the columns ``library`` (its name), ``path``, and any others, which become columns of
        ``obs``: a csv file (paths are relative to it), a DataFrame, or a mapping of column names to columns or of
        libraries to paths. A path is a 10x folder (versions 2 and 3), the prefix of such files in a folder with others
        (as in GEO, ``raw/GSM8325046``), a 10x ``.h5``, an ``.h5ad`` or a ``.zarr`` with counts in ``X``.
    out
        The store to write, e.g. ``"lmna.zarr"``.
    min_genes, max_genes
        Fewest and most genes of a cell that is kept; None sets no limit.
    max_pct_mito
        Highest percentage of a cell's counts in mitochondrial genes; None sets no limit.
    mito_prefix
        What the symbols of mitochondrial genes begin with, in upper or lower case.
    n_cells
        Most cells kept of a library, drawn as :func:`subsample` draws them; None keeps all.
    genes
        All genes that occur (a gene that a library does not list reads as zero in it), or those that all libraries list.
        They are joined by gene id.
    var_names
        What names the genes: symbols, made unique, or ids. Both are kept.
    gex_only
        Keep features of the type Gene Expression only. Otherwise all; quality is judged by gene expression alone.
    n_jobs
        Number of libraries that are read at the same time, in threads.
    overwrite
        Replace a store, or the beginning of one, that another call has made.
    rng
        Seed or Generator of the draw.

    Returns
    -------
    AnnData (n_obs × n_vars) whose ``X`` is a dask array of csr blocks over the store, float32 counts. Cells are named
    ``<library>_<barcode>``. With

    ``obs``
        ``library``, the other columns of the sheet, ``n_genes_by_counts``, ``total_counts`` and ``pct_counts_mt``.
    ``var``
        ``gene_ids``, ``gene_symbols``, ``feature_types``, ``mt``, and ``n_libraries``, the number of libraries that list it.
    ``uns["heldout"]["libraries"]``
        The number of cells of each library that was found, dropped and why, and kept, see :func:`heldout.get.libraries`.

    Raises
    ------
    ValueError
        If the sheet is unclear, a library is broken (named with its file and what is wrong), has no cell left, or shares
        no gene with the others, or ``out`` holds something else.
    OSError
        If the store cannot be written, e.g. because the disk is full. Whole libraries stay for the next call.

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
    sources = _find_all(table)
    shared = join_genes(sources, genes, gex_only=gex_only)
    config = {
        **asdict(limits),
        "mito_prefix": mito_prefix,
        "n_cells": n_cells,
        "genes": genes,
        "var_names": var_names,
        "gex_only": gex_only,
        "seed": seed_of(rng),
        "genes_hash": shared.digest,
    }
    if is_zarr(out) and not overwrite:
        return _open_same(out, config, sources)
    building = _begin(out, config, sources, overwrite=overwrite)
    plan = Plan(limits, shared, _mito(shared.genes, mito_prefix, max_pct_mito), n_cells, config["seed"])
    _fill(building, plan, sources, n_jobs)
    _finish(building, table, plan, var_names)
    return open_lazily(out)


@dataclass(frozen=True)
class Plan:
    """What is done with each library."""

    limits: Limits
    shared: Shared
    mito: np.ndarray
    n_cells: int | None
    seed: int

    def read(
        self, source: LibrarySource, number: int
    ) -> tuple[sparse.csr_matrix, dict[str, np.ndarray], dict[str, Any]]:
        """Counts of the cells that are kept, what is known of each, and the record of the library."""
        X = place(as_counts(source, read_counts(source)), self.shared.positions[number], len(self.shared.genes))
        quality = assess(X, self.shared.genes.types == GENE_EXPRESSION, self.mito, self.limits)
        reasons = quality.reason.copy()
        rows = np.flatnonzero(reasons < 0)
        names = np.array([f"{source.library}_{barcode}" for barcode in source.barcodes[rows]], dtype=object)
        if self.n_cells is not None and len(rows) > self.n_cells:
            keep = lowest_per_group(np.zeros(len(rows), dtype=object), draws(names, self.seed), self.n_cells)
            reasons[np.delete(rows, keep)] = REASONS.index("not_drawn")
            rows, names = rows[keep], names[keep]
        counts = {reason: int((reasons == code).sum()) for code, reason in enumerate(REASONS)}
        if not len(rows):
            raise source.error(_none_left(counts, quality, self.limits))
        kept = quality.take(rows)
        columns = {"names": names.astype(str), "n_genes": kept.n_genes, "total": kept.total, "pct_mito": kept.pct_mito}
        record = {**_identity(source), "n_found": len(reasons), **counts}
        return X if len(rows) == X.shape[0] else X[rows], columns, record


def _identity(source: LibrarySource) -> dict[str, Any]:
    return {"library": source.library, "path": str(source.path.resolve()), "size": list(source.size)}


def _none_left(counts: dict[str, int], quality: Quality, limits: Limits) -> str:
    why = ", ".join(f"{n} {reason}" for reason, n in counts.items() if n)
    return (
        f"no cell is left: of {sum(counts.values())} cells {why} (median {np.median(quality.n_genes):g} genes and "
        f"{np.median(quality.pct_mito):.1f} % mitochondrial; min_genes={limits.min_genes}, max_genes={limits.max_genes}, "
        f"max_pct_mito={limits.max_pct_mito}). Set other limits, or leave the library out."
    )


def _check_arguments(limits: Limits, *, genes: str, var_names: str, n_cells: int | None, n_jobs: int) -> None:
    limits.check()
    for name, value, allowed in (
        ("genes", genes, get_args(Join)),
        ("var_names", var_names, ("gene_symbols", "gene_ids")),
    ):
        if value not in allowed:
            msg = f"{name}={value!r} must be one of {store.some(allowed)}."
            raise ValueError(msg)
    for name, number in (("n_cells", n_cells), ("n_jobs", n_jobs)):
        if number is None and name == "n_cells":
            continue
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
            msg = f"{name}={number!r} must be a whole number of at least 1."
            raise ValueError(msg)


def _find_all(table: pd.DataFrame) -> list[LibrarySource]:
    """Everything but the counts of all libraries; says all that is wrong at once."""
    known: dict[bytes, Genes] = {}
    sources, problems = [], []
    for library, path in zip(table["library"], table["path"], strict=True):
        try:
            sources.append(find(library, path, known))
        except LibraryError as problem:
            problems.append(problem)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        msg = f"{len(problems)} of {len(table)} libraries cannot be read:\n" + "\n".join(f"- {p}" for p in problems)
        raise ValueError(msg)
    return sources


def _begin(out: Path, config: dict[str, Any], sources: Sequence[LibrarySource], *, overwrite: bool) -> Building:
    """Go on with what an earlier call has left, or make a new store; refuse to touch what is not ours."""
    if out.exists() and not is_zarr(out):
        msg = f"out={str(out)!r} is there and is no zarr store; it is not replaced. Choose another name."
        raise ValueError(msg)
    folder = partial_of(out)
    if folder.exists() and not overwrite:
        building = Building.go_on(out)
        _check_same(building, config, sources, folder)
        assert building is not None
        logger.info("%d of %d libraries are in %s already", len(building.done), len(sources), folder)
        return building
    if folder.exists():
        shutil.rmtree(folder)
    try:
        return Building.start(out, config)
    except OSError as problem:
        shutil.rmtree(folder, ignore_errors=True)
        msg = f"out={str(out)!r} cannot be written ({problem}). Choose a folder that can."
        raise OSError(msg) from problem


def _check_same(
    building: Building | None, config: dict[str, Any], sources: Sequence[LibrarySource], where: Path
) -> None:
    instead = "Call with the arguments of then, or pass overwrite=True to start anew."
    if building is None:
        msg = f"{where} is there, but it is not what an interrupted read_libraries leaves. Remove it, or pass overwrite=True."
        raise ValueError(msg)
    differ = [name for name in config if config[name] != building.config.get(name)]
    if differ:
        said = ", ".join(f"{name}={building.config.get(name)!r}" for name in differ)
        msg = f"{where} was begun with other arguments ({said}). {instead}"
        raise ValueError(msg)
    for record, source in zip(building.done, [*sources, *[None] * len(building.done)], strict=False):
        if source is None or _identity(source) != {name: record[name] for name in ("library", "path", "size")}:
            msg = (
                f"{where} holds library {record['library']!r} of {record['path']}, which is not in this place of the sheet, "
                f"or its file has changed since. {instead}"
            )
            raise ValueError(msg)


def _open_same(out: Path, config: dict[str, Any], sources: Sequence[LibrarySource]) -> AnnData:
    """Open a complete store if this call would make the same."""
    record = record_of(out)
    if record is None:
        msg = f"out={str(out)!r} is there, but read_libraries has not made it. Choose another name, or pass overwrite=True."
        raise ValueError(msg)
    _check_same(Building(out, record["config"], record["done"]), config, sources, out)
    if len(record["done"]) != len(sources):
        msg = f"{out} holds {len(record['done'])} libraries, the sheet has {len(sources)}. Pass overwrite=True to read them all."
        raise ValueError(msg)
    return open_lazily(out)


def _mito(genes: Genes, prefix: str, limit: float | None) -> np.ndarray:
    symbols = np.char.upper(genes.symbols.astype(str))
    mito = np.char.startswith(symbols, prefix.upper())
    if not mito.any() and limit is not None:
        logger.warning(
            "no gene symbol begins with mito_prefix=%r, so no cell is dropped for its mitochondrial share", prefix
        )
    return mito


def _fill(building: Building, plan: Plan, sources: Sequence[LibrarySource], n_jobs: int) -> None:
    """Read ahead in threads, write in the order of the sheet."""
    first = len(building.done)
    numbers = list(range(first, len(sources)))
    with ThreadPoolExecutor(n_jobs) as pool:
        ahead: list[Any] = []
        waiting: Iterator[int] = iter(numbers)
        try:
            for number in progress(numbers, "reading libraries"):
                library = sources[number].library
                while len(ahead) < n_jobs and (following := next(waiting, None)) is not None:
                    ahead.append(pool.submit(plan.read, sources[following], following))
                building.add(*ahead.pop(0).result())
                give_back()
        except LibraryError as problem:
            n = len(building.done)
            kept = f" {n} libraries are whole in {building.folder}; mend this one and call again." if n else ""
            raise LibraryError(problem.library, problem.path, problem.what + kept) from problem
        except OSError as problem:
            msg = (
                f"library {library!r} cannot be written to {building.folder} ({problem}). Nothing of it is left "
                f"there; {len(building.done)} libraries are whole. Make room and call again."
            )
            raise OSError(problem.errno, msg) from problem
        finally:
            pool.shutdown(cancel_futures=True)


def _finish(building: Building, table: pd.DataFrame, plan: Plan, var_names: str) -> None:
    columns = building.columns()
    n_cells = [record["n_cells"] for record in building.done]
    obs = _obs(table, np.repeat(np.arange(len(table)), n_cells), columns)
    var = _var(plan, var_names)
    counted = pd.DataFrame(
        [{name: record[name] for name in ("library", "n_found", *REASONS, "n_cells")} for record in building.done]
    ).rename(columns={"n_cells": "kept"})
    record = {"config": building.config, "done": building.done}
    uns = {keys.UNS: {keys.LIBRARIES: {"table": counted, "record": json.dumps(record)}}}
    try:
        building.finish(columns["lengths"], obs, var, uns)
    except OSError as problem:
        msg = f"{building.out} could not be completed ({problem}). All libraries are in {building.folder}; call again."
        raise OSError(problem.errno, msg) from problem


def _obs(table: pd.DataFrame, of_cell: np.ndarray, columns: dict[str, np.ndarray]) -> pd.DataFrame:
    obs = pd.DataFrame(index=pd.Index(columns["names"].astype(object)))
    obs["library"] = pd.Categorical.from_codes(of_cell, categories=list(table["library"]))
    for name in table.columns.drop(["library", "path"]):
        values = table[name]
        if values.dtype == object or isinstance(values.dtype, pd.StringDtype):
            values = values.astype("category")
        obs[name] = values.iloc[of_cell].array
    obs["n_genes_by_counts"] = columns["n_genes"]
    obs["total_counts"] = columns["total"]
    obs["pct_counts_mt"] = columns["pct_mito"]
    return obs


def _var(plan: Plan, var_names: str) -> pd.DataFrame:
    from anndata.utils import make_index_unique

    genes = plan.shared.genes
    names = pd.Index(genes.symbols if var_names == "gene_symbols" else genes.ids, dtype=object)
    return pd.DataFrame(
        {
            "gene_ids": genes.ids,
            "gene_symbols": genes.symbols,
            "feature_types": pd.Categorical(genes.types),
            "mt": plan.mito,
            "n_libraries": plan.shared.n_libraries,
        },
        index=make_index_unique(names),
    )
